"""Warm workers, ready before anyone asks. Refilled after each hand-over, off the path of the answer."""

import asyncio
import contextvars
import logging
from collections import Counter, deque
from collections.abc import Sequence

from sandbox.limits import Limits
from sandbox.worker import Life
from sessions.errors import NoWorker, WorkerLost
from sessions.session_process import SessionProcess
from sessions.zygote_process import ZygoteProcess
from sessions.zygotes import Zygotes

log = logging.getLogger(__name__)

_BIRTH_S = 10.0  # a worker that is not ready by then is given up
_REFILL_PAUSE_S = 0.002  # the answer that the worker was taken for goes first
_FAILURE_PAUSE_S, _MOST_PAUSE_S = 0.1, 5.0  # before another birth is tried, doubled at each failure


class Pool:
    """Keeps `size` workers for one kind of life, of the best tier that is ready.

    `tiers`: best first. Until the best has loaded its libraries, workers come from the next.
    """

    def __init__(self, zygotes: Zygotes, tiers: Sequence[str], life: Life, limits: Limits, size: int) -> None:
        self._zygotes = zygotes
        self._tiers = tiers
        self._life = life
        self._limits = limits
        self.size = size
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()  # births are nobody's request, whoever took the worker before
        self._warm: deque[SessionProcess] = deque()
        self._takers: deque[asyncio.Future[SessionProcess]] = deque()
        self._births: set[asyncio.Task[None]] = set()
        self._refill_timer: asyncio.TimerHandle | None = None
        self._failures = 0
        zygotes.listeners.append(self._on_ready)

    @property
    def warm(self) -> int:
        return len(self._warm)

    def tiers(self) -> Counter[str]:
        """How many workers of each tier are ready."""
        return Counter(process.tier for process in self._warm)

    async def take(self, *, best: bool = False) -> SessionProcess:
        """A worker that is ready. Raises NoWorker when none can be had in time.

        `best`: one of the best tier, if that is still loading.
        """
        if best:
            await self._zygotes.loaded(self._tiers[0], _BIRTH_S)
        while self._warm:
            process = self._warm.popleft()
            if not process.lost:
                self._refill_soon()
                return process
        taker: asyncio.Future[SessionProcess] = self._loop.create_future()
        self._takers.append(taker)
        self._refill()
        try:
            async with asyncio.timeout(_BIRTH_S):  # wait_for may lose a cancellation
                return await taker
        except TimeoutError:
            raise NoWorker(f"no worker was ready within {_BIRTH_S:.0f} s") from None
        except asyncio.CancelledError:
            if taker.done() and not taker.cancelled():  # handed over this moment
                self._keep(taker.result())
            raise
        finally:
            if taker in self._takers:
                self._takers.remove(taker)

    async def close(self) -> None:
        """End all workers that nobody has taken."""
        if self._refill_timer is not None:
            self._refill_timer.cancel()
        for birth in self._births:
            birth.cancel()
        await asyncio.gather(*self._births, return_exceptions=True)
        while self._warm:
            process = self._warm.popleft()
            process.kill("the server stops")
            await process.gone

    def _best(self) -> ZygoteProcess | None:
        ready = (self._zygotes.ready(tier) for tier in self._tiers)
        return next((zygote for zygote in ready if zygote is not None), None)

    def _refill_soon(self, pause_s: float = _REFILL_PAUSE_S) -> None:
        if self._refill_timer is None:
            self._refill_timer = self._loop.call_later(pause_s, self._refill, context=self._context)

    def _refill(self) -> None:
        if self._refill_timer is not None:
            self._refill_timer.cancel()
            self._refill_timer = None
        zygote = self._best()
        if zygote is None:
            return
        for _ in range(self.size + len(self._takers) - len(self._warm) - len(self._births)):
            birth = self._loop.create_task(self._give_birth(zygote), context=self._context)
            self._births.add(birth)
            birth.add_done_callback(self._births.discard)

    async def _give_birth(self, zygote: ZygoteProcess) -> None:
        process = None
        try:
            async with asyncio.timeout(_BIRTH_S):
                process = await zygote.spawn(self._life, self._limits)
                await process.ready()
            zygote.note_birth(in_time=True)
        except (NoWorker, WorkerLost, TimeoutError) as error:
            zygote.note_birth(in_time=not isinstance(error, TimeoutError))
            log.error("a worker could not be born: %s", error or "it took too long")
            if process is not None:
                process.kill("it was not ready in time")
            self._refill_soon(min(_MOST_PAUSE_S, _FAILURE_PAUSE_S * 2 ** min(self._failures, 10)))
            self._failures += 1
            return
        except asyncio.CancelledError:
            if process is not None:
                process.kill("the server stops")
                await process.gone
            raise
        self._failures = 0
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(process)
                return
        if zygote is self._best():
            self._keep(process)
        else:
            process.kill("a better one takes its place")
            self._refill_soon()

    def _keep(self, process: SessionProcess) -> None:
        if len(self._warm) < self.size:
            self._warm.append(process)
        else:
            process.kill("nobody waits for it any more")

    def _on_ready(self, zygote: ZygoteProcess) -> None:
        if zygote is self._best():
            for process in self._warm:
                process.kill("a better one takes its place")
            self._warm.clear()
            self._refill()
