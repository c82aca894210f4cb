"""What can go wrong between machines.

SessionsError
└── Fault
    └── Unreachable     nobody can be asked, or nobody answers

Lost stays inside this package: it becomes `session not found`, `session crashed`, or another try.
"""

from sessions.errors import Fault


class Unreachable(Fault):
    """Its text is a sentence that a person can act on."""


class Lost(Exception):
    """Nobody listens at the other end of a conversation."""
