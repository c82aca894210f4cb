"""The zygotes of a server, one for each tier: started, and started again whenever one has died."""

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from sandbox import orphans
from sandbox.confine.jail import Plan
from sandbox.limits import Limits
from sessions.zygote_process import ZygoteProcess

log = logging.getLogger(__name__)

_RESTART_PAUSES_S = (0.0, 0.1, 0.5, 1.0, 5.0)  # before one that keeps dying is started again


class Zygotes:
    """An async context manager that ends every zygote, and by the kernel's hand whatever they leave.

    `listeners` are told of each zygote that is ready.
    """

    def __init__(self, tiers: Iterable[str], limits: Limits, plan: Plan) -> None:
        self._tiers = tuple(tiers)
        self._limits = limits
        self._plan = plan
        self._zygotes: dict[str, ZygoteProcess] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self.listeners: list[Callable[[ZygoteProcess], None]] = []

    async def __aenter__(self) -> Self:
        orphans.adopt()  # workers whose zygote has died
        self._liveness, self._alive = os.pipe()
        for tier in self._tiers:
            self._keepers.append(asyncio.create_task(self._keep(tier), name=f"keep {tier}"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        os.close(self._liveness)
        os.close(self._alive)  # whatever should be left is killed by the kernel now

    def states(self) -> dict[str, str]:
        """Each tier's zygote: `ready`, `loading` or `down`."""
        return {tier: self._state(tier) for tier in self._tiers}

    def ready(self, tier: str) -> ZygoteProcess | None:
        """A tier's zygote, if it can be asked for a worker."""
        return self._zygotes[tier] if self._state(tier) == "ready" else None

    async def loaded(self, tier: str, timeout_s: float) -> None:
        """Wait until a tier that is loading has done so."""
        if self._state(tier) == "loading":
            await asyncio.wait([self._zygotes[tier].ready], timeout=timeout_s)

    def _state(self, tier: str) -> str:
        zygote = self._zygotes.get(tier)
        if zygote is None or zygote.gone.done():
            return "down"
        return "ready" if zygote.is_ready else "loading"

    async def _keep(self, tier: str) -> None:
        deaths = 0
        while True:
            await asyncio.sleep(_RESTART_PAUSES_S[min(deaths, len(_RESTART_PAUSES_S) - 1)])
            zygote = self._zygotes[tier] = ZygoteProcess(tier, self._limits, self._plan, self._liveness)
            try:
                await zygote.start()
                await zygote.ready_or_gone()
                if zygote.is_ready:
                    deaths = 0
                    log.info("the zygote of tier %s is ready", tier)
                    for listener in self.listeners:
                        listener(zygote)
                await asyncio.shield(zygote.gone)
            except OSError as error:
                log.error("the zygote of tier %s cannot be started: %s", tier, error)
            finally:
                await zygote.close()
            deaths += 1
            log.error("the zygote of tier %s died; its workers go on, and it is started again", tier)
