"""Colours for a terminal, and texts made harmless for it.

What code prints may hold any bytes. A terminal obeys some of them: it sets its title, fills the clipboard, types
answers into the next prompt. Colours and moves of the cursor pass, the rest is shown as text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import TextIO

_PASSES = r"\x1b\[[0-9;]*[mA-HJK]"
_CONTROL = re.compile(rf"({_PASSES})|[\x00-\x06\x0b-\x0c\x0e-\x1f\x7f-\x9f]")
_UNFINISHED = re.compile(r"\x1b(?:\[[0-9;]{0,40})?\Z")
_TRACEBACK = (
    (re.compile(r"^Traceback \(most recent call last\):$", re.MULTILINE), "2"),
    (re.compile(r'(?<=^  File )"[^"\n]*"', re.MULTILINE), "35"),
    (re.compile(r'(?<=", line )\d+', re.MULTILINE), "35"),
    (re.compile(r"^ +[~^]+$", re.MULTILINE), "31"),
    (re.compile(r"^[^\W\d][\w.]*(?:Error|Exception|Interrupt|Exit|Group|Iteration)\b(?=:|$)", re.MULTILINE), "1;31"),
)

Paint = Callable[[str, str], str]


def wanted(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether to paint on it: on a terminal, unless NO_COLOR (no-color.org) or its kind forbid it."""
    return stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def paint(text: str, colour: str) -> str:
    """The text in a colour (parameters of SGR)."""
    return f"\x1b[{colour}m{text}\x1b[0m" if text else ""


def plain(text: str, colour: str) -> str:
    """The text as it is."""
    return text


def traceback(text: str) -> str:
    """The text with the parts of its tracebacks painted."""
    for part, colour in _TRACEBACK:
        text = part.sub(lambda found, colour=colour: paint(found[0], colour), text)  # type: ignore[misc]
    return text


class Harmless:
    """Makes a stream of texts harmless; a sequence that is cut between two of them is put together."""

    def __init__(self) -> None:
        self._held = ""

    def text(self, text: str) -> str:
        """The next part."""
        text = self._held + text
        cut = _UNFINISHED.search(text)
        self._held = cut[0] if cut else ""
        return _shown(text[: len(text) - len(self._held)])

    def rest(self) -> str:
        """What was held back, at the end."""
        held, self._held = self._held, ""
        return _shown(held)


def _shown(text: str) -> str:
    return _CONTROL.sub(lambda found: found[1] or found[0].encode("unicode_escape").decode(), text)
