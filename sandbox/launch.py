"""Confine, then exec: the door through which the compiler and compiled programs are started.

A process of its own, started by exec as a zygote is: no memory, no socket and no environment of the server, one
thread. It forks for each program, and the child confines itself before it becomes the program: that is about a
millisecond, where the start of another Python would be 15. Where the host lets it, the launcher is the first process
of a namespace: when it ends, the kernel ends everything that it started, and its scratch folders are gone.

It talks with the server over one socket, a JSON object a message, `id` being the server's number of the request.

| to it | from it |
|---|---|
| | `{"ready": how each step went}` once, or `{"missing": why}` |
| `{"id", "folder": ""}` | `{"id"}` with a descriptor of a new scratch folder, whose name is the id |
| `{"remove": name}` | |
| `{"id", "start": fields of Launch}` with the program's descriptors 0, 1, 2, … | when it ended: `{"id", "status", …}` |
| `{"kill": id}` | |

Anything that cannot be done is answered by `{"id", "refused": why}`.
"""

import gc
import json
import os
import posix
import re
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from os import pidfd_open
from typing import Any, NoReturn

from sandbox import orphans
from sandbox.confine import privileges
from sandbox.confine.cell import Cell, Launch, make_cell
from sandbox.confine.jail import StepMissing
from sandbox.confine.programs import EXEC_FD

MESSAGE_BYTES = 64 * 1024
MOST_DESCRIPTORS = 8
_WATCH_S = 0.02


def main(control_fd: int, plan: dict[str, Any], profiles: dict[str, Any]) -> NoReturn:
    """Be the launcher until the server closes its end of the control socket."""
    del sys.path[0]  # our folder, put there to start this
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)  # a Ctrl-C in the terminal is the server's to handle
    control = socket.socket(fileno=control_fd)
    cell = make_cell(plan, profiles)
    try:
        if cell.leave_host():
            _become_the_first(control)
        else:
            orphans.adopt()
        cell.build()
    except StepMissing as missing:
        _say(control, {"missing": str(missing)})
        posix._exit(1)
    gc.collect()
    gc.freeze()
    _say(control, {"ready": cell.report})
    launcher = Launcher(control, cell)
    launcher.run()
    launcher.end()
    posix._exit(0)


def _become_the_first(control: socket.socket) -> None:
    """Go on as the first process of the new namespace. The process before it waits, and ends as this one does."""
    pid = posix.fork()
    if pid == 0:
        privileges.die_with_parent()
        return
    control.close()
    status = posix.waitpid(pid, 0)[1]
    posix._exit(0 if status == 0 else 1)


