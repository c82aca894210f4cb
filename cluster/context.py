"""For which request and in which session something is done: known to whatever logs meanwhile."""

from contextvars import ContextVar

REQUEST: ContextVar[str | None] = ContextVar("request", default=None)
SESSION: ContextVar[str | None] = ContextVar("session", default=None)
