"""The words in which an execution ends."""

import os
import signal
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple


class Status(StrEnum):
    """How the user's code ended, as the worker tells it."""

    DONE = "done"  # to its end, or to an exception whose traceback is on stderr
    INTERRUPTED = "interrupted"  # by a KeyboardInterrupt that nothing caught
    OUT_OF_MEMORY = "out of memory"  # by a MemoryError that nothing caught
    FAILED = "failed"  # a run: by an exception, or before it began
    ELSEWHERE = "elsewhere"  # a run that has not begun, for it needs a worker of another tier


class Usage(NamedTuple):
    wall_s: float = 0.0
    memory_bytes: int = 0  # peak over what the worker held at birth
    cpu_s: float = 0.0  # of the worker, as the kernel counts it


class Ended(NamedTuple):
    """One execution, as the worker reports it. The printed text is on the tapes; these are its lengths."""

    status: Status
    usage: Usage
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    mark_bytes: int = 0  # how much of stderr was there before the last traceback
    truncated: bool = False
    result: str | None = None  # the last value; of a run, why it failed, or the tier that it needs
    outputs: Sequence[dict[str, Any]] = ()
    threads: int = 0  # Python threads besides the main one that are still there
    text: bytes | None = None  # both texts, if they are short: stdout, then stderr


class Error(StrEnum):
    """Why the server ended or refused an execution."""

    TIMEOUT = "execution timeout"
    MEMORY = "memory limit exceeded"
    MAX_SESSIONS = "max sessions reached"
    NOT_FOUND = "session not found"
    CRASHED = "session crashed"
    INTERRUPTED = "execution interrupted"


class Printed(NamedTuple):
    """What an execution printed, as text."""

    stdout: str = ""
    stderr: str = ""
    truncated: bool = False


class Outcome(NamedTuple):
    """One execution, as its caller is told."""

    session_id: str
    printed: Printed
    kept: bool  # the namespace is still there
    error: Error | None = None
    detail: str | None = None  # the error's cause in words
    result: str | None = None
    outputs: Sequence[dict[str, Any]] = ()
    usage: Usage = Usage()


class Verdict(StrEnum):
    """How a run ended, as its caller is told."""

    SUCCESS = "success"
    ERROR = "error"  # an exception, a syntax error, a violation of the policy, a crash
    TIMEOUT = "timeout"
    MEMORY_EXCEEDED = "memory_exceeded"


class RunOutcome(NamedTuple):
    """One run, as its caller is told."""

    verdict: Verdict
    error: str | None  # a sentence, unless it succeeded
    printed: Printed
    usage: Usage


def exit_words(wait_status: int) -> str:
    """How a process ended, of its wait status: `SIGSEGV`, `exit status 1`."""
    code = os.waitstatus_to_exitcode(wait_status)
    if code >= 0:
        return f"exit status {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
