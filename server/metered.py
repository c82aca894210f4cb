"""What is done for a key is charged to it, and it has no more sessions than it may."""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext
from types import TracebackType
from typing import Self

from cluster.backend import Backend, Runs, Sessions, Submissions
from judge.submission import Report, Submission
from sandbox.limits import LOOK_UP_S
from sandbox.outcome import Outcome, RunOutcome
from sandbox.wire import Errand
from server.keys import KEY, Key
from server.quotas import QuotaExceeded, Quotas
from sessions.execution import Execution
from sessions.lifecycle import State
from sessions.stream import Event


class Metered:
    """What a backend does for requests that have a key. `idle_s`: after so long an idle session is closed."""

    def __init__(self, backend: Backend, quotas: Quotas, idle_s: float) -> None:
        self.sessions: Sessions = _Sessions(backend.sessions, quotas, idle_s)
        self.runs: Runs = _Runs(backend.runs, quotas)
        self.judge: Submissions = _Submissions(backend.judge, quotas)


class _Bill:
    """What one request uses, charged when its execution has ended, at the end of the `with` at the latest.

    When its client has left, nobody may tell what it used. Then it is charged the time that it took, `most_s` at most.
    """

    def __init__(self, quotas: Quotas, most_s: float, execution: Execution | None = None) -> None:
        self._quotas = quotas
        self._key = KEY.get()
        self._most_s = most_s
        self._execution = execution
        self._began = time.monotonic()
        self._is_settled = False
        self.cpu_s: float | None = None  # as its answer tells

    def __enter__(self) -> Self:
        if self._execution is not None:
            self._execution.on_end = lambda: self._settle(refused=False)  # who does not read its answer pays, too
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._settle(refused=isinstance(error, Exception))

    def _settle(self, *, refused: bool) -> None:
        if self._key is not None and not self._is_settled:
            self._is_settled = True
            self._quotas.charge(self._key, self._used_s(refused=refused))

    def took_s(self) -> float:
        """Seconds until now."""
        return min(time.monotonic() - self._began, self._most_s)

    def _used_s(self, *, refused: bool) -> float:
        if self.cpu_s is not None:
            return self.cpu_s
        if self._execution is not None and self._execution.cpu_s is not None:
            return self._execution.cpu_s
        return 0.0 if refused else self.took_s()


class _Sessions:
    """Opening one raises QuotaExceeded too."""

    def __init__(self, sessions: Sessions, quotas: Quotas, idle_s: float) -> None:
        self._sessions = sessions
        self._quotas = quotas
        self._idle_s = idle_s
        self._opening: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.figures = sessions.figures
        self.list = sessions.list
        self.count = sessions.count
        self.close = sessions.close
        self.interrupt = sessions.interrupt

    async def execute(self, execution: Execution, session_id: str | None, owner: str | None = None) -> Outcome:
        async with self._place(execution, session_id):
            with _Bill(self._quotas, execution.wall_s, execution) as bill:
                outcome = await self._sessions.execute(execution, session_id, owner)
                bill.cpu_s = outcome.usage.cpu_s
        return outcome

    async def stream(
        self, execution: Execution, session_id: str | None, owner: str | None = None
    ) -> AsyncGenerator[Event, None]:
        async with self._place(execution, session_id):
            with _Bill(self._quotas, execution.wall_s, execution) as bill:
                async with aclosing(self._sessions.stream(execution, session_id, owner)) as events:
                    async for event in events:
                        if isinstance(event, Outcome):
                            bill.cpu_s = event.usage.cpu_s
                        yield event

    async def look_up(self, session_id: str, errand: Errand, text: str, owner: str | None = None) -> str:
        with _Bill(self._quotas, LOOK_UP_S) as bill:
            told = await self._sessions.look_up(session_id, errand, text, owner)
            bill.cpu_s = bill.took_s()  # it is short, and its processor time is not told
        return told

    def _place(self, execution: Execution, session_id: str | None) -> AbstractAsyncContextManager[None]:
        key = KEY.get()
        if session_id is not None or key is None or not key.quota.sessions:
            return nullcontext()
        return self._place_of(key, execution)

    @asynccontextmanager
    async def _place_of(self, key: Key, execution: Execution) -> AsyncIterator[None]:
        """A place for the session that is opened inside. One after another for each key, until it can be counted."""
        opening = self._opening[key.name]
        execution.is_slow()  # others may be waited for, and nodes asked
        async with _Held(opening) as held:
            if await self._sessions.count(key.name) >= key.quota.sessions:
                raise await self._no_place(key)
            execution.on_open = held.let_go
            yield

    async def _no_place(self, key: Key) -> QuotaExceeded:
        idle = (figures for figures in await self._sessions.list(key.name) if figures.state is State.IDLE)
        wait_s = min((self._idle_s - figures.idle_s for figures in idle), default=1.0)
        most = key.quota.sessions
        sentence = f"the key {key.name} has its {most} sessions open: close one, or wait until an idle one closes"
        return QuotaExceeded(sentence, max(1, math.ceil(wait_s)), most)


class _Held:
    """A lock that may be let go before the end of the `async with`."""

    def __init__(self, lock: asyncio.Lock) -> None:
        self._lock = lock
        self._is_held = False

    async def __aenter__(self) -> Self:
        self._is_held = await self._lock.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.let_go()

    def let_go(self) -> None:
        if self._is_held:
            self._is_held = False
            self._lock.release()


class _Runs:
    def __init__(self, runs: Runs, quotas: Quotas) -> None:
        self._runs = runs
        self._quotas = quotas

    async def run(self, execution: Execution, memory_bytes: int) -> RunOutcome:
        with _Bill(self._quotas, execution.wall_s, execution) as bill:
            outcome = await self._runs.run(execution, memory_bytes)
            bill.cpu_s = outcome.usage.cpu_s
        return outcome


class _Submissions:
    def __init__(self, judge: Submissions, quotas: Quotas) -> None:
        self._judge = judge
        self._quotas = quotas

    async def judge(self, submission: Submission) -> Report:
        with _Bill(self._quotas, submission.timeout_s) as bill:
            report = await self._judge.judge(submission)
            bill.cpu_s = report.cpu_s
        return report
