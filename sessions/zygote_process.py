"""The outer end of one zygote: start it, have it fork workers, hear how they ended."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sandbox.confine.jail import Plan
from sandbox.limits import Limits
from sandbox.worker import Life
from sandbox.zygote import MESSAGE_BYTES
from sessions.errors import NoWorker
from sessions.session_process import Descriptors, SessionProcess

log = logging.getLogger(__name__)

_ROOT = Path(__file__).resolve().parent.parent
# `-c` leaves `__main__` empty, and main() takes our folder off the path again.
_BOOT = "__import__('sys').path.insert(0, {root!r}); __import__('sandbox.zygote').zygote.main(*{arguments!r})"
_MOST_LATE_BIRTHS = 3  # in a row: a zygote that hangs is not waited for any longer
_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/",
    "MPLBACKEND": "Agg",
    "OPENBLAS_NUM_THREADS": "1",  # no thread pool: fork stays cheap, and matmul is as fast on small machines
    "OMP_NUM_THREADS": "1",  # OpenMP is not fork-safe with more
    "MKL_NUM_THREADS": "1",
    "JOBLIB_MULTIPROCESSING": "0",  # it would need semaphores in shared memory
}


class ZygoteProcess:
    """One zygote of one tier. `gone` is done when it has died; then start another one.

    `liveness`: the reading end of a pipe whose writing end only the server holds.
    """

    def __init__(self, tier: str, limits: Limits, plan: Plan, liveness: int) -> None:
        loop = asyncio.get_running_loop()
        self.tier = tier
        self.ready: asyncio.Future[None] = loop.create_future()  # when it has loaded its libraries
        self.gone: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._limits = limits
        self._plan = plan
        self._liveness = liveness
        self._control: socket.socket
        self._asked: deque[tuple[asyncio.Future[SessionProcess], Limits]] = deque()
        self._exits: dict[int, asyncio.Future[int]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._late_births = 0

    @property
    def is_ready(self) -> bool:
        return self.ready.done() and not self.ready.cancelled() and not self.gone.done()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the process; it loads its libraries while this returns. Raises OSError."""
        self._control, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        plan = {"steps": list(self._plan.steps), "required": sorted(self._plan.required)}
        arguments = (its_end.fileno(), self._liveness, self.tier, asdict(self._limits), plan)
        with contextlib.ExitStack() as on_failure, its_end:
            on_failure.callback(self._control.close)
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-c",
                _BOOT.format(root=str(_ROOT), arguments=arguments),
                env=_ENVIRONMENT,
                pass_fds=(its_end.fileno(), self._liveness),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,  # a Ctrl-C in the terminal is the server's to handle
            )
            on_failure.pop_all()
        self._control.setblocking(False)
        self._loop.add_reader(self._control, self._on_message)
        self._loop.create_task(self._mourn(), name=f"zygote {self.tier}")

    def spawn(self, life: Life, limits: Limits) -> asyncio.Future[SessionProcess]:
        """Have one worker forked. Fails with NoWorker."""
        future: asyncio.Future[SessionProcess] = self._loop.create_future()
        message = {"spawn": {"life": life, "memory_bytes": limits.memory_bytes}}
        try:
            self._control.send(json.dumps(message).encode())
        except OSError as error:
            future.set_exception(NoWorker(f"the zygote cannot be asked: {error.strerror}"))
        else:
            self._asked.append((future, limits))
        return future

    async def ready_or_gone(self) -> None:
        """Wait until it has loaded its libraries, or has died over it."""
        waits: list[asyncio.Future[Any]] = [self.ready, self.gone]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)

    def note_birth(self, *, in_time: bool) -> None:
        """A zygote that stops answering is killed, so that it is replaced."""
        self._late_births = 0 if in_time else self._late_births + 1
        if self._late_births == _MOST_LATE_BIRTHS and self._process is not None:
            log.error("the zygote of tier %s does not answer: it is killed", self.tier)
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def close(self) -> None:
        """End it. Its workers are not touched."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        await self.gone

    def _on_message(self) -> None:
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(
                    self._control, MESSAGE_BYTES, len(Descriptors._fields), socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            if not data:
                self._loop.remove_reader(self._control)
                return
            self._understand(json.loads(data), fds)

    def _understand(self, message: dict[str, object], fds: list[int]) -> None:
        match message:
            case {"ready": True}:
                self.ready.set_result(None)
            case {"worker": int(pid)}:
                self._hand_over(pid, fds, *self._asked.popleft())
            case {"refused": str(why)}:
                _fail(self._asked.popleft()[0], f"no worker could be forked: {why}")
            case {"exit": int(pid), "status": int(status)}:
                exit_status = self._exits.pop(pid)
                if not exit_status.done():
                    exit_status.set_result(status)

    def _hand_over(self, pid: int, fds: list[int], asked: asyncio.Future[SessionProcess], limits: Limits) -> None:
        exit_status = self._exits[pid] = self._loop.create_future()
        if len(fds) != len(Descriptors._fields):  # we have no room for more: without its queue the worker ends itself
            for fd in fds:
                os.close(fd)
            _fail(asked, "the server is out of descriptors")
            return
        try:
            process = SessionProcess(pid, Descriptors(*fds), limits, exit_status, self.tier)
        except OSError as error:
            for fd in fds:
                os.close(fd)
            _fail(asked, str(error))
            return
        if asked.done():
            process.kill("nobody waits for it any more")
        else:
            asked.set_result(process)

    async def _mourn(self) -> None:
        assert self._process is not None
        status = await self._process.wait()
        self._on_message()
        self._loop.remove_reader(self._control)
        self._control.close()
        if not self.ready.done():
            self.ready.cancel()
        for asked, _ in self._asked:
            _fail(asked, f"the zygote of tier {self.tier} ended with status {status}")
        for exit_status in self._exits.values():
            exit_status.cancel()
        self.gone.set_result(None)


def _fail(asked: asyncio.Future[SessionProcess], why: str) -> None:
    if not asked.done():
        asked.set_exception(NoWorker(why))
