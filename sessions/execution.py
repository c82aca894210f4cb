"""One request to run code in a session, from its arrival to its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from sandbox.outcome import Error
from sandbox.wire import Errand, Shown


class Executing(Protocol):
    """What an execution runs in: a Session, or the way to one."""

    id: str

    def abandon(self, execution: Execution) -> None: ...


@dataclass(eq=False, slots=True)
class Execution:
    """`session` is known from the moment that it has one; `stopped_by` says who interrupted it.

    `on_slow` is called once, if it takes more than a moment; `on_open` when a session that it opens is counted.
    `cpu_s`: the processor time that it used, once it has ended, whether anybody waits for its answer or not; `on_end`
    is called then.
    """

    code: str
    stdin: str | None
    wall_s: float
    session: Executing | None = None
    stopped_by: Error | None = None
    on_slow: Callable[[], None] | None = None
    on_open: Callable[[], object] = lambda: None
    on_end: Callable[[], object] = lambda: None
    cpu_s: float | None = None
    errand: Errand = Errand.EXECUTE
    shown: list[Shown] = field(default_factory=list)  # while it ran

    def is_slow(self) -> None:
        """It waits, or runs for more than a moment: from now on it is worth noticing that its client leaves."""
        if self.on_slow is not None:
            on_slow, self.on_slow = self.on_slow, None
            on_slow()

    def abandon(self) -> None:
        """Its client has left: interrupt it if it runs, drop it if it waits."""
        if self.session is None:
            self.stopped_by = Error.INTERRUPTED
        else:
            self.session.abandon(self)
