"""The warm parent: import what workers need once, then fork a worker for each request. It never runs user code.

Started by exec as a process of its own, so that a worker inherits nothing of the server: no memory, no socket,
no environment. It computes nothing: an OpenMP region run before a fork hangs every child.

It talks with the server over one socket, a JSON object a message. To it: `{"spawn": {"life": what for,
"memory_bytes": growth that the kernel allows}}`. From it: `{"ready": true}` once; then, for each
worker, `{"worker": pid}` with the descriptors (pidfd, requests, answers, stdin, stdout tape, stderr tape), or
`{"refused": why}`; and `{"exit": pid, "status": wait status}` when it has died and been reaped with its process group.
"""

import errno
import gc
import importlib
import json
import os
import posix
import select
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from os import pidfd_open  # before a stub replaces it
from socket import send_fds
from typing import Any, NoReturn

from sandbox import capture, orphans, worker
from sandbox.confine.jail import Jail, Plan
from sandbox.limits import Limits
from sandbox.stubs.installation import install_all
from sandbox.tiers import TIERS

MESSAGE_BYTES = 4096


def preload(tier: str) -> None:
    """Import a tier's modules, those that are installed."""
    for name in TIERS[tier].split():
        with suppress(ModuleNotFoundError):
            importlib.import_module(name)
    if "sklearn" in sys.modules:
        # It reads /proc/self/maps at the first fit, and needs the answer only.
        importlib.import_module("sklearn.utils.parallel")._get_threadpool_controller()


def main(control_fd: int, liveness: int, tier: str, limits: dict[str, Any], plan: dict[str, Any]) -> NoReturn:
    """Be a zygote until the server closes its end of the control socket."""
    del sys.path[0]  # our folder, put there to start this: user code shall not import by it
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)  # a Ctrl-C in the terminal is the server's to handle
    control = socket.socket(fileno=control_fd)
    orphans.adopt()  # processes that a worker without the wall left
    jail = Jail(Plan(tuple(plan["steps"]), frozenset(plan["required"])), Limits(**limits))
    jail.build()
    with tempfile.TemporaryDirectory(prefix="pyrunner-") as scratch:
        os.environ["MPLCONFIGDIR"] = scratch  # Matplotlib's font cache, while it loads
        preload(tier)
    del os.environ["MPLCONFIGDIR"]
    install_all()
    jail.close()
    gc.collect()
    gc.freeze()
    zygote = Zygote(control, liveness, jail)
    zygote.run()
    zygote.kill_all()  # the kernel does so too, but a worker can refuse the signal that it asked for
    sys.exit(0)


class Zygote:
    """Forks workers and reaps them."""

    def __init__(self, control: socket.socket, liveness: int, jail: Jail) -> None:
        self._control = control
        self._liveness = liveness
        self._jail = jail
        self._events = select.poll()
        self._events.register(control, select.POLLIN)
        self._children: dict[int, int] = {}  # pidfd: pid

    def run(self) -> None:
        """Say that it is ready, and serve the control socket; returns at its end."""
        self._say({"ready": True})
        while True:
            for fd, _ in self._events.poll():
                if fd != self._control.fileno():
                    self._reap(fd)
                elif message := self._hear():
                    self._spawn(**json.loads(message)["spawn"])
                else:
                    return
            orphans.bury(but=self._children.values())

    def _hear(self) -> bytes:
        try:
            return self._control.recv(MESSAGE_BYTES)
        except ConnectionError:  # the server was killed
            return b""

    def kill_all(self) -> None:
        """End every worker: the server has gone."""
        for pid in self._children.values():
            with suppress(ProcessLookupError):
                posix.kill(pid, signal.SIGKILL)

    def _spawn(self, life: str, memory_bytes: int) -> None:
        opened: list[int] = []
        try:
            requests, ask = _pipe(opened)
            tell, answers = _pipe(opened)
            opened.append(posix.memfd_create("stdin"))
            for name in ("stdout", "stderr"):
                opened.append(capture.create(name, self._jail.limits.output_bytes))
            stdin, stdout, stderr = opened[-3:]
            pid = posix.fork()
            if pid == 0:
                queue = worker.Queue(requests, answers, stdin, stdout, stderr, self._liveness)
                self._jail.limits = replace(self._jail.limits, memory_bytes=memory_bytes)
                worker.serve(worker.Life(life), queue, self._jail)
            pidfd = pidfd_open(pid)
            self._children[pidfd] = pid
            self._events.register(pidfd, select.POLLIN)
        except OSError as error:
            self._say({"refused": f"{error.strerror} ({errno.errorcode.get(error.errno or 0)})"})
        else:
            with suppress(ConnectionError):  # the server was killed: the next message is its end
                told = json.dumps({"worker": pid}).encode()
                send_fds(self._control, [told], [pidfd, ask, tell, stdin, stdout, stderr])
        finally:
            for fd in opened:
                posix.close(fd)

    def _reap(self, pidfd: int) -> None:
        self._events.unregister(pidfd)
        posix.close(pidfd)
        pid = self._children.pop(pidfd)
        with suppress(ProcessLookupError, PermissionError):
            posix.killpg(pid, signal.SIGKILL)  # still a zombie, so its number is nobody else's
        self._say({"exit": pid, "status": posix.waitpid(pid, 0)[1]})

    def _say(self, message: dict[str, Any]) -> None:
        with suppress(ConnectionError, BrokenPipeError):  # the server was killed: the next message is its end
            self._control.send(json.dumps(message).encode())


def _pipe(opened: list[int]) -> tuple[int, int]:
    ends = posix.pipe2(os.O_CLOEXEC)
    opened += ends
    return ends
