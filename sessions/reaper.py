"""Closes sessions at their idle deadline."""

import asyncio
from collections.abc import Iterable

from sessions.lifecycle import Cause, State
from sessions.session import Session

_SWEEP_S = 0.5  # a session is closed within 2 s of its deadline


def overdue(sessions: Iterable[Session], now: float, idle_s: float) -> list[Session]:
    """Those that have been idle for `idle_s` seconds at `now`. A running one is never idle."""
    return [session for session in sessions if session.state is State.IDLE and now - session.idle_since >= idle_s]


async def reap(sessions: dict[str, Session], idle_s: float) -> None:
    """Close what is overdue, for ever."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(_SWEEP_S)
        now = loop.time()
        for session in overdue(sessions.values(), now, idle_s):
            session.close(f"closed after {idle_s:g} s idle", Cause.IDLE)
