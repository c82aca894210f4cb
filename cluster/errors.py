"""What can go wrong between machines.

SessionsError
└── Unreachable     nobody can be asked, or nobody answers; why, is in the log once and not for each request
    └── Stuck       who is there has not answered for long

Lost and Silent stay inside this package: they become `session not found`, `session crashed`, or another try.
"""

from sessions.errors import SessionsError


class Unreachable(SessionsError):
    """Its text is a sentence that a person can act on."""


class Stuck(Unreachable):
    pass


class Lost(Exception):
    """Nobody listens at the other end of a conversation."""


class Silent(Exception):
    """Who was asked for an errand does not say whether it takes it. Others may."""
