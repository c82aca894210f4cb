"""The watchdog of one session: the wall clock, and the memory that the kernel's ceiling cannot see."""

import asyncio
from typing import Protocol

from sandbox.limits import MIB, Limits
from sandbox.outcome import Error
from sessions.execution import Execution
from sessions.session_process import SessionProcess

POLL_S = 0.02  # a look costs 9 µs: 40 busy sessions cost 2 % of a core


class Watched(Protocol):
    """What the watchdog does to a session."""

    def interrupt(self, why: Error) -> bool: ...
    def kill(self, why: Error, detail: str) -> None: ...
    def rest(self) -> None: ...


class Watchdog:
    """Looks at a running execution every POLL_S, and exactly at its limit.

    At the limit it interrupts, after the grace it kills; over the memory limit it kills at once. Its timer outlives
    an execution, so that a quick succession of short ones costs no timers.
    """

    def __init__(self, session: Watched, process: SessionProcess, limits: Limits) -> None:
        self._session = session
        self._process = process
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._execution: Execution | None = None
        self._began = self._limit = self._last = 0.0
        self._interrupted = False  # at the limit
        self.growth_bytes = 0  # as last seen

    def start(self, execution: Execution) -> None:
        """Watch an execution that begins now."""
        self._execution = execution
        self._interrupted = False
        self.growth_bytes = 0
        self._began = self._loop.time()
        self._limit = self._began + execution.wall_s
        if self._timer is None or execution.wall_s < POLL_S:
            self._look_at(self._began + min(POLL_S, execution.wall_s))

    def stop(self) -> None:
        """It has ended."""
        self._execution = None

    def end(self) -> None:
        """The session has ended."""
        if self._timer is not None:
            self._timer.cancel()

    def exceeded(self, used_bytes: int) -> str | None:
        """The words for a use of memory that the limit does not allow, else None."""
        self.growth_bytes = used_bytes
        if used_bytes <= self._limits.memory_bytes + self._limits.memory_slack_bytes:
            return None
        return f"killed: used {used_bytes // MIB} of {self._limits.memory_bytes // MIB} MiB"

    def _look(self) -> None:
        self._timer = None
        if self._execution is None:
            self._session.rest()  # nothing was asked for a moment: whatever still runs in there stops
            return
        now = self._loop.time()
        if now - self._began < POLL_S and now < self._limit:
            self._look_at(min(self._began + POLL_S, self._limit))
            return
        self._execution.is_slow()
        detail = self.exceeded(self._process.memory_growth())
        if detail is not None:
            self._session.kill(Error.MEMORY, detail)
            return
        if now < self._limit:
            self._look_at(min(now + POLL_S, self._limit))
            return
        if not self._interrupted:
            self._interrupted = True
            self._last = now + self._limits.grace_s  # on a busy machine this look is late
            self._session.interrupt(Error.TIMEOUT)
        elif now >= self._last:
            self._session.kill(Error.TIMEOUT, "killed: it did not end when interrupted at its time limit")
            return
        self._look_at(min(now + POLL_S, self._last))

    def _look_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._look)
