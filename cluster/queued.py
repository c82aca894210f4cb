"""Runs and submissions of one machine, each behind its queue."""

from cluster.turns import Turns
from judge.judge import Judge
from judge.submission import Report, Submission
from sandbox.outcome import RunOutcome
from sessions.execution import Execution
from sessions.runs import Runs


class QueuedRuns:
    """See Runs. Raises QueueFull too."""

    def __init__(self, runs: Runs, turns: Turns) -> None:
        self.turns = turns
        self.unqueued = runs

    async def run(self, execution: Execution, memory_bytes: int) -> RunOutcome:
        """Wait for a turn, and run it once."""
        execution.cpu_s = 0.0  # should its client leave while it waits
        async with self.turns.turn():
            return await self.unqueued.run(execution, memory_bytes)


class QueuedJudge:
    """See Judge. Raises QueueFull too."""

    def __init__(self, judge: Judge, turns: Turns) -> None:
        self.turns = turns
        self.unqueued = judge

    @property
    def unavailable(self) -> str | None:
        """Why no submission can be judged."""
        return self.unqueued.unavailable

    @property
    def is_ready(self) -> bool:
        """Whether it is known that submissions can be judged."""
        return self.unavailable is None and bool(self.unqueued.versions)

    async def judge(self, submission: Submission) -> Report:
        """Wait for a turn, and judge it."""
        async with self.turns.turn():
            return await self.unqueued.judge(submission)
