"""What a name in a namespace may go on with, and what it stands for: for completion and for help while one types."""

import re
from collections.abc import Callable, Iterable
from inspect import getdoc, signature
from json import dumps
from keyword import kwlist
from types import ModuleType
from typing import Any

# A name is tried from its beginning only, so that no text takes longer than reading it.
_DOTTED = r"(?<![\w.])[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_TO_CURSOR = re.compile(rf"{_DOTTED}\.?\Z")
_AT_CURSOR = re.compile(rf"{_DOTTED}(?=\(?\Z)")
_REST_OF_WORD = re.compile(r"\w*")
_MOST_NAMES = 1000
_MOST_CHARS = 10_000  # of a signature, and of a doc
_NOTHING = object()


def complete(text: str, namespace: dict[str, Any]) -> str:
    """JSON: the `names` that may replace what `text` ends with, and from which character on (`start`).

    Attributes are read to find theirs; those that are listed are not.
    """
    found = _TO_CURSOR.search(text)
    owner, dot, beginning = found[0].rpartition(".") if found else ("", "", "")
    names: Iterable[Any] = ()
    if dot:
        value = _find(owner, namespace)
        names = dir(value) if value is not _NOTHING else ()
    elif beginning:
        names = (*namespace, *_builtins(namespace), *kwlist)
    hidden = () if beginning.startswith("_") else "_"
    fitting = {
        name for name in names if type(name) is str and name.startswith(beginning) and not name.startswith(hidden)
    }
    shown = sorted(fitting - {beginning}, key=lambda name: (name.startswith("_"), name.lower(), name))
    return dumps({"names": shown[:_MOST_NAMES], "start": len(text) - len(beginning)})


def look_up(name: str, namespace: dict[str, Any]) -> str:
    """JSON: what a dotted name stands for: its `name`, or null when nothing is there, its `signature` and its `doc`."""
    found = _find(name, namespace)
    if found is _NOTHING:
        return dumps({"name": None, "signature": None, "doc": None})
    words = _attempt(lambda: str(signature(found))) if callable(found) else None
    return dumps({"name": name, "signature": _short(words), "doc": _short(_attempt(lambda: getdoc(found)))})


def name_at(text: str, cursor: int) -> str:
    """The dotted name around a place in a text, up to the end of the word there; empty when there is none."""
    cursor = min(cursor, len(text))
    rest = _REST_OF_WORD.match(text, cursor)
    found = _AT_CURSOR.search(text[: rest.end() if rest else cursor])
    return found[0] if found else ""


def _find(name: str, namespace: dict[str, Any]) -> Any:
    first, *rest = name.split(".")
    value = namespace.get(first, _builtins(namespace).get(first, _NOTHING))
    for part in rest:
        value = getattr(value, part, _NOTHING)
    return value


def _builtins(namespace: dict[str, Any]) -> dict[str, Any]:
    found = namespace.get("__builtins__")
    if isinstance(found, ModuleType):
        return vars(found)
    return found if isinstance(found, dict) else {}


def _attempt(ask: Callable[[], str | None]) -> str | None:
    try:
        return ask()
    except Exception:  # many builtins have no signature, and a class of the user's may do anything when asked
        return None


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= _MOST_CHARS else text[:_MOST_CHARS] + "…"
