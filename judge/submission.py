"""What is handed in, and what is told about it. Frozen data only.

Lines count from 1. A line of the code is the student's own: what surrounds it here never shifts it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from sandbox.limits import MIB

CODE_FILE = "submission.c"  # how gcc, gdb's notes and valgrind name the student's source
TESTS_FILE = "tests.c"  # and the tests


@dataclass(frozen=True, slots=True)
class Submission:
    """C code, with what it is to be held against."""

    code: str
    tests: str | None = None  # statements with `assert(condition)` in them; each assert is a test
    timeout_s: float = 15.0  # for all of it
    per_test_s: float = 5.0
    whitelisted: tuple[str, ...] = ()  # functions and headers; empty: all are allowed
    blacklisted: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    stdin: str = ""
    memory_bytes: int = 256 * MIB
    valgrind: bool = True


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    CRASHED = "crashed"
    TIMEOUT = "timeout"
    NOT_RUN = "not_run"


@dataclass(frozen=True, slots=True)
class TestReport:
    """One assert of the tests."""

    __test__ = False  # not one of pytest's

    number: int  # from 1
    source: str  # `assert(add(1, 2) == 3)`
    verdict: Verdict
    signal: str | None = None  # `SIGSEGV`, when it crashed by one
    seconds: float | None = None  # null when it did not run
    output: str = ""  # what was printed since the test before it
    detail: str | None = None  # in words, when it neither passed nor failed


Severity = Literal["error", "warning", "note"]
Place = Literal["code", "tests", "linker"]


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """What the compiler or the linker has to say. `line` and `column` are None where there is no place."""

    line: int | None
    column: int | None
    severity: Severity
    option: str | None  # `-Wunused-variable`
    message: str
    place: Place = "code"  # whose line it is


@dataclass(frozen=True, slots=True)
class Frame:
    """One of the submission's own functions on the stack. `line` is None without debugging information."""

    function: str
    line: int | None
    place: Literal["code", "tests"] = "code"


@dataclass(frozen=True, slots=True)
class MemoryFinding:
    """What valgrind or a sanitizer found. `kind` is valgrind's word: `InvalidRead`, `Leak_DefinitelyLost`."""

    kind: str
    message: str
    bytes: int | None = None  # lost, for a leak
    line: int | None = None  # of the student's source: the innermost frame that is theirs
    stack: tuple[Frame, ...] = ()  # innermost first


@dataclass(frozen=True, slots=True)
class NameRefusal:
    """A function or header that the lists refuse."""

    name: str
    line: int | None  # None where only the object file shows it
    sentence: str


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a submission. Each key of the answer is here."""

    built: bool  # the lists refuse nothing
    compiled: bool = False
    ran: bool = False  # to its end, without a crash or a time limit
    output: str = ""
    truncated: bool = False  # some output was dropped at the limit
    compilation_s: float = -1.0
    run_s: float = -1.0
    cpu_s: float = 0.0  # of the compiler, the program and the memory check
    valgrind: str = ""
    formatted_response: tuple[tuple[int, str], ...] = ()
    failed_tests: tuple[int, ...] = ()
    tests: tuple[TestReport, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    memory: tuple[MemoryFinding, ...] = ()
    detail: str | None = None  # why it did not run to its end, in words
    cached: bool = False  # the compiler was not asked again
