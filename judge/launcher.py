"""The outer end of the launcher: start it, have it run programs, hear how they ended.

A launcher that dies takes all its programs with it; the next submission gets a new one.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from judge.errors import CannotConfine, LauncherLost
from sandbox.confine.cell import Launch, Profile
from sandbox.confine.jail import Plan
from sandbox.launch import MESSAGE_BYTES

log = logging.getLogger(__name__)

_ROOT = Path(__file__).resolve().parent.parent
_BOOT = "__import__('sys').path.insert(0, {root!r}); __import__('sandbox.launch').launch.main(*{arguments!r})"
_READY_S = 20.0
# Where the processor time of what is started is added up: that of one submission. Tasks hand it on to those they make.
SPENT: ContextVar[list[float] | None] = ContextVar("spent", default=None)
Answer = tuple[dict[str, Any], list[int]]  # a message and the descriptors with it


@dataclass(frozen=True, slots=True)
class Exit:
    """How a program ended."""

    status: int  # as of wait
    killed: str | None  # `time`, `memory`, `asked`: by us, and why
    wall_s: float
    cpu_s: float

    @property
    def signal(self) -> str | None:
        """`SIGSEGV`, when a signal that we did not send ended it."""
        if self.killed or not os.WIFSIGNALED(self.status):
            return None
        number = os.WTERMSIG(self.status)
        try:
            return signal.Signals(number).name
        except ValueError:
            return f"signal {number}"

    @property
    def code(self) -> int | None:
        """Its exit status, when it ended by itself."""
        return None if self.killed or not os.WIFEXITED(self.status) else os.WEXITSTATUS(self.status)


class Folder:
    """A scratch folder. Hostile programs write into it: nothing in it is followed, and what is read is bounded."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self._fd = fd

    def write(self, name: str, content: bytes, mode: int = 0o444) -> None:
        """Make a file. Raises OSError."""
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._fd)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            os.fchmod(fd, mode)

    def read(self, name: str, most_bytes: int) -> bytes:
        """A regular file that a program has made. Raises OSError."""
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._fd)
        with os.fdopen(fd, "rb") as file:
            content = file.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise OSError(f"{name} is longer than {most_bytes} bytes")
        return content

    def close(self) -> None:
        os.close(self._fd)


class Running:
    """One program that runs. Leaving its context kills it, and waits until it is gone."""

    def __init__(self, launcher: "Launcher", number: str, asked: asyncio.Future[Answer]) -> None:
        self._launcher = launcher
        self._number = number
        self.ended = asked

    async def __aenter__(self) -> "Running":
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self.ended.done():
            self.kill()
            await asyncio.wait([self.ended])
        if not self.ended.cancelled():
            self.ended.exception()  # is known: whoever wanted it has awaited exit()

    def kill(self) -> None:
        self._launcher.kill(self._number)

    async def exit(self) -> Exit:
        """Wait for its end. Raises LauncherLost."""
        message, _ = await asyncio.shield(self.ended)
        return Exit(message["status"], message["killed"], message["wall_s"], message["cpu_s"])


