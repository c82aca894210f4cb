"""The watchdog interrupts at the limit and kills the grace after that, also where the server itself is late."""

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from sandbox.limits import Limits
from sandbox.outcome import Error
from sessions.execution import Execution
from sessions.session_process import SessionProcess
from sessions.watchdog import Watchdog

LIMIT_S, GRACE_S = 0.05, 0.2


class Told:
    """A session that notes what the watchdog asks of it, and when."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, float]] = []
        self.killed = asyncio.Event()

    def interrupt(self, why: Error) -> bool:
        self.asked.append(("interrupt", time.monotonic()))
        return True

    def kill(self, why: Error, detail: str) -> None:
        self.asked.append(("kill", time.monotonic()))
        self.killed.set()

    def rest(self) -> None:
        """Nothing to rest."""


async def watch(late_s: float) -> list[tuple[str, float]]:
    """What an execution that never ends gets when the loop stands still for so long after its beginning."""
    session = Told()
    process = cast(SessionProcess, SimpleNamespace(memory_growth=lambda: 0))
    watchdog = Watchdog(cast(Any, session), process, replace(Limits(), wall_s=LIMIT_S, grace_s=GRACE_S))
    watchdog.start(Execution("while True: pass", None, LIMIT_S))
    time.sleep(late_s)  # noqa: ASYNC251 - the loop is to stand still
    async with asyncio.timeout(20):
        await session.killed.wait()
    watchdog.end()
    return session.asked


def test_a_late_server_interrupts_before_it_kills() -> None:
    for late_s in (0, LIMIT_S + 2 * GRACE_S):
        (first, interrupted), (second, killed) = asyncio.run(watch(late_s))
        assert (first, second) == ("interrupt", "kill")
        assert killed - interrupted >= GRACE_S - 0.01
