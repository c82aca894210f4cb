"""Warm workers, ready before anyone asks. Refilled after each hand-over, off the path of the answer."""

import asyncio
import logging
import re
from collections import deque

from sandbox.confine.jail import Plan
from sandbox.limits import Limits
from sessions.errors import NoWorker, WorkerLost
from sessions.session_process import SessionProcess
from sessions.zygote_process import ZygoteProcess

log = logging.getLogger(__name__)

_LIBRARY = re.compile(r"\b(numpy|pandas|scipy|sympy|matplotlib|sklearn)\b")
_BIRTH_S = 10.0  # a worker that is not ready by then is given up
_REFILL_PAUSE_S = 0.002  # the answer that the worker was taken for goes first
_FAILURE_PAUSE_S, _MOST_PAUSE_S = 0.1, 5.0  # before another birth is tried, doubled at each failure
_RESTART_PAUSES_S = (0.0, 0.1, 0.5, 1.0, 5.0)  # before a zygote that keeps dying is started again


class Pool:
    """Keeps `size` workers of the best tier that is ready, and the zygotes that they come from.

    The plain tier is there at once; until `tier` has loaded its libraries, workers come from it.
    """

    def __init__(self, size: int, tier: str, limits: Limits, plan: Plan, liveness: int) -> None:
        self._size = size
        self._tiers = list(dict.fromkeys((tier, "plain")))  # best first
        self._limits = limits
        self._plan = plan
        self._liveness = liveness
        self._loop = asyncio.get_running_loop()
        self._zygotes: dict[str, ZygoteProcess] = {}
        self._warm: deque[SessionProcess] = deque()
        self._takers: deque[asyncio.Future[SessionProcess]] = deque()
        self._births: set[asyncio.Task[None]] = set()
        self._keepers: list[asyncio.Task[None]] = []
        self._refill_timer: asyncio.TimerHandle | None = None
        self._failures = 0
        self.libraries: list[str] = []

    def start(self) -> None:
        """Start the zygotes; returns at once."""
        for tier in reversed(self._tiers):
            self._keepers.append(self._loop.create_task(self._keep(tier), name=f"keep {tier}"))

    @property
    def warm(self) -> int:
        return len(self._warm)

    def states(self) -> dict[str, str]:
        """Each tier's zygote: `ready`, `loading` or `down`."""
        return {tier: self._state(tier) for tier in self._tiers}

    def pids(self) -> list[int]:
        """The zygotes' process ids."""
        return [zygote.pid for zygote in self._zygotes.values() if zygote.pid is not None]

    async def take(self, for_code: str = "") -> SessionProcess:
        """A worker that is ready. Raises NoWorker when none can be had in time."""
        if self._state(self._tiers[0]) == "loading" and _LIBRARY.search(for_code):
            # In a plain worker the libraries would count towards the session's own time and memory.
            await asyncio.wait([self._zygotes[self._tiers[0]].ready], timeout=_BIRTH_S)
        while self._warm:
            process = self._warm.popleft()
            if not process.lost:
                self._refill_soon()
                return process
        taker: asyncio.Future[SessionProcess] = self._loop.create_future()
        self._takers.append(taker)
        self._refill()
        try:
            return await asyncio.wait_for(taker, _BIRTH_S)
        except TimeoutError:
            raise NoWorker(f"no worker was ready within {_BIRTH_S:.0f} s") from None
        finally:
            if taker in self._takers:
                self._takers.remove(taker)

    async def close(self) -> None:
        """End the zygotes and all workers that nobody has taken."""
        if self._refill_timer is not None:
            self._refill_timer.cancel()
        for task in (*self._keepers, *self._births):
            task.cancel()
        await asyncio.gather(*self._keepers, *self._births, return_exceptions=True)
        while self._warm:
            process = self._warm.popleft()
            process.kill("the server stops")
            await process.gone

    def _state(self, tier: str) -> str:
        zygote = self._zygotes.get(tier)
        if zygote is None or zygote.gone.done():
            return "down"
        return "ready" if zygote.is_ready else "loading"

    def _best(self) -> ZygoteProcess | None:
        return next((self._zygotes[tier] for tier in self._tiers if self._state(tier) == "ready"), None)

    def _refill_soon(self, pause_s: float = _REFILL_PAUSE_S) -> None:
        if self._refill_timer is None:
            self._refill_timer = self._loop.call_later(pause_s, self._refill)

    def _refill(self) -> None:
        if self._refill_timer is not None:
            self._refill_timer.cancel()
            self._refill_timer = None
        zygote = self._best()
        if zygote is None:
            return
        for _ in range(self._size + len(self._takers) - len(self._warm) - len(self._births)):
            birth = self._loop.create_task(self._give_birth(zygote))
            self._births.add(birth)
            birth.add_done_callback(self._births.discard)

    async def _give_birth(self, zygote: ZygoteProcess) -> None:
        process = None
        try:
            async with asyncio.timeout(_BIRTH_S):
                process = await zygote.spawn()
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
            self._warm.append(process)
        else:
            process.kill("a better one takes its place")
            self._refill_soon()

    async def _keep(self, tier: str) -> None:
        """Start a tier's zygote, and start it again whenever it has died."""
        deaths = 0
        while True:
            await asyncio.sleep(_RESTART_PAUSES_S[min(deaths, len(_RESTART_PAUSES_S) - 1)])
            zygote = self._zygotes[tier] = ZygoteProcess(tier, self._limits, self._plan, self._liveness)
            try:
                await zygote.start()
                await zygote.ready_or_gone()
                if zygote.is_ready:
                    deaths = 0
                    self._on_ready(zygote)
                await asyncio.shield(zygote.gone)
            except OSError as error:
                log.error("the zygote of tier %s cannot be started: %s", tier, error)
            finally:
                await zygote.close()
            deaths += 1
            log.error("the zygote of tier %s died; its workers go on, and it is started again", tier)

    def _on_ready(self, zygote: ZygoteProcess) -> None:
        log.info("the zygote of tier %s is ready", zygote.tier)
        if zygote is self._best():
            self.libraries = zygote.ready.result()
            for process in self._warm:
                process.kill("a better one takes its place")
            self._warm.clear()
            self._refill()
