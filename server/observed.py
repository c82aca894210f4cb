"""What does the work, with each piece of it entered in the ledger before its answer goes out."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from time import perf_counter

from cluster import subjects
from cluster.backend import Runs, Sessions, Submissions
from cluster.context import SESSION
from judge.submission import Report, Submission
from sandbox.outcome import Outcome, RunOutcome
from server.ledger import Ledger
from sessions.execution import Execution
from sessions.stream import Event


class Observed:
    """The part of a Backend that runs code. Whatever is raised in it is entered, and raised."""

    def __init__(self, sessions: Sessions, runs: Runs, judge: Submissions, ledger: Ledger) -> None:
        self._sessions = sessions
        self._runs = runs
        self._judge = judge
        self._ledger = ledger

    async def execute(self, execution: Execution, session_id: str | None, owner: str | None = None) -> Outcome:
        """See Sessions."""
        given = _known(session_id)
        began = perf_counter()
        try:
            ended = await self._sessions.execute(execution, session_id, owner)
        except BaseException as error:
            self._ledger.execution(error, perf_counter() - began, execution, session=given, key=owner)
            raise
        self._ledger.execution(ended, perf_counter() - began, execution, session=ended.session_id, key=owner)
        return ended

    async def stream(
        self, execution: Execution, session_id: str | None, owner: str | None = None
    ) -> AsyncGenerator[Event, None]:
        """See Sessions."""
        session = _known(session_id)
        began = perf_counter()
        ended: Outcome | None = None
        begun = False
        try:
            async with aclosing(self._sessions.stream(execution, session_id, owner)) as events:
                async for event in events:
                    begun = True
                    if isinstance(event, Outcome):
                        ended = event
                        self._ledger.execution(
                            ended, perf_counter() - began, execution, session=ended.session_id, key=owner
                        )
                    elif event.name == "session":
                        session = event.data["id"]
                    yield event
        except BaseException as error:
            if ended is None:
                self._ledger.execution(
                    error, perf_counter() - began, execution, session=session, key=owner, begun=begun
                )
            raise

    async def run(self, execution: Execution, memory_bytes: int, owner: str | None = None) -> RunOutcome:
        """See Runs."""
        began = perf_counter()
        try:
            ended = await self._runs.run(execution, memory_bytes)
        except BaseException as error:
            self._ledger.run(error, perf_counter() - began, execution, key=owner)
            raise
        self._ledger.run(ended, perf_counter() - began, execution, key=owner)
        return ended

    async def judge(self, submission: Submission, owner: str | None = None) -> Report:
        """See Submissions."""
        began = perf_counter()
        try:
            ended = await self._judge.judge(submission)
        except BaseException as error:
            self._ledger.submission(error, perf_counter() - began, submission, key=owner)
            raise
        self._ledger.submission(ended, perf_counter() - began, submission, key=owner)
        return ended


def _known(session_id: str | None) -> str | None:
    """The id, if it looks like one of ours: anything else a client may have made up of anything."""
    if session_id is None or subjects.session(session_id) is None:
        return None
    SESSION.set(session_id)
    return session_id
