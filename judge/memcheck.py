"""What valgrind finds in a submission: its XML as findings, and the same as text to read.

The XML comes on a descriptor of the program's own process, so the code can spoil it: it is bounded, read error by
error, and what cannot be read is left out. Paths, process ids and addresses of this host are not told.
"""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree  # fragments only: no document type, so no entities

from judge.files import memory_file, null, read_back
from judge.harness import Harness
from judge.launcher import Launcher
from judge.submission import CODE_FILE, TESTS_FILE, Frame, MemoryFinding, Submission
from judge.toolchain import Toolchain
from sandbox.confine.cell import Launch
from sandbox.limits import MIB

_MOST_XML = 4 * MIB
_MOST_FINDINGS = 200
_VALGRIND_BYTES = 1024 * MIB  # what valgrind itself may map
_BLOCK = re.compile(rb"<(error|fatal_signal)>.*?</\1>", re.DOTALL)
_ADDRESS = re.compile(r" ?\b0x[0-9A-Fa-f]+\b")
_OURS = re.compile(r"\bpyr_[0-9a-f]{16}_")
_ARGUMENTS = (
    "--tool=memcheck",
    "--command-line-only=yes",
    "--vgdb=no",
    "--xml=yes",
    "--xml-fd=5",
    "--leak-check=full",
    "--track-origins=yes",
    "--num-callers=25",
)
STOPPED = "Valgrind was stopped at the time limit: what it would have found later is not told.\n"
CLEAN = "No memory errors and no leaks were found.\n"


@dataclass(frozen=True, slots=True)
class Stack:
    """A heading and the calls below it, in words."""

    heading: str
    calls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Memory:
    findings: tuple[MemoryFinding, ...]
    text: str
    seconds: float = 0.0


async def run(
    launcher: Launcher,
    tools: Toolchain,
    binary: bytes,
    harness: Harness,
    submission: Submission,
    deadline: float,
    skipped: tuple[frozenset[int], frozenset[int]],
) -> Memory:
    """Run the program under valgrind. Cancelling kills it."""
    # Valgrind reads it of libc too: a tenth of its time, and nothing is inlined without optimisation.
    inlines = any(flag.startswith("-O") and flag != "-O0" for flag in submission.flags)
    wall_s = max(0.01, deadline - time.monotonic())
    async with launcher.folder() as folder:
        folder.write("submission", binary, 0o555)
        launch = Launch(
            "memcheck",
            ("valgrind", *_ARGUMENTS, f"--read-inline-info={'yes' if inlines else 'no'}", "./submission"),
            tools.memcheck,
            folder.name,
            {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/", "TMPDIR": ".", "VALGRIND_LAUNCHER": "valgrind"},
            wall_s=wall_s,
            cpu_s=int(submission.timeout_s) + 2,
            data_bytes=2 * submission.memory_bytes + _VALGRIND_BYTES,
            file_bytes=_MOST_XML,
            address_space=False,
            resident_bytes=2 * submission.memory_bytes + _VALGRIND_BYTES // 2,
        )
        with (
            memory_file(submission.stdin.encode("utf-8", "replace")) as stdin,
            memory_file(harness.config(0, *skipped)) as config,
            memory_file() as xml,
            null() as nothing,
        ):
            exit = await launcher.run(launch, (stdin, nothing, nothing, config, nothing, xml))
            written = read_back(xml, _MOST_XML)
    memory = read(written)
    text = STOPPED if exit.killed else ""
    if not memory.findings and not text and b"</valgrindoutput>" not in written:
        text = f"Valgrind ended with {exit.signal or f'status {exit.code}'} before its report was complete.\n"
    return Memory(memory.findings, memory.text + text or CLEAN, exit.wall_s)


def read(xml: bytes) -> Memory:
    """The findings in valgrind's XML, which may be cut anywhere."""
    findings: list[MemoryFinding] = []
    texts: list[str] = []
    for block in _BLOCK.finditer(xml):
        if len(findings) == _MOST_FINDINGS:
            texts.append(f"There are more than {_MOST_FINDINGS} findings: the others are not told.\n")
            break
        try:
            element = ElementTree.fromstring(block[0])  # noqa: S314 - a fragment has no entities
        except ElementTree.ParseError:
            continue
        finding, text = _fatal(element) if element.tag == "fatal_signal" else _finding(element)
        findings.append(finding)
        texts.append(text)
    return Memory(tuple(findings), "\n".join(texts))


def _fatal(element: ElementTree.Element) -> tuple[MemoryFinding, str]:
    name = element.findtext("signame", "a signal")[:40]
    message = f"The program was ended by {name}"
    frames = [_frame(frame) for frame in element.iterfind("stack/frame")]
    return _made("FatalSignal", message, None, [(message, frames)])


def _finding(element: ElementTree.Element) -> tuple[MemoryFinding, str]:
    kind = element.findtext("kind", "")[:60]
    heading = _clean(element.findtext("what") or element.findtext("xwhat/text") or kind)
    lost = element.findtext("xwhat/leakedbytes", "")
    stacks: list[tuple[str, list[tuple[str, Frame | None]]]] = []
    for child in element:
        if child.tag in ("auxwhat", "xauxwhat"):
            heading_or_more = _clean(child.text or child.findtext("text") or "")
            stacks.append((heading_or_more, []))
        elif child.tag == "stack":
            frames = [_frame(frame) for frame in child.iterfind("frame")]
            if stacks and not stacks[-1][1]:
                stacks[-1][1].extend(frames)
            else:
                stacks.append(("", frames))
    if stacks and not stacks[0][0]:
        stacks[0] = (heading, stacks[0][1])
    else:
        stacks.insert(0, (heading, []))
    return _made(kind, heading, int(lost) if lost.isascii() and lost.isdigit() else None, stacks)


def _made(
    kind: str, message: str, lost: int | None, stacks: Sequence[tuple[str, Sequence[tuple[str, Frame | None]]]]
) -> tuple[MemoryFinding, str]:
    own = [tuple(frame for _, frame in calls if frame) for _, calls in stacks]
    stack = next((frames for frames in own if frames), ())
    line = next((frame.line for frame in stack if frame.place == "code"), None)
    words = "; ".join([message, *(heading for heading, _ in stacks[1:] if heading)])
    return MemoryFinding(kind, words, lost, line, stack), "".join(_stack_lines(stacks))


def _stack_lines(stacks: Sequence[tuple[str, Sequence[tuple[str, Frame | None]]]]) -> Iterator[str]:
    for number, (heading, calls) in enumerate(stacks):
        yield f"{'  ' if number else ''}{heading}\n" if heading else ""
        for depth, (words, _) in enumerate(call for call in calls if call[0]):
            yield f"    {'by' if depth else 'at'} {words}\n"


def _frame(element: ElementTree.Element) -> tuple[str, Frame | None]:
    """A call in words, empty when it is not to be told; and as a frame, when it is the submission's."""
    function, file, line = element.findtext("fn", "")[:200], element.findtext("file", ""), element.findtext("line", "")
    if not function or _OURS.search(function) or _OURS.search(file):
        return "", None
    number = int(line) if line.isascii() and line.isdigit() else None
    match file:
        case str(name) if name == CODE_FILE:
            return f"{function} (line {number})", Frame(function, number)
        case str(name) if name == TESTS_FILE:
            return f"the tests (line {number})", Frame("the tests" if function == "main" else function, number, "tests")
    return function, None


def _clean(text: str) -> str:
    text = _ADDRESS.sub("", text.strip()[:500])
    return re.sub(r" in loss record [\d,]+ of [\d,]+$", "", text)
