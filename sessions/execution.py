"""One request to run code in a session, from its arrival to its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandbox.outcome import Error

if TYPE_CHECKING:
    from sessions.session import Session


@dataclass(eq=False, slots=True)
class Execution:
    """`session` is known from the moment that it has one; `stopped_by` is set once, by whoever stops it first."""

    code: str
    stdin: str | None
    wall_s: float
    session: Session | None = None
    stopped_by: Error | None = None

    def abandon(self) -> None:
        """Its client has left: interrupt it if it runs, drop it if it waits."""
        if self.session is None:
            self.stopped_by = Error.INTERRUPTED
        else:
            self.session.abandon(self)
