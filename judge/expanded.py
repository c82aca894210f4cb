"""What `gcc -E -dD -dI` makes of a source: the student's own part of it, with all macros expanded.

Which part is the student's is told by line markers, and those are forged by `#line` and by raw strings: `names`
refuses both before it trusts this.
"""

import posixpath
import re
from dataclasses import dataclass, field

_MARKER = re.compile(r'# (\d+) "((?:[^"\\]|\\.)*)"(?: \d)*\s*\Z')
_DEFINE = re.compile(r"#define ([^\W\d]\w*)(\([^)]*\))?[ ]?(.*)", re.DOTALL)
_INCLUDE = re.compile(r'#\s*(?:include|include_next|import)\s*(?:<([^>]+)>|"([^"]+)")')
_SYSTEM = ("/usr/", "<built-in>", "<command-line>")


@dataclass(frozen=True, slots=True)
class Macro:
    takes_arguments: bool
    body: str


@dataclass(slots=True)
class Expanded:
    """`lines[n]` is the line of the source that row `n` of `text` stands for."""

    text: str = ""
    lines: list[int] = field(default_factory=list)
    includes: list[tuple[str, int]] = field(default_factory=list)
    pragmas: list[tuple[str, int]] = field(default_factory=list)
    macros: dict[str, Macro] = field(default_factory=dict)  # those of the system's headers


def cut(preprocessed: str) -> Expanded:
    """The part that is not of the system's headers. Rows of directives are blank in it."""
    expanded, rows = Expanded(), []
    theirs, line = False, 0
    for text in preprocessed.split("\n"):
        marker = _MARKER.match(text) if text.startswith("# ") else None
        if marker:
            line = int(marker[1])
            theirs = not posixpath.normpath(marker[2]).startswith(_SYSTEM)
            continue
        if theirs:
            rows.append("" if text.startswith("#") else text)
            expanded.lines.append(line)
            _note(expanded, text, line)
        elif text.startswith("#define"):
            _define(expanded, text)
        line += 1
    expanded.text = "\n".join(rows)
    return expanded


def _note(expanded: Expanded, text: str, line: int) -> None:
    include = _INCLUDE.match(text)
    if include:
        expanded.includes.append((include[1] or include[2], line))
    elif text.startswith("#pragma"):
        expanded.pragmas.append((text, line))


def _define(expanded: Expanded, text: str) -> None:
    if match := _DEFINE.match(text):
        expanded.macros[match[1]] = Macro(match[2] is not None, match[3])