@dataclass(slots=True)
class Child:
    """One program that runs."""

    id: str
    pid: int
    slot: int
    told: int  # what went wrong before it began
    began: float
    deadline: float
    resident_bytes: int
    shown_pid: str  # its number in /proc
    killed: str | None = None

    def kill(self, why: str) -> None:
        """It and all that it started. The first reason counts."""
        self.killed = self.killed or why
        with suppress(ProcessLookupError, PermissionError):
            posix.kill(self.pid, signal.SIGKILL)
        with suppress(ProcessLookupError, PermissionError):
            posix.killpg(self.pid, signal.SIGKILL)

    def memory(self) -> int:
        """Bytes that it holds, page tables too; 0 when it cannot be seen."""
        try:
            fd = posix.open(f"/proc/{self.shown_pid}/status", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return 0
        try:
            text = posix.read(fd, 8192)
        except ProcessLookupError:
            return 0
        finally:
            posix.close(fd)
        return 1024 * sum(int(size) for size in re.findall(rb"^Vm(?:RSS|PTE):\s*(\d+) kB$", text, re.MULTILINE))


class Launcher:
    """Starts programs and reaps them."""

    def __init__(self, control: socket.socket, cell: Cell) -> None:
        self._control = control
        self._cell = cell
        self._events = select.poll()
        self._events.register(control, select.POLLIN)
        self._children: dict[int, Child] = {}  # by pidfd
        self._free_slots = list(range(255, -1, -1))

    def run(self) -> None:
        """Serve the control socket; returns at its end."""
        while True:
            for fd, _ in self._events.poll(self._patience_ms()):
                if fd != self._control.fileno():
                    self._reap(fd)
                elif not self._hear():
                    return
            self._watch()

    def end(self) -> None:
        """The server has gone: so does everything else."""
        for child in self._children.values():
            child.kill("the server has gone")
        shutil.rmtree(self._cell.scratch, ignore_errors=True)

    def _patience_ms(self) -> int | None:
        if not self._children:
            return None
        if any(child.resident_bytes for child in self._children.values()):
            return int(_WATCH_S * 1000)
        first = min(child.deadline for child in self._children.values())
        return max(0, int((first - time.monotonic()) * 1000) + 1)

    def _watch(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if child.killed:
                continue
            if now >= child.deadline:
                child.kill("time")
            elif child.resident_bytes and child.memory() > child.resident_bytes:
                child.kill("memory")

    def _hear(self) -> bool:
        try:
            data, fds, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:  # the server was killed
            return False
        if not data:
            return False
        try:
            self._understand(json.loads(data), fds)
        finally:
            for fd in fds:
                posix.close(fd)
        return True

    def _understand(self, message: dict[str, Any], fds: list[int]) -> None:
        match message:
            case {"id": str(id), "start": dict(fields)}:
                self._try(id, lambda: self._start(id, Launch(**fields), fds))
            case {"id": str(id), "folder": _}:
                self._try(id, lambda: self._make_folder(id))
            case {"remove": str(name)}:
                self._remove(name)
            case {"kill": str(id)}:
                for child in self._children.values():
                    if child.id == id:
                        child.kill("asked")

    def _try(self, id: str, act: Callable[[], None]) -> None:
        try:
            act()
        except OSError as error:
            _say(self._control, {"id": id, "refused": error.strerror or str(error)})

    def _make_folder(self, id: str) -> None:
        path = self._path(id)
        posix.mkdir(path, 0o755)
        fd = posix.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            socket.send_fds(self._control, [json.dumps({"id": id}).encode()], [fd])
        finally:
            posix.close(fd)

    def _remove(self, name: str) -> None:
        shutil.rmtree(self._path(name), ignore_errors=True)

    def _path(self, name: str) -> str:
        assert "/" not in name and name not in (".", "..")
        return os.path.join(self._cell.scratch, name)

    def _start(self, id: str, launch: Launch, fds: list[int]) -> None:
        slot = self._free_slots.pop()
        if self._cell.profiles[launch.profile].writes and posix.geteuid() == 0 and "user" in self._cell.plan.steps:
            posix.chown(self._path(launch.folder), self._cell.uid(slot), -1)
        told, tell = posix.pipe2(os.O_CLOEXEC)
        pid = posix.fork()
        if pid == 0:
            _become(self._cell, launch, fds, tell, self._cell.uid(slot))
        posix.close(tell)
        pidfd = pidfd_open(pid)
        now = time.monotonic()
        shown = _shown_pid(pidfd, pid)
        child = Child(id, pid, slot, told, now, now + launch.wall_s, launch.resident_bytes, shown)
        self._children[pidfd] = child
        self._events.register(pidfd, select.POLLIN)

    def _reap(self, pidfd: int) -> None:
        self._events.unregister(pidfd)
        posix.close(pidfd)
        child = self._children.pop(pidfd)
        wall_s = time.monotonic() - child.began
        with suppress(ProcessLookupError, PermissionError):
            posix.killpg(child.pid, signal.SIGKILL)  # still a zombie, so its number is nobody else's
        _, status, used = posix.wait4(child.pid, 0)
        with suppress(ChildProcessError):
            while True:
                posix.waitpid(-child.pid, 0)  # what it had started is ours now; none can have left its group
        trouble = posix.read(child.told, 4096)
        posix.close(child.told)
        self._free_slots.append(child.slot)
        if trouble and not child.killed:
            _say(self._control, {"id": child.id, "refused": trouble.decode(errors="replace")})
            return
        cpu_s = used.ru_utime + used.ru_stime
        answer = {"id": child.id, "status": status, "killed": child.killed, "wall_s": wall_s, "cpu_s": cpu_s}
        _say(self._control, answer)


def _become(cell: Cell, launch: Launch, fds: list[int], tell: int, uid: int) -> NoReturn:
    """In the child: the program, or a word on why not."""
    try:
        cell.become(launch, fds, tell, uid)
    except StepMissing as missing:
        why = str(missing)
    except OSError as error:
        why = (error.strerror or str(error)) + (f": {error.filename}" if isinstance(error.filename, str) else "")
    except BaseException as error:  # no more of the launcher's code in here, whatever it is
        why = repr(error)
    for number in (EXEC_FD - 1, tell):  # where it went, and where it was before
        with suppress(OSError):
            posix.write(number, why.encode())
            break
    posix._exit(127)


def _shown_pid(pidfd: int, pid: int) -> str:
    """The number under which /proc here shows the process: it may be of another namespace than ours."""
    try:
        with open(f"/proc/self/fdinfo/{pidfd}") as info:
            found = re.search(r"^Pid:\s*(\d+)$", info.read(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else str(pid)


def _say(control: socket.socket, message: dict[str, Any]) -> None:
    with suppress(ConnectionError, BrokenPipeError):  # the server was killed: the next message is its end
        control.send(json.dumps(message).encode())
