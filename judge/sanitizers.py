"""What AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer print, as findings and as text to read."""

import re

from judge.memcheck import CLEAN, Memory
from judge.submission import CODE_FILE, Frame, MemoryFinding

_MOST_FINDINGS = 200
_ERROR = re.compile(r"ERROR: (?:Address|Leak|UndefinedBehavior)Sanitizer: ([\w-]+)")
_LEAK = re.compile(r"^(Direct|Indirect) leak of (\d+) byte\(s\) in (\d+) object\(s\) allocated from:", re.MULTILINE)
_ACCESS = re.compile(r"^(READ|WRITE) of size (\d+)", re.MULTILINE)
_CALL = re.compile(r"^ +#\d+ 0x[0-9a-f]+ in (\S+) (?:\S*/)?(submission\.c|tests\.c):(\d+)", re.MULTILINE)
_UNDEFINED = re.compile(r"^(?:\S*/)?(submission\.c|tests\.c):(\d+):\d+: runtime error: (.+)$", re.MULTILINE)
_ADDRESS = re.compile(r" ?\b0x[0-9a-f]+\b")


def read(printed: str, report: str) -> Memory:
    """`printed`: all that the program printed; `report`: what a sanitizer printed when it ended the program."""
    findings = [_undefined(match) for match in list(_UNDEFINED.finditer(printed + "\n" + report))[:_MOST_FINDINGS]]
    error = _ERROR.search(report)
    if error and error[1] != "detected":  # "detected memory leaks": each has a paragraph of its own
        findings.append(_error(error, report[error.start() :]))
    findings += [_leak(match, report[match.start() :]) for match in list(_LEAK.finditer(report))[:_MOST_FINDINGS]]
    return Memory(tuple(findings), "\n".join(map(_text, findings)) or CLEAN)


def _undefined(match: re.Match[str]) -> MemoryFinding:
    in_code = match[1] == CODE_FILE
    frame = Frame("", int(match[2]), "code" if in_code else "tests")
    message = _ADDRESS.sub("", match[3][:300])
    return MemoryFinding("UndefinedBehaviour", message, None, int(match[2]) if in_code else None, (frame,))


def _error(match: re.Match[str], rest: str) -> MemoryFinding:
    access = _ACCESS.search(rest)
    message = match[1] + (f": {access[1].lower()} of size {access[2]}" if access else "")
    return _made(match[1], message, None, rest.partition("\n\n")[0])


def _leak(match: re.Match[str], rest: str) -> MemoryFinding:
    kind = "Leak_DefinitelyLost" if match[1] == "Direct" else "Leak_IndirectlyLost"
    message = f"{match[2]} bytes in {match[3]} blocks are {'definitely' if match[1] == 'Direct' else 'indirectly'} lost"
    return _made(kind, message, int(match[2]), rest.partition("\n\n")[0])


def _made(kind: str, message: str, lost: int | None, calls: str) -> MemoryFinding:
    stack = tuple(
        Frame(found[1], int(found[3]), "code" if found[2] == CODE_FILE else "tests") for found in _CALL.finditer(calls)
    )
    line = next((frame.line for frame in stack if frame.place == "code"), None)
    return MemoryFinding(kind, message, lost, line, stack)


def _text(finding: MemoryFinding) -> str:
    calls = (
        f"    {'by' if depth else 'at'} "
        + (f"{frame.function} (line {frame.line})" if frame.place == "code" else f"the tests (line {frame.line})")
        + "\n"
        for depth, frame in enumerate(finding.stack)
    )
    return finding.message + "\n" + "".join(calls)
