"""What a server asks for, whether this machine does it or others do."""

from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Protocol, Self

from cluster.vitals import Vitals
from judge.submission import Report, Submission
from sandbox.outcome import Outcome, RunOutcome
from sandbox.wire import Errand
from sessions.execution import Execution
from sessions.session import Figures
from sessions.stream import Event


class Sessions(Protocol):
    """See SessionManager. An `owner` is the name of a key, or None when there are no keys."""

    async def execute(self, execution: Execution, session_id: str | None, owner: str | None = None) -> Outcome: ...
    def stream(
        self, execution: Execution, session_id: str | None, owner: str | None = None
    ) -> AsyncGenerator[Event, None]: ...
    async def figures(self, session_id: str, owner: str | None = None) -> Figures: ...
    async def list(self, owner: str | None = None) -> list[Figures]: ...
    async def count(self, owner: str | None) -> int: ...
    async def close(self, session_id: str, owner: str | None = None) -> None: ...
    async def interrupt(self, session_id: str, owner: str | None = None) -> bool: ...
    async def look_up(self, session_id: str, errand: Errand, text: str, owner: str | None = None) -> str: ...


class Runs(Protocol):
    """See QueuedRuns."""

    async def run(self, execution: Execution, memory_bytes: int) -> RunOutcome: ...


class Submissions(Protocol):
    """See QueuedJudge."""

    async def judge(self, submission: Submission) -> Report: ...


class Backend(Protocol):
    """An async context manager. See Node."""

    @property
    def sessions(self) -> Sessions: ...
    @property
    def runs(self) -> Runs: ...
    @property
    def judge(self) -> Submissions: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def drain(self, seconds: float) -> None: ...
    async def vitals(self) -> Vitals: ...
