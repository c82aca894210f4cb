"""Refusals and faults. What the user's code did is never one of these: that is an Outcome.

SessionsError
├── Refusal                 the caller's to act on
│   ├── MaxSessionsReached
│   ├── SessionNotFound
│   ├── SessionBusy
│   ├── SessionRuns
│   └── Draining
└── Fault                   ours
    ├── NoWorker            none could be had in time
    ├── CannotConfine       the host lacks a required step of the wall
    └── IllegalTransition   a row that the table of states lacks

WorkerLost stays inside this package: it becomes an Outcome.
"""

from sandbox.outcome import Printed


class SessionsError(Exception):
    """Its text is a sentence that a person can act on."""


class Refusal(SessionsError):
    pass


class MaxSessionsReached(Refusal):
    def __init__(self, most: int | None) -> None:
        """`most`: of this machine; None: of all nodes together."""
        which = "all nodes are full: close a session" if most is None else f"all {most} sessions are open: close one"
        super().__init__(f"{which}, or wait until an idle one closes")


class SessionNotFound(Refusal):
    """`why` tells what became of it, where that is still known."""

    def __init__(self, session_id: str, why: str | None = None) -> None:
        super().__init__(why or "no such session: it was closed, lost, or never opened")
        self.session_id = session_id


class SessionBusy(Refusal):
    def __init__(self, waiting: int) -> None:
        super().__init__(f"session busy: {waiting} executions are waiting already")


class SessionRuns(Refusal):
    def __init__(self) -> None:
        super().__init__("the session runs code: its names can be asked for when that has ended")


class Draining(Refusal):
    def __init__(self, what: str = "no new execution is taken") -> None:
        super().__init__(f"the server is shutting down: {what}")


class Fault(SessionsError):
    pass


class NoWorker(Fault):
    pass


class CannotConfine(Fault):
    pass


class IllegalTransition(Fault):
    pass


class WorkerLost(Exception):
    """The worker is gone. `detail`: how, in words. `printed`: what it had printed before."""

    def __init__(self, detail: str, printed: Printed) -> None:
        super().__init__(detail)
        self.detail = detail
        self.printed = printed
