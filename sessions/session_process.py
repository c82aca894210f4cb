"""The outer end of one worker: ask it, interrupt it, rest it, kill it. Everything that it says is hostile."""

import asyncio
import logging
import os
import re
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from mmap import PAGESIZE
from typing import NamedTuple

import psutil

from sandbox import capture, wire
from sandbox.display import MOST_BUNDLES
from sandbox.limits import ANSWER_FRAME_BYTES, Limits
from sandbox.outcome import Ended, Printed, exit_words
from sessions.errors import WorkerLost

log = logging.getLogger(__name__)

_READ_BYTES = 16 * 1024  # most answers are shorter; more than malloc keeps at hand costs a mapping each time
_STATUS_WAIT_S = 0.2  # for the zygote's word on how a worker ended


class Descriptors(NamedTuple):
    """What the zygote hands over for one worker."""

    pidfd: int
    requests: int
    answers: int
    stdin: int
    stdout: int
    stderr: int


class SessionProcess:
    """One worker. Owns its descriptors; `gone` is done when it is dead and they are closed.

    `exit_status`: done by the zygote's client with the worker's wait status, or cancelled if nobody can tell.
    """

    def __init__(
        self, pid: int, descriptors: Descriptors, limits: Limits, exit_status: asyncio.Future[int], tier: str
    ) -> None:
        self.pid = pid
        self.tier = tier
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._fds = descriptors
        self.limits = limits  # those of a run differ from those of its birth
        self._exit_status = exit_status
        self._reader = wire.FrameReader(ANSWER_FRAME_BYTES + 4 * limits.output_bytes)
        self._reply: asyncio.Future[bytes] | None = None
        self._unsent = b""
        self._lost: WorkerLost | None = None
        self._stdin_filled = False
        self._resting = False
        self._asked = 0  # executions; the worker counts them too
        self._on_shown: Callable[[wire.Shown], None] = _ignore
        self._shown_bundles = self._shown_bytes = 0
        self._burial: asyncio.Task[None] | None = None
        self._psutil: psutil.Process | None = None
        self._birth_rss = self._birth_own = 0
        self._cpu_clock = (~pid << 3) | 2  # as clock_getcpuclockid gives it
        self._cpu_s = 0.0  # as last seen
        os.set_blocking(descriptors.requests, False)
        os.set_blocking(descriptors.answers, False)
        self._loop.add_reader(descriptors.answers, self._on_answers)
        self._loop.add_reader(descriptors.pidfd, self._on_death)

    async def ready(self) -> None:
        """Wait until the worker has warmed and confined itself. Raises WorkerLost."""
        try:
            cannot = wire.parse_birth(await self._expect())
        except wire.WireError as error:
            raise self._lose(f"the worker broke the protocol: {error}") from error
        if cannot is not None:
            raise self._lose(f"the worker cannot be confined: {cannot}")
        try:
            self._birth_rss, self._birth_own = _resident(self.pid)
        except OSError as error:
            raise self._lose("the worker died at birth") from error

    async def ask(
        self, request: bytes, stdin: str | None, on_shown: Callable[[wire.Shown], None] | None = None
    ) -> Ended:
        """Send one request frame and return the answer. Raises WorkerLost, whoever ended the worker.

        `on_shown` gets the MIME bundles that are shown meanwhile.
        """
        reply = self._expect()
        self._on_shown = on_shown or _ignore
        self._shown_bundles = self._shown_bytes = 0
        if self._lost is None:
            self._asked += 1
            self._fill_stdin((stdin or "").encode())
            self._wake()
            self._send(request)
        body = await reply
        if self._lost is not None:  # for what came behind the answer
            raise self._lost
        try:
            ended = wire.parse_answer(body)
        except wire.WireError as error:
            raise self._lose(f"the worker broke the protocol: {error}") from error
        if ended.threads:
            self.rest()
        return ended

    @property
    def lost(self) -> bool:
        return self._lost is not None

    def printed(self, ended: Ended, *, whole: bool) -> Printed:
        """The text of an answered execution; not `whole`: without the traceback at the end of stderr."""
        if self.gone.done():
            return Printed()
        most = self.limits.output_bytes
        out_end = min(ended.stdout_bytes, most)
        err_end = min(ended.stderr_bytes if whole else min(ended.mark_bytes, ended.stderr_bytes), most)
        if ended.text is not None:
            out, err = ended.text[:out_end], ended.text[ended.stdout_bytes : ended.stdout_bytes + err_end]
        else:
            out, err = capture.read(self._fds.stdout, 0, out_end), capture.read(self._fds.stderr, 0, err_end)
        cut = ended.truncated
        return Printed(capture.decode(out, cut=cut), capture.decode(err, cut=cut), cut)

    def unread(self, stdout_bytes: int, stderr_bytes: int) -> tuple[bytes, bytes]:
        """What the execution that runs has printed so far beyond these lengths."""
        if self._lost is not None:
            return b"", b""
        most = self.limits.output_bytes
        return (
            capture.unread(self._fds.stdout, stdout_bytes, most),
            capture.unread(self._fds.stderr, stderr_bytes, most),
        )

    def is_heard_out(self) -> bool:
        """Whether all that it has sent so far was read: no bundle is on its way."""
        if self._lost is not None:
            return True
        return not self._reader.holds_half_a_frame and not _is_readable(self._fds.answers)

    def remains(self) -> Printed:
        """What a worker that is lost had printed since its last answer that has arrived."""
        out, out_cut = capture.salvage(self._fds.stdout, self.limits.output_bytes, self._asked)
        err, err_cut = capture.salvage(self._fds.stderr, self.limits.output_bytes, self._asked)
        return Printed(capture.decode(out, cut=True), capture.decode(err, cut=True), out_cut or err_cut)

    def memory_growth(self) -> int:
        """Bytes that the worker holds over what it held at birth, file pages apart; 0 when it is dead."""
        try:
            if self._psutil is None:
                self._psutil = psutil.Process(self.pid)
            memory = self._psutil.memory_info()
            if memory.rss - self._birth_rss <= self.limits.memory_bytes:
                return max(0, memory.rss - memory.shared - self._birth_own)
            with open(f"/proc/{self.pid}/status") as status:  # psutil adds shared memory and files up
                held = dict(re.findall(r"^Rss(Anon|Shmem):\s*(\d+) kB$", status.read(), re.MULTILINE))
        except (psutil.Error, OSError):
            return 0
        return (int(held.get("Anon", 0)) + int(held.get("Shmem", 0))) * 1024 - self._birth_own

    def peak_growth(self) -> int:
        """The most that it held over what it held at birth, in bytes, files and tapes apart; 0 when it is dead."""
        try:
            with open(f"/proc/{self.pid}/status") as status:
                held = dict(re.findall(r"^(VmHWM|RssFile|RssShmem):\s*(\d+) kB$", status.read(), re.MULTILINE))
        except OSError:
            return 0
        if len(held) < 3:  # it is a zombie
            return 0
        return max(0, (int(held["VmHWM"]) - int(held["RssFile"]) - int(held["RssShmem"])) * 1024 - self._birth_own)

    def cpu_s(self) -> float:
        """Seconds of processor time that it has used since its birth; of a dead one, as last seen."""
        if not self.gone.done():  # the number may be another's by then
            with suppress(OSError):  # it is dead, and its parent has heard of it
                self._cpu_s = time.clock_gettime(self._cpu_clock)
        return self._cpu_s

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the execution that was asked for last, though it may not have begun."""
        if self._lost is None:
            capture.want_interrupt(self._fds.stdout, self._asked)
            self._signal(signal.SIGINT)

    def rest(self) -> None:
        """Stop it between executions: no thread of it runs on."""
        if not self._resting:
            self._resting = True
            self._signal(signal.SIGSTOP)

    def kill(self, detail: str) -> None:
        """End it at once. Whoever waits for its answer gets WorkerLost with `detail` and what was printed."""
        self._lose(detail)

    def _fill_stdin(self, content: bytes) -> None:
        if content or self._stdin_filled:
            self._stdin_filled = bool(content)
            os.ftruncate(self._fds.stdin, 0)
            os.pwrite(self._fds.stdin, content, 0)

    def _wake(self) -> None:
        if self._resting:
            self._resting = False
            self._signal(signal.SIGCONT)

    def _signal(self, signum: signal.Signals) -> None:
        if self.gone.done():
            return  # the number may be another's by now
        with suppress(ProcessLookupError):  # it died first; the pidfd tells
            signal.pidfd_send_signal(self._fds.pidfd, signum)

    def _expect(self) -> asyncio.Future[bytes]:
        self._reply = self._loop.create_future()
        if self._lost is not None:
            self._reply.set_exception(self._lost)
        return self._reply

    def _send(self, data: bytes) -> None:
        try:
            sent = os.write(self._fds.requests, data)
        except BlockingIOError:
            sent = 0
        except OSError:  # it is dead or deaf; the pidfd tells, or its limit does
            return
        if sent < len(data):
            self._unsent = data[sent:]
            self._loop.add_writer(self._fds.requests, self._send_rest)

    def _send_rest(self) -> None:
        self._loop.remove_writer(self._fds.requests)
        if self._lost is None:
            self._send(self._unsent)

    def _on_answers(self) -> None:
        try:
            data = os.read(self._fds.answers, _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._fds.answers)
            if not _is_readable(self._fds.pidfd):
                self._loop.call_later(_STATUS_WAIT_S, self._lose, "it closed its queue")  # unless it is dying
            return
        try:
            bodies = self._reader.feed(data)
        except wire.WireError as error:
            self._lose(f"the worker broke the protocol: {error}")
            return
        for body in bodies:
            if wire.is_display(body):
                self._show(body)
            elif self._reply is None or self._reply.done():
                self._lose("the worker broke the protocol: an answer that nobody asked for")
                return
            else:
                self._reply.set_result(body)
        if bodies and self._reader.holds_half_a_frame and not wire.is_display(bodies[-1]):
            self._lose("the worker broke the protocol: more than one answer")

    def _show(self, body: bytes) -> None:
        self._shown_bundles += 1
        self._shown_bytes += len(body)
        try:
            if self._reply is None or self._reply.done():
                raise wire.WireError("an output that nobody asked for")
            if self._shown_bundles > MOST_BUNDLES or self._shown_bytes > ANSWER_FRAME_BYTES:
                raise wire.WireError("more outputs than are allowed")
            self._on_shown(wire.parse_display(body))
        except wire.WireError as error:
            self._lose(f"the worker broke the protocol: {error}")

    def _lose(self, detail: str) -> WorkerLost:
        """Kill it if it is not dead, and tell whoever waits. The first cause is the one that is told."""
        if self._lost is None:
            self.cpu_s()  # for the last time
            self._signal(signal.SIGKILL)
            self._lost = WorkerLost(detail, self.remains())
            if self._reply is not None and not self._reply.done():
                self._reply.set_exception(self._lost)
        return self._lost

    def _on_death(self) -> None:
        self._loop.remove_reader(self._fds.pidfd)
        self._burial = self._loop.create_task(self._bury(), name=f"bury {self.pid}")

    async def _bury(self) -> None:
        how = await self._how_it_ended()
        self._lose(how)
        self._loop.remove_reader(self._fds.answers)
        self._loop.remove_writer(self._fds.requests)
        if self._reply is not None and self._reply.done() and not self._reply.cancelled():
            self._reply.exception()  # told, or nobody is left to be told
        self.gone.set_result(None)
        for fd in self._fds:
            os.close(fd)

    async def _how_it_ended(self) -> str:
        await asyncio.wait([self._exit_status], timeout=_STATUS_WAIT_S)
        if self._exit_status.done() and not self._exit_status.cancelled():
            return exit_words(self._exit_status.result())
        try:  # its zygote is gone, and it is our child now: see sandbox.orphans
            ended = os.waitid(os.P_PIDFD, self._fds.pidfd, os.WEXITED | os.WNOHANG)  # noqa: ASYNC222 - does not wait
        except ChildProcessError:
            ended = None
        if ended is None:
            return "it ended, and nobody could tell how"
        return exit_words(ended.si_status << 8 if ended.si_code == os.CLD_EXITED else ended.si_status)


def _is_readable(fd: int) -> bool:
    """Whether a read would not wait. select() knows no descriptor above 1023, and two hundred sessions have more."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def _ignore(shown: wire.Shown) -> None:
    """A run shows nothing to anybody."""


def _resident(pid: int) -> tuple[int, int]:
    """Bytes of a process's resident memory, and of that which is its own. psutil reads more, at ten times the cost."""
    with open(f"/proc/{pid}/statm", "rb") as statm:
        _, resident, shared, *_ = map(int, statm.read().split())
    return resident * PAGESIZE, (resident - shared) * PAGESIZE
