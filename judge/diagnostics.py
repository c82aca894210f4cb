"""What gcc, the assembler and the linker said, as diagnostics of the student's own lines.

gcc writes one JSON array a run (`-fdiagnostics-format=json`), the others plain text behind it. The text is hostile:
names in it are the student's, and a compiler that was killed leaves half an array.
"""

import json
import re
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from judge.submission import CODE_FILE, TESTS_FILE, Diagnostic, Place, Severity

MOST = 200  # more are not told
MOST_CHARS = 2000  # of a message
_PLACES: dict[str, Place] = {CODE_FILE: "code", TESTS_FILE: "tests"}
_SEVERITIES: dict[str, Severity] = {"error": "error", "fatal error": "error", "sorry": "error", "note": "note"}
_QUOTES = str.maketrans("\u2018\u2019", "''")
_AT = re.compile(rf"(?:^|[\s/])({re.escape(CODE_FILE)}|{re.escape(TESTS_FILE)}|<stdin>):(\d+): ?(.*)")
_IN_FUNCTION = re.compile(r"in function '(\w+)[^']*':?\s*$")
_LINKER_SAYS = re.compile(r"(?:undefined reference to|multiple definition of) '.*|relocation truncated to fit.*")
_ASSEMBLER = re.compile(r"^(?:\{standard input\}|\S+\.s):(\d+): (Error|Warning|Fatal error): (.*)")
_TOOL = re.compile(r"^(?:/\S*/)?(?:ld|collect2|as|gcc|cc1)(?:\.\w+)?: (.*)")
_HOST_PATH = re.compile(r"(?<![\w.])/(?:tmp|dev/shm|var|usr)/(?:[\w.+~-]+/)*([\w.+~-]*)")
_SEVERITY_WORD = re.compile(r"^(?:fatal )?(error|warning|note): ", re.IGNORECASE)
_SAYS_NOTHING = ("ld returned", "compilation terminated", "NOTE: ", "bug report", "/README.Bugs")


def parse(stderr: bytes) -> tuple[Diagnostic, ...]:
    """All that was said, each once, in the order in which it was said. Never raises."""
    told: dict[Diagnostic, None] = {}
    for diagnostic in _all(stderr.decode(errors="replace")):
        told.setdefault(diagnostic)
        if len(told) >= MOST:
            break
    return tuple(told)


def formatted(diagnostics: Sequence[Diagnostic]) -> tuple[tuple[int, str], ...]:
    """The errors as `(line, message)` of the student's source; those elsewhere, if there are no others, at line 0."""
    errors = [diagnostic for diagnostic in diagnostics if diagnostic.severity == "error"]
    in_code = [(error.line, error.message) for error in errors if error.place == "code" and error.line is not None]
    return tuple(in_code) or tuple((0, _elsewhere(error)) for error in errors)


def _elsewhere(error: Diagnostic) -> str:
    if error.place != "tests":
        return error.message
    return f"in the tests, line {error.line}: {error.message}" if error.line else f"in the tests: {error.message}"


def _all(text: str) -> Iterator[Diagnostic]:
    tools = _OtherTools()
    for line in text.split("\n"):
        rest = (yield from _of_gcc(line)) if line.startswith("[") else line
        yield from tools.read(rest)


def _of_gcc(line: str) -> Generator[Diagnostic, None, str]:
    """The objects of an array, also of one that was cut. Returns what stands behind it."""
    decoder, place = json.JSONDecoder(), 1
    while place < len(line) and line[place] in ", {":
        if line[place] != "{":
            place += 1
            continue
        try:
            found, place = decoder.raw_decode(line, place)
        except (ValueError, RecursionError):
            return ""
        yield from _diagnostic(found)
    return line[place:].removeprefix("]")


def _diagnostic(found: Any) -> Iterator[Diagnostic]:
    message = _text(found, "message")
    if not message:
        return
    kind = _text(found, "kind").removeprefix("pedantic ")
    line, column, place = _place(found)
    option = _text(found, "option") or None
    yield Diagnostic(line, column, _SEVERITIES.get(kind, "warning"), option, message, place)


def _place(found: Any) -> tuple[int | None, int | None, Place]:
    """Of the student's line: where it is said, else where the macro or header that it is about was used."""
    for spot in _spots(found):
        name = _text(spot, "file")
        if (place := _PLACES.get(name)) is not None:
            return _number(spot, "line"), _number(spot, "column"), place
    return None, None, "code"


def _spots(found: Any) -> Iterator[Any]:
    """Carets of a diagnostic, then those of its notes."""
    children = found.get("children", ())
    for said in (found, *(children if isinstance(children, list) else ())):
        locations = said.get("locations", ()) if isinstance(said, dict) else ()
        for location in locations if isinstance(locations, list) else ():
            if isinstance(location, dict):
                yield from (spot for key in ("caret", "start") if isinstance(spot := location.get(key), dict))


class _OtherTools:
    """The linker's, the assembler's and the driver's plain words."""

    def __init__(self) -> None:
        self._function = ""  # that the linker is speaking of

    def read(self, line: str) -> Iterator[Diagnostic]:
        line = line[:MOST_CHARS].translate(_QUOTES).replace("`", "'").strip()
        if within := _IN_FUNCTION.search(line):
            self._function = within[1]
        elif at := _AT.search(line):
            yield self._at(at[1], int(at[2][:9]), at[3])
        elif assembler := _ASSEMBLER.match(line):
            severity: Severity = "warning" if assembler[2] == "Warning" else "error"
            yield Diagnostic(None, None, severity, None, _bounded(f"in assembly: {assembler[3]}"))
        elif says := _LINKER_SAYS.search(line):
            yield Diagnostic(None, None, "error", None, _bounded(says[0]), "linker")
        elif (tool := _TOOL.match(line)) and not any(words in line for words in _SAYS_NOTHING):
            yield Diagnostic(None, None, *_said(tool[1]), "linker")

    def _at(self, file: str, line: int, text: str) -> Diagnostic:
        """The linker knows the line, but of a source that was read from a pipe it may not know which one."""
        in_tests = self._function == "main" if file == "<stdin>" else file == TESTS_FILE
        return Diagnostic(line, None, *_said(text), "tests" if in_tests else "code")


def _said(text: str) -> tuple[Severity, None, str]:
    """The severity that words begin with, no option, and the words without what is only the host's."""
    while (tool := _TOOL.match(text)) or (tool := re.match(r"^\S+\.o: (.*)", text)):
        text = tool[1]
    word = _SEVERITY_WORD.match(text)
    severity: Severity = _SEVERITIES.get(word[1].lower(), "warning") if word else "error"
    text = re.sub(r"^\(\.\w[^)]*\): ", "", text[word.end() :] if word else text)
    return severity, None, _bounded(text)


def _text(found: Any, key: str) -> str:
    value = found.get(key) if isinstance(found, dict) else None
    return _bounded(value.translate(_QUOTES)) if isinstance(value, str) else ""


def _number(found: dict[str, Any], key: str) -> int | None:
    value = found.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31 else None


def _bounded(text: str) -> str:
    """Without the folders of this host and without what no answer can carry."""
    text = text[:MOST_CHARS].encode("utf-8", "backslashreplace").decode()
    return _HOST_PATH.sub(r"\1", text)[:MOST_CHARS]
