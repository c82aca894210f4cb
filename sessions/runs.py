"""The one owner of runs: each has a fresh worker of the tier that its imports need, and takes it along at its end."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from sandbox import wire
from sandbox.limits import MIB, Limits
from sandbox.outcome import Ended, Error, Printed, RunOutcome, Status, Usage, Verdict
from sandbox.tiers import TIERS, needed
from sandbox.worker import Life
from sessions.errors import Draining, WorkerLost
from sessions.execution import Execution
from sessions.lifecycle import Cause
from sessions.pool import Pool
from sessions.session_process import SessionProcess
from sessions.watchdog import Watchdog
from sessions.zygotes import Zygotes

_IMPORTS = re.compile(r"^[ \t]*(?:import|from)\b(.*)$", re.MULTILINE)
_WORD = re.compile(r"\w+")
_GUESSED_CHARS = 20_000  # of a program: its imports are at its beginning, and looking is done in the server
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
        self.ended: Counter[Cause] = Counter()  # workers that did not end with their run, by why
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
        run = await self._run_in(self._tier_for(_guess(execution.code)), execution, limits)
        if run.ended is not None and run.ended.status is Status.ELSEWHERE:
            # That worker has only read the program. Reading may take long, and counts.
            left_s = max(0.001, execution.wall_s - run.took_s)
            tier, rest = self._tier_for(run.ended.result or ""), replace(execution, wall_s=left_s)
            try:
                run = await self._run_in(tier, rest, limits)
            finally:
                execution.cpu_s = rest.cpu_s
            run.cpu_s = rest.cpu_s or 0.0
        return run.outcome()

    async def _run_in(self, tier: str, execution: Execution, limits: Limits) -> "_Run":
        if self._draining:
            raise Draining
        process = await self._pools[tier].take()
        order = list(TIERS)
        served = [name for name in TIERS if order.index(self._tier_for(name)) <= order.index(tier)]
        terms = wire.terms(wire.Terms(limits.memory_bytes, self._modules, served))
        run = _Run(process, limits)
        self._running.add(run)
        try:
            await run.end(terms + wire.request(execution.code), execution)
        finally:
            execution.cpu_s = (execution.cpu_s or 0.0) + run.cpu_s
            self._running.discard(run)
            if (cause := run.cause()) is not None:
                self.ended[cause] += 1
            process.kill("its run is over")
        if run.was_ended:
            raise Draining("the run was ended before it was done")
        return run

    def _tier_for(self, wanted: str) -> str:
        return wanted if wanted in self._tiers else self._tiers[-1]

    def warm(self) -> dict[str, int]:
        """How many workers of each tier are ready."""
        return {tier: pool.warm for tier, pool in self._pools.items()}

    def wanted(self) -> int:
        """How many workers are kept ready, of all tiers together."""
        return sum(pool.size for pool in self._pools.values())

    def _end_all(self) -> None:
        for run in self._running:
            run.was_ended = True
            run.kill(Error.INTERRUPTED, "the server stops")


def _guess(code: str) -> str:
    """The tier that a program seems to need, by the look of its import lines; the worker reads it properly."""
    lines = _IMPORTS.findall(code[:_GUESSED_CHARS])
    return needed({word for line in lines for word in _WORD.findall(line)})


class _Run:
    """One run in its worker, as the watchdog and its caller see it."""

    def __init__(self, process: SessionProcess, limits: Limits) -> None:
        process.limits = limits
        self.ended: Ended | None = None  # what the worker told; None when it was lost
        self.took_s = 0.0
        self.cpu_s = 0.0
        self.was_ended = False  # by the server, that stops
        self._process = process
        self._limits = limits
        self._watchdog = Watchdog(self, process, limits)
        self._killed_by: Error | None = None
        self._peak_bytes = 0
        self._lost = ""  # how, in words
        self._printed = Printed()

    async def end(self, request: bytes, execution: Execution) -> None:
        """Ask for it, and wait for its end, whatever that is."""
        began, began_cpu_s = time.monotonic(), self._process.cpu_s()  # the loop's clock stands still within a turn
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
            self.took_s = time.monotonic() - began
            self.cpu_s = self._process.cpu_s() - began_cpu_s

    def interrupt(self, why: Error) -> bool:
        """At its time limit: nothing of it shall be kept, so it ends at once."""
        self.kill(why, "killed at its time limit")
        return True

    def kill(self, why: Error, detail: str) -> None:
        """End it at once."""
        self._killed_by = self._killed_by or why
        self._peak_bytes = self._process.peak_growth()
        self._process.kill(detail)

    def rest(self) -> None:
        """Nothing comes behind a run."""

    def cause(self) -> Cause | None:
        """Why its worker ended, unless it did its work."""
        if self.ended is not None:
            return None
        match self._killed_by:
            case Error.TIMEOUT:
                return Cause.TIMEOUT
            case Error.MEMORY:
                return Cause.MEMORY
            case Error.INTERRUPTED:
                return Cause.DRAIN
        return Cause.CRASH if self._lost else Cause.ABANDONED

    def outcome(self) -> RunOutcome:
        """What the caller is told."""
        if self.ended is None:
            usage = Usage(self.took_s, max(self._peak_bytes, self._watchdog.growth_bytes), self.cpu_s)
            return RunOutcome(*self._loss(), self._printed, usage)
        told = self.ended.usage  # by the worker, which may lie
        peak_bytes = max(told.memory_bytes, self._watchdog.growth_bytes)
        usage = Usage(min(told.wall_s, self.took_s), peak_bytes, self.cpu_s)
        return RunOutcome(*self._end(), self._printed, usage)

    def _end(self) -> tuple[Verdict, str | None]:
        assert self.ended is not None
        if self.ended.status is Status.DONE:
            return Verdict.SUCCESS, None
        if self.ended.status is Status.OUT_OF_MEMORY:
            return Verdict.MEMORY_EXCEEDED, self._memory_sentence()
        if self.ended.status is not Status.FAILED or not self.ended.result:
            return Verdict.ERROR, "The run crashed: its worker broke the protocol"
        return Verdict.ERROR, self.ended.result[:_MOST_SENTENCE_CHARS]

    def _loss(self) -> tuple[Verdict, str]:
        if self._killed_by is Error.TIMEOUT:
            return Verdict.TIMEOUT, f"Time limit of {self._limits.wall_s:g} s exceeded"
        if self._killed_by is Error.MEMORY:
            return Verdict.MEMORY_EXCEEDED, self._memory_sentence()
        return Verdict.ERROR, f"The run crashed: {self._lost}"

    def _memory_sentence(self) -> str:
        return f"Memory limit of {self._limits.memory_bytes // MIB} MiB exceeded"
