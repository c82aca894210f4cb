"""All that one machine does: its sessions, its runs, its submissions, and the zygotes under them."""

import asyncio
from contextlib import AsyncExitStack
from functools import cache
from importlib.util import find_spec
from types import TracebackType
from typing import Self

from cluster.queued import QueuedJudge, QueuedRuns
from cluster.turns import Turns
from cluster.vitals import Vitals
from judge.judge import Judge
from sandbox.tiers import SCIENTIFIC
from sessions.lifecycle import State
from sessions.manager import SessionManager
from sessions.runs import Runs
from sessions.zygotes import Zygotes


class Node:
    """An async context manager that starts and ends every process that they use.

    `wall`: each step of it, and how it is there.
    """

    def __init__(
        self,
        zygotes: Zygotes,
        sessions: SessionManager,
        runs: Runs,
        run_turns: Turns,
        judge: Judge,
        submit_turns: Turns,
        wall: dict[str, str],
    ) -> None:
        self.zygotes = zygotes
        self.sessions = sessions
        self.runs = QueuedRuns(runs, run_turns)
        self.judge = QueuedJudge(judge, submit_turns)
        self.draining = False
        self._parts = (zygotes, sessions, runs, judge)
        self._runs = runs
        self._judge = judge
        self._wall = wall
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for part in self._parts:
                await stack.enter_async_context(part)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.draining = True
        await self._stack.aclose()

    def drain(self, seconds: float) -> None:
        """Take no new work; what still runs after `seconds` is ended."""
        self.draining = True
        for owner in (self.sessions, self._runs, self._judge):
            owner.drain(seconds)

    async def until_idle(self) -> None:
        """Wait until nothing runs any more."""
        while self._is_busy():  # noqa: ASYNC110 - three owners, and nothing else waits for this
            await asyncio.sleep(0.05)

    async def vitals(self) -> Vitals:
        """How it is."""
        return Vitals(
            open_sessions=len(self.sessions),
            most_sessions=self.sessions.most,
            warm_workers=self.sessions.pool.warm,
            runs=self.runs.turns.figures,
            warm_for_runs=self._runs.warm(),
            submissions=self.judge.turns.figures,
            versions=self._judge.versions,
            unavailable=self._judge.unavailable,
            workers=self.zygotes.states(),
            sandbox=self._wall,
            libraries=_installed(),
        )

    def _is_busy(self) -> bool:
        busy = self.sessions.states()
        queues = self.runs.turns.figures, self.judge.turns.figures
        return bool(busy[State.BUSY] or busy[State.STARTING] or any(q.active or q.waiting for q in queues))


@cache
def _installed() -> tuple[str, ...]:
    return tuple(name for name in SCIENTIFIC if find_spec(name) is not None)
