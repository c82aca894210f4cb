"""The one owner of runs: each has a fresh worker of the tier that its imports need, and takes it along at its end."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from sandbox import wire
from sandbox.limits import MIB, Limits
from sandbox.outcome import Ended, Error, Printed, RunOutcome, Status, Usage, Verdict
from sandbox.tiers import TIERS
from sandbox.worker import Life
from sessions.errors import Draining, WorkerLost
from sessions.execution import Execution
from sessions.pool import Pool
from sessions.session_process import SessionProcess
from sessions.watchdog import Watchdog
from sessions.zygotes import Zygotes

_MOST_SENTENCE_CHARS = 1000  # of what a worker says about its program


class Runs:
    """An async context manager that ends every worker it took.

    `limits`: the most that one may ask for. `modules`: dotted names that a run may import, with all below them.
    `tiers`: of which workers are kept warm, the smallest first; a program that needs more libraries than the last has
    loads them itself.
    """

    def __init__(
        self, zygotes: Zygotes, limits: Limits, *, modules: Sequence[str], tiers: Sequence[str], pool_size: int
    ) -> None:
        self._zygotes = zygotes
        self._limits = limits
        self._modules = modules
        self._tiers = tiers
        self._pool_size = pool_size
        self._running: set[_Run] = set()
        self._draining = False

    async def __aenter__(self) -> Self:
        self._pools = {
            tier: Pool(self._zygotes, (tier,), Life.RUN, self._limits, self._pool_size) for tier in self._tiers
        }
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._draining = True
        self._end_all()
        for pool in self._pools.values():
            await pool.close()

    def drain(self, seconds: float) -> None:
        """Take no new runs; after `seconds`, end those that are left."""
        self._draining = True
        asyncio.get_running_loop().call_later(seconds, self._end_all)

    async def run(self, execution: Execution, memory_bytes: int) -> RunOutcome:
        """Run it once, from its birth to its end. When this is cancelled, its worker is killed.

        Raises Draining; NoWorker when the fault is ours.
        """
        limits = replace(self._limits, wall_s=execution.wall_s, memory_bytes=memory_bytes)
        checked = await self._run_in(self._tiers[0], execution, limits)
        if checked.ended is None or checked.ended.status is not Status.ELSEWHERE:
            return checked.outcome()
        # The worker has only read the program. Reading may take long, and counts.
        left_s = max(0.001, execution.wall_s - checked.took_s)
        tier = self._tier_for(checked.ended.result or "")
        return (await self._run_in(tier, replace(execution, wall_s=left_s), limits)).outcome()

    async def _run_in(self, tier: str, execution: Execution, limits: Limits) -> "_Run":
        if self._draining:
            raise Draining
        process = await self._pools[tier].take()
        served = [needed for needed in TIERS if self._tier_for(needed) == tier]
        terms = wire.terms(wire.Terms(limits.memory_bytes, self._modules, served))
        run = _Run(process, limits)
        self._running.add(run)
        try:
            await run.end(terms + wire.request(execution.code), execution)
        finally:
            self._running.discard(run)
            process.kill("its run is over")
        if run.was_ended:
            raise Draining
        return run

    def _tier_for(self, needed: str) -> str:
        return needed if needed in self._tiers else self._tiers[-1]

    def _end_all(self) -> None:
        for run in self._running:
            run.was_ended = True
            run.kill(Error.INTERRUPTED, "the server stops")


class _Run:
    """One run in its worker, as the watchdog and its caller see it."""

    def __init__(self, process: SessionProcess, limits: Limits) -> None:
        process.limits = limits
        self.ended: Ended | None = None  # what the worker told; None when it was lost
        self.took_s = 0.0
        self.was_ended = False  # by the server, that stops
        self._process = process
        self._limits = limits
        self._watchdog = Watchdog(self, process, limits)
        self._killed_by: Error | None = None
        self._lost = ""  # how, in words
        self._printed = Printed()

    async def end(self, request: bytes, execution: Execution) -> None:
        """Ask for it, and wait for its end, whatever that is."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._watchdog.start(execution)
        try:
            ended = await self._process.ask(request, None)
            too_much = self._watchdog.exceeded(ended.usage.memory_bytes)
            if too_much is not None:
                self._killed_by = Error.MEMORY
                raise WorkerLost(too_much, self._process.printed(ended, whole=True))
            self.ended, self._printed = ended, self._process.printed(ended, whole=True)
        except WorkerLost as lost:
            self._lost, self._printed = lost.detail, lost.printed
        finally:
            self._watchdog.end()
            self.took_s = loop.time() - began

    def interrupt(self, why: Error) -> bool:
        """At its time limit: nothing of it shall be kept, so it ends at once."""
        self.kill(why, "killed at its time limit")
        return True

    def kill(self, why: Error, detail: str) -> None:
        """End it at once."""
        self._killed_by = self._killed_by or why
        self._process.kill(detail)

    def rest(self) -> None:
        """Nothing comes behind a run."""

    def outcome(self) -> RunOutcome:
        """What the caller is told."""
        if self.ended is None:
            usage = Usage(self.took_s, self._watchdog.growth_bytes)
            return RunOutcome(*self._loss(), self._printed, usage)
        return RunOutcome(*self._end(), self._printed, self.ended.usage)

    def _end(self) -> tuple[Verdict, str | None]:
        assert self.ended is not None
        if self.ended.status is Status.DONE:
            return Verdict.SUCCESS, None
        if self.ended.status is Status.OUT_OF_MEMORY:
            return Verdict.MEMORY_EXCEEDED, self._memory_sentence()
        return Verdict.ERROR, (self.ended.result or "it failed")[:_MOST_SENTENCE_CHARS]

    def _loss(self) -> tuple[Verdict, str]:
        if self._killed_by is Error.TIMEOUT:
            return Verdict.TIMEOUT, f"Time limit of {self._limits.wall_s:g} s exceeded"
        if self._killed_by is Error.MEMORY:
            return Verdict.MEMORY_EXCEEDED, self._memory_sentence()
        return Verdict.ERROR, f"The run crashed: {self._lost}"

    def _memory_sentence(self) -> str:
        return f"Memory limit of {self._limits.memory_bytes // MIB} MiB exceeded"
