"""The addresses on NATS. All begin with `pyrunner.`, so that one permission covers them."""

import re

NEW_SESSION = "pyrunner.sessions"  # nodes with a place for one more
RUN_NOW = "pyrunner.runs.now"  # nodes with a free turn
RUN_LATER = "pyrunner.runs.later"  # nodes with a place in their queue
EVERYONE = "pyrunner.nodes"
QUEUE_GROUP = "nodes"
STREAM = "PYRUNNER_SUBMISSIONS"
SUBMISSIONS = "pyrunner.submissions"
CONSUMER = "nodes"
GIVEN_UP = f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{STREAM}.{CONSUMER}"

_SESSION_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CONVERSATION = re.compile(r"pyrunner\.at\.[0-9a-f]+\.[0-9]+")


def session(session_id: str) -> str | None:
    """Where a session listens while it lives; None for what can be no session's id, and might be another address."""
    return f"pyrunner.session.{session_id}" if _SESSION_ID.fullmatch(session_id) else None


def end(name: str) -> str:
    """Where one connection of a gateway or node listens; its conversations are below."""
    return f"pyrunner.at.{name}"


def is_conversation(address: object) -> bool:
    """Whether one end of a conversation may listen there: an address in a letter's text may be anything."""
    return isinstance(address, str) and _CONVERSATION.fullmatch(address) is not None
