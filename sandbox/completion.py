"""What a name in a namespace may go on with, and what it stands for: for completion and for help while one types."""

import inspect
import json
import re
from collections.abc import Callable
from rlcompleter import Completer
from typing import Any

_TO_CURSOR = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*\.?$|$")
_NAME = re.compile(r"(?:[^\W\d]\w*\.)*[^\W\d]\w*")
_MOST_NAMES = 1000
_MOST_CHARS = 10_000  # of a signature, and of a doc


def complete(text: str, namespace: dict[str, Any]) -> str:
    """JSON: the `names` that may replace what `text` ends with, and from which character on (`start`).

    Attributes are read to find theirs; properties are not.
    """
    found = _TO_CURSOR.search(text)
    word = found[0] if found else ""
    owner, dot, beginning = word.rpartition(".")
    completer = Completer(namespace)
    matches = completer.attr_matches(word) if dot else completer.global_matches(word)
    names = {match.removeprefix(owner + dot).rstrip("( :") for match in matches} if word else set()
    shown = sorted(names - {beginning}, key=lambda name: (name.startswith("_"), name.lower(), name))
    return json.dumps({"names": shown[:_MOST_NAMES], "start": len(text) - len(beginning)})


def look_up(name: str, namespace: dict[str, Any]) -> str:
    """JSON: what a dotted name stands for: its `name`, or null when nothing is there, its `signature` and its `doc`."""
    nothing = {"name": None, "signature": None, "doc": None}
    if not _NAME.fullmatch(name):
        return json.dumps(nothing)
    first, *rest = name.split(".")
    spaces = (namespace, vars(namespace["__builtins__"]))
    found = next((space[first] for space in spaces if first in space), None)
    if found is None:
        return json.dumps(nothing)
    for part in rest:
        found = getattr(found, part, None)
        if found is None:
            return json.dumps(nothing)
    signature = _attempt(lambda: str(inspect.signature(found))) if callable(found) else None
    doc = _attempt(lambda: inspect.getdoc(found))
    return json.dumps({"name": name, "signature": _short(signature), "doc": _short(doc)})


def name_at(text: str, cursor: int) -> str:
    """The dotted name around a place in a text, up to the end of the word there; empty when there is none."""
    end = re.compile(r"\w*").match(text, cursor)
    found = re.search(r"(?:[^\W\d]\w*\.)*[^\W\d]\w*\(?$", text[: end.end() if end else cursor])
    return found[0].rstrip("(") if found else ""


def _attempt(ask: Callable[[], str | None]) -> str | None:
    try:
        return ask()
    except Exception:  # many builtins have no signature, and a class of the user's may do anything when asked
        return None


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= _MOST_CHARS else text[:_MOST_CHARS] + "…"
