"""C text cut into tokens, as the first phases of translation see it: trigraphs, spliced lines, comments, strings.

It never fails and is linear in the text. In a string that is not closed it ends at the line's end, as gcc does.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

TRIGRAPHS = dict(zip(("??=", "??/", "??'", "??(", "??)", "??!", "??<", "??>", "??-"), "#\\^[]|{}~", strict=True))
_TRIGRAPH = re.compile(r"\?\?[=/'()!<>-]")
_SPLICE = re.compile(r"\\[ \t\f\v]*\r?\n")  # gcc takes white space after the backslash, too
_TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*(?s:.*?)(?:\*/|\Z))
    |(?P<raw>(?:u8|[uUL])?R")
    |(?P<string>(?:u8|[uUL])?"(?:\\[^\n]|[^"\\\n])*"?)
    |(?P<character>[uUL]?'(?:\\[^\n]|[^'\\\n])*'?)
    |(?P<number>\.?[0-9](?:[eEpP][+-]|[\w.$])*)
    |(?P<word>[^\W\d][\w$]*|\$[\w$]*)
    |(?P<newline>\n)
    |(?P<space>[ \t\r\f\v]+)
    |(?P<mark>->|%:|.)""",
    re.VERBOSE,
)
_INCLUDES = ("include", "include_next", "import")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]+)|([0-7]{1,3})|(.))", re.DOTALL)
_PLAIN_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b"}


@dataclass(frozen=True, slots=True)
class Token:
    kind: str  # the group of _TOKEN
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Directive:
    """A line of the preprocessor: `#define X 1` is name `define`, rest `X 1`. A line marker has the name `line`."""

    name: str
    rest: str
    line: int


@dataclass(slots=True)
class Source:
    """What the code itself says, before its macros are expanded. What stands in `#if 0` is left out."""

    words: dict[str, int] = field(default_factory=dict)  # each identifier's first line
    directives: list[Directive] = field(default_factory=list)
    raw_string: int | None = None  # the line of the first R"(…)": from there on, gcc may cut differently


def read(code: str, trigraphs: bool = False) -> Source:
    """The identifiers and directives of a source."""
    source, skipped = Source(), Skipped()
    line_of_code: list[Token] = []
    for token in (*tokens(code, trigraphs), Token("newline", "\n", 0)):
        if token.kind == "raw" and source.raw_string is None:
            source.raw_string = token.line
        if token.kind != "newline":
            line_of_code.append(token)
            continue
        directive = _directive(line_of_code)
        skipped.see(directive)
        if directive is not None and not skipped:
            source.directives.append(directive)
        if not skipped and (directive is None or directive.name not in _INCLUDES):
            for word in line_of_code:
                if word.kind == "word":
                    source.words.setdefault(word.text, word.line)
        line_of_code = []
    return source


def tokens(code: str, trigraphs: bool = False) -> Iterator[Token]:
    """Without comments and white space. Each has the line on which it begins in `code`."""
    if trigraphs:
        code = _TRIGRAPH.sub(lambda match: TRIGRAPHS[match[0]], code)
    text, breaks = _spliced(code)
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind not in ("comment", "space"):
            yield Token(kind, match[0], 1 + bisect_left(breaks, match.start()))


def outside_of_directives(code: str) -> Iterator[Token]:
    """The tokens that are no directives' and stand in no `#if 0`, without the ends of lines."""
    skipped, line_of_code = Skipped(), list[Token]()
    for token in (*tokens(code), Token("newline", "\n", 0)):
        if token.kind != "newline":
            line_of_code.append(token)
            continue
        directive = _directive(line_of_code)
        skipped.see(directive)
        if directive is None and not skipped:
            yield from line_of_code
        line_of_code = []


def text_of(string: str) -> str:
    """What a string literal stands for. Only an ASCII escape is looked into."""
    inner = string[string.index('"') + 1 :].removesuffix('"')
    return _ESCAPE.sub(_unescaped, inner)


class Skipped:
    """True inside of `#if 0`, which is how code is put aside; other conditions are the compiler's to decide."""

    def __init__(self) -> None:
        self._depth = 0

    def __bool__(self) -> bool:
        return self._depth > 0

    def see(self, directive: Directive | None) -> None:
        if directive is None:
            return
        if self._depth == 0:
            self._depth = int(directive.name == "if" and directive.rest.strip() == "0")
        elif directive.name in ("if", "ifdef", "ifndef"):
            self._depth += 1
        elif directive.name == "endif" or (self._depth == 1 and directive.name in ("else", "elif")):
            self._depth -= 1


def _spliced(code: str) -> tuple[str, list[float]]:
    """The text with its lines joined, and the offsets in it where a line of the original ended."""
    parts: list[str] = []
    breaks: list[float] = []
    offset = position = 0
    for splice in (*_SPLICE.finditer(code), None):
        part = code[position : splice.start() if splice else len(code)]
        breaks += [offset + match.start() for match in re.finditer("\n", part)]
        parts.append(part)
        offset += len(part)
        if splice:
            breaks.append(offset - 0.5)  # before the character that follows
            position = splice.end()
    return "".join(parts), breaks


def _directive(line: list[Token]) -> Directive | None:
    if not line or line[0].text not in ("#", "%:"):
        return None
    rest = line[1:]
    if not rest:
        return None
    name = "line" if rest[0].kind == "number" else rest[0].text
    return Directive(name, " ".join(token.text for token in rest[1:]), line[0].line)


def _unescaped(match: re.Match[str]) -> str:
    if match[1] is not None:
        return chr(int(match[1], 16) & 0x7F)
    if match[2] is not None:
        return chr(int(match[2], 8) & 0x7F)
    return _PLAIN_ESCAPES.get(match[3], match[3])
