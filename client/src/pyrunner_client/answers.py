"""What the server answers, as values. A key that a newer server adds is left out."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union

Bundle = dict[str, str]  # by MIME type; what is not text is in base64

_TRACEBACK = re.compile(
    r"""^(?:Traceback\ \(most\ recent\ call\ last\):
        |\ \ \+\ Exception\ Group\ Traceback\ \(most\ recent\ call\ last\):
        |\ \ File\ "<stdin>",\ line\ \d+$)                                   # a syntax error has no head
    """,
    re.MULTILINE | re.VERBOSE,
)
_EXCEPTION = re.compile(r"^(?:  \| )?([^\W\d][\w.]*(?::.*)?)$", re.MULTILINE)


@dataclass(frozen=True)
class Printed:
    """What code printed; empty texts when nothing."""

    stdout: str = ""
    stderr: str = ""


@dataclass(frozen=True)
class Result:
    """The answer to an execution: all keys of `POST /execute`.

    One thing differs. `stdout` and `stderr` are always texts and always hold what was printed, also when an error
    ended the execution; `partial` is then the same, else None.
    """

    id: str | None
    stdout: str
    stderr: str
    error: str | None  # why the server ended the execution; an exception of the code is none
    result: str | None  # repr of the last expression
    outputs: list[Bundle]
    truncated: bool
    execution_time: float  # seconds
    memory_used: float  # MiB
    state: Literal["kept", "lost"]  # whether the variables are still there
    detail: str | None
    partial: Printed | None

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Result:
        """From the answer's JSON. Raises KeyError if it is none."""
        before = answer["partial"]
        partial = None if before is None else Printed(before["stdout"] or "", before["stderr"] or "")
        printed = partial or Printed(answer["stdout"] or "", answer["stderr"] or "")
        return cls(
            id=answer["id"],
            stdout=printed.stdout,
            stderr=printed.stderr,
            error=answer["error"],
            result=answer["result"],
            outputs=answer["outputs"],
            truncated=answer["truncated"],
            execution_time=answer["execution_time"],
            memory_used=answer["memory_used"],
            state=answer["state"],
            detail=answer["detail"],
            partial=partial,
        )

    @property
    def exception(self) -> str | None:
        """What the traceback at the end of `stderr` is about, such as `ZeroDivisionError: division by zero`.

        The answer does not tell an exception that ended the code from one that it printed as its last words.
        """
        if self.result is not None:
            return None  # it came to its last line
        heads = list(_TRACEBACK.finditer(self.stderr))
        found = _EXCEPTION.search(self.stderr, heads[-1].end()) if heads else None
        return found[1] if found else None

    @property
    def failure(self) -> str | None:
        """In a line, why the execution did not come to its end; None if it did. See `exception` for its limits."""
        if self.error is None:
            return self.exception
        return f"{self.error}: {self.detail}" if self.detail else self.error

    @property
    def images(self) -> list[bytes]:
        """The PNG files among the outputs."""
        return [base64.b64decode(bundle["image/png"]) for bundle in self.outputs if "image/png" in bundle]

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Bundle:
        """In a notebook of one's own: the last rich output as it is, and what a console would show as its text."""
        shown = self.outputs[-1] if self.outputs else {}
        return {"text/plain": self.stdout + self.stderr + (self.result or ""), **shown}


@dataclass(frozen=True)
class RunResult:
    """The answer to `POST /run`."""

    status: Literal["success", "error", "timeout", "memory_exceeded"]
    stdout: str
    stderr: str
    execution_time: float  # seconds
    memory_used: float  # MiB
    error: str | None
    truncated: bool

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> RunResult:
        """From the answer's JSON. Raises KeyError if it is none."""
        return cls(**{name: answer[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class SessionInfo:
    """A session's figures."""

    id: str
    state: Literal["starting", "idle", "busy", "closing", "dead"]
    age: float  # seconds
    idle: float  # seconds
    memory: float  # MiB
    executions: int

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> SessionInfo:
        """From the answer's JSON. Raises KeyError if it is none."""
        return cls(**{name: answer[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Completion:
    """`names` may each stand for the text from `start` to the cursor."""

    names: list[str]
    start: int

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Completion:
        """From the answer's JSON. Raises KeyError if it is none."""
        return cls(answer["names"], answer["start"])


@dataclass(frozen=True)
class Inspection:
    """What a name stands for; `name` is None when there is nothing."""

    name: str | None
    signature: str | None
    doc: str | None

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Inspection:
        """From the answer's JSON. Raises KeyError if it is none."""
        return cls(answer["name"], answer["signature"], answer["doc"])


@dataclass(frozen=True)
class Stdout:
    """Some text was printed."""

    text: str


@dataclass(frozen=True)
class Stderr:
    """Some text was printed there."""

    text: str


@dataclass(frozen=True)
class Display:
    """Something rich was shown."""

    bundle: Bundle


@dataclass(frozen=True)
class Done:
    """The last event: the whole answer."""

    result: Result


Event = Union[Stdout, Stderr, Display, Done]
