"""What can go wrong between machines.

SessionsError
└── Unreachable     nobody can be asked, or nobody answers; why, is in the log once and not for each request
    └── Silent      somebody was asked and does not say anything: somebody else may

Lost stays inside this package: it becomes `session not found`, `session crashed`, or another try.
"""

from sessions.errors import SessionsError


class Unreachable(SessionsError):
    """Its text is a sentence that a person can act on."""


class Silent(Unreachable):
    def __init__(self) -> None:
        super().__init__("the nodes that were asked do not answer: nothing was done, try again in a moment")


class Lost(Exception):
    """Nobody listens at the other end of a conversation."""
