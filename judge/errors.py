"""Refusals and faults. What a submission did is never one of these: that is a Report.

JudgeError
├── Unavailable     gcc or valgrind is not there: submissions cannot be judged on this host
├── Draining        the server is shutting down
└── Fault           ours
    ├── CannotConfine   the host lacks a required step of the wall
    └── LauncherLost    the launcher died, or could not start a program

What is wrong with the flags of a submission is BadFlag, a ValueError: the caller's mistake, known before anything runs.
"""


class JudgeError(Exception):
    """Its text is a sentence that a person can act on."""


class Unavailable(JudgeError):
    pass


class Draining(JudgeError):
    def __init__(self) -> None:
        super().__init__("the server is shutting down: no new submission is taken")


class Fault(JudgeError):
    pass


class CannotConfine(Fault):
    pass


class LauncherLost(Fault):
    pass


class BadFlag(ValueError):
    """A compiler flag that no submission may use. Its text names it."""