class Launcher:
    """An async context manager that owns one launcher process."""

    def __init__(self, plan: Plan, profiles: dict[str, Profile]) -> None:
        self._plan = plan
        self._profiles = profiles
        self.report: dict[str, str] = {}  # each step of the wall, and how it went
        self._numbers = count(1)
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        self._spare: tuple[str, asyncio.Future[Answer]] | None = None
        self._control: socket.socket
        self._process: asyncio.subprocess.Process
        self._gone: asyncio.Task[None]
        self._ready: asyncio.Future[dict[str, str]]

    @property
    def is_gone(self) -> bool:
        return self._gone.done()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def __aenter__(self) -> "Launcher":
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        self._control, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        plan = {"steps": list(self._plan.steps), "required": sorted(self._plan.required)}
        arguments = (its_end.fileno(), plan, {name: asdict(profile) for name, profile in self._profiles.items()})
        with contextlib.ExitStack() as on_failure, its_end:
            on_failure.callback(self._control.close)
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-IS",  # no packages: what is not loaded is not copied by each fork
                "-c",
                _BOOT.format(root=str(_ROOT), arguments=arguments),
                env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/"},
                pass_fds=(its_end.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
            on_failure.pop_all()
        self._control.setblocking(False)
        loop.add_reader(self._control, self._on_message)
        self._gone = loop.create_task(self._mourn(), name="launcher")
        try:
            async with asyncio.timeout(_READY_S):
                self.report = await self._ready
        except TimeoutError:
            await self.__aexit__()
            raise LauncherLost("the launcher of programs does not come up") from None
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)  # its word to end everything
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._gone), 5)
        if not self._gone.done():
            self._process.kill()
        await self._gone

    @asynccontextmanager
    async def folder(self) -> AsyncIterator[Folder]:
        """A scratch folder of one's own, removed at the end."""
        name, asked = self._spare or self._ask({"folder": ""})
        self._spare = None
        with contextlib.suppress(LauncherLost):  # whoever waits for something is told
            self._spare = self._ask({"folder": ""})  # the next one need not wait
        try:
            _, fds = await asyncio.shield(asked)
        except asyncio.CancelledError:
            asked.add_done_callback(_close_late)
            self._send({"remove": name})
            raise
        folder = Folder(name, fds[0])
        try:
            yield folder
        finally:
            folder.close()
            self._send({"remove": name})

    def start(self, launch: Launch, descriptors: Sequence[int]) -> "Running":
        """Have a program started. Raises LauncherLost."""
        number, asked = self._ask({"start": asdict(launch)}, descriptors)
        spent = SPENT.get()
        if spent is not None:
            asked.add_done_callback(lambda _: _add_up(asked, spent))
        return Running(self, number, asked)

    async def run(self, launch: Launch, descriptors: Sequence[int]) -> Exit:
        """Run a program to its end; cancelling kills it. Raises LauncherLost."""
        async with self.start(launch, descriptors) as running:
            return await running.exit()

    def kill(self, number: str) -> None:
        """End the program of that number."""
        self._send({"kill": number})

    def _ask(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> tuple[str, asyncio.Future[Answer]]:
        """Send a request. Returns its number and what will be answered."""
        if self._gone.done():
            raise LauncherLost("the launcher of programs has ended")
        number = str(next(self._numbers))
        self._send({"id": number, **message}, descriptors)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        return number, answer

    def _send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        data = json.dumps(message).encode()
        assert len(data) <= MESSAGE_BYTES
        try:
            socket.send_fds(self._control, [data], list(descriptors))
        except OSError as error:
            if "id" in message:
                raise LauncherLost(f"the launcher of programs cannot be asked: {error.strerror}") from error

    def _on_message(self) -> None:
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            if not data:
                asyncio.get_running_loop().remove_reader(self._control)
                return
            self._understand(json.loads(data), fds)

    def _understand(self, message: dict[str, Any], fds: list[int]) -> None:
        match message:
            case {"ready": dict(report)} if not self._ready.done():
                self._ready.set_result(report)
            case {"missing": str(why)} if not self._ready.done():
                self._ready.set_exception(CannotConfine(why))
            case {"id": str(number)} if (answer := self._waiting.pop(number, None)) and not answer.done():
                if "refused" in message:
                    answer.set_exception(LauncherLost(f"a program could not be started: {message['refused']}"))
                else:
                    answer.set_result((message, fds))
                    return
        for fd in fds:
            os.close(fd)

    async def _mourn(self) -> None:
        status = await self._process.wait()
        self._on_message()
        asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()
        lost = LauncherLost(f"the launcher of programs ended with status {status}")
        if not self._ready.done():
            self._ready.set_exception(lost)
        if self._spare is not None:
            self._spare[1].add_done_callback(_close_late)
            self._spare = None
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(lost)


def _add_up(asked: asyncio.Future[Answer], spent: list[float]) -> None:
    if not asked.cancelled() and asked.exception() is None:
        spent.append(asked.result()[0]["cpu_s"])


def _close_late(asked: asyncio.Future[Answer]) -> None:
    """The folder came when nobody waited any more."""
    if not asked.cancelled() and asked.exception() is None:
        for fd in asked.result()[1]:
            os.close(fd)
