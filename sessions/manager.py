"""The one owner of sessions: open, get, execute, close; and their capacity."""

import asyncio
import re
import uuid
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Self

from sandbox.limits import Limits
from sandbox.outcome import Error, Outcome
from sandbox.tiers import SCIENTIFIC
from sandbox.wire import Errand
from sandbox.worker import Life
from sessions.errors import Draining, MaxSessionsReached, SessionNotFound
from sessions.execution import Execution
from sessions.lifecycle import Cause, State
from sessions.pool import Pool
from sessions.reaper import reap
from sessions.session import Figures, Session
from sessions.stream import Event, follow
from sessions.zygotes import Zygotes

_LIBRARY = re.compile(rf"\b({'|'.join(SCIENTIFIC)})\b")
_REMEMBERED = 1000  # obituaries, so that a lost session's next caller learns why


class SessionManager:
    """One per process; an async context manager that ends every worker it took.

    `tier`: the libraries that sessions find loaded: `plain`, `numpy` or `all`. `on_change` is called with each session
    that was opened or has ended. An `owner` is the name of a key, or None when there are no keys: to any other than its
    own a session does not exist.
    """

    def __init__(
        self, zygotes: Zygotes, limits: Limits, *, most: int, idle_s: float, pool_size: int, tier: str
    ) -> None:
        self._zygotes = zygotes
        self.limits = limits
        self.most = most
        self._idle_s = idle_s
        self._pool_size = pool_size
        self._tiers = tuple(dict.fromkeys((tier, "plain")))  # the plain one is there at once
        self._sessions: dict[str, Session] = {}
        self._obituaries: OrderedDict[str, tuple[str | None, str | None]] = OrderedDict()
        self._draining = False
        self.on_change: Callable[[Session], None] = lambda session: None
        self.ended: Counter[Cause] = Counter()  # workers of sessions, by why

    async def __aenter__(self) -> Self:
        self.pool = Pool(self._zygotes, self._tiers, Life.SESSION, self.limits, self._pool_size)
        self._reaper = asyncio.create_task(reap(self._sessions, self._idle_s), name="reaper")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._draining = True
        self._reaper.cancel()
        await asyncio.gather(self._reaper, return_exceptions=True)
        processes = [session.process for session in self._sessions.values() if session.process is not None]
        self._close_all()
        for process in processes:
            await process.gone
        await self.pool.close()

    def drain(self, seconds: float) -> None:
        """Take no new executions; after `seconds`, close the sessions, so that what still runs is interrupted."""
        self._draining = True
        asyncio.get_running_loop().call_later(seconds, self._close_all)

    def __len__(self) -> int:
        return len(self._sessions)

    async def execute(self, execution: Execution, session_id: str | None, owner: str | None = None) -> Outcome:
        """Run it in the session of that id, or in a new one when the id is None.

        Raises SessionNotFound, SessionBusy, MaxSessionsReached, Draining; NoWorker when the fault is ours.
        """
        session = None if session_id is None else self.get(session_id, owner)  # nobody learns of another's
        if self._draining:
            raise Draining
        if session is None:
            if not self.pool.warm:
                execution.is_slow()
            session = await self.open(for_code=execution.code, owner=owner, on_open=execution.on_open)
        execution.session = session
        if session_id is None and execution.stopped_by is not None:
            session.close("closed: its client left before it began", Cause.ABANDONED)  # nobody else knows its id
        return await session.execute(execution)

    def stream(
        self, execution: Execution, session_id: str | None, owner: str | None = None
    ) -> AsyncGenerator[Event, None]:
        """The same, told as it happens. It ends with the Outcome; one that is closed before abandons the execution."""
        return follow(execution, self.execute(execution, session_id, owner))

    async def open(
        self, for_code: str = "", owner: str | None = None, on_open: Callable[[], object] = lambda: None
    ) -> Session:
        """A new session with a worker. Raises MaxSessionsReached, NoWorker.

        `for_code`: what will run in it first; if it names a library that is still loading, that is waited for.
        `on_open` is called when it counts, before it has a worker.
        """
        if len(self._sessions) >= self.most:
            raise MaxSessionsReached(self.most)
        session = Session(str(uuid.uuid4()), self.limits, self._forget, owner)
        self._sessions[session.id] = session
        self.on_change(session)
        on_open()
        try:
            # In a plain worker the libraries would count towards the session's own time and memory.
            process = await self.pool.take(best=_LIBRARY.search(for_code) is not None)
        except BaseException:
            session.close("closed: it never began", Cause.ABANDONED)
            raise
        if session.state is not State.STARTING:  # somebody closed it meanwhile
            process.kill("its session was closed before it began")
            raise SessionNotFound(session.id, session.obituary)
        session.adopt(process)
        return session

    def get(self, session_id: str, owner: str | None = None) -> Session:
        """The session of that id. Raises SessionNotFound, with what became of it."""
        session = self._sessions.get(session_id)
        if session is None or session.owner != owner:
            raise SessionNotFound(session_id, self.obituary(session_id, owner))
        return session

    def obituary(self, session_id: str, owner: str | None = None) -> str | None:
        """What became of a session, if that is still known."""
        whose, why = self._obituaries.get(session_id, (None, None))
        return why if whose == owner else None

    def ids(self) -> list[str]:
        """Of all open sessions."""
        return list(self._sessions)

    async def figures(self, session_id: str, owner: str | None = None) -> Figures:
        """One session in numbers. Raises SessionNotFound."""
        return self.get(session_id, owner).figures()

    async def list(self, owner: str | None = None) -> list[Figures]:
        """The owner's open sessions, the oldest first."""
        return [session.figures() for session in self._sessions.values() if session.owner == owner]

    async def count(self, owner: str | None) -> int:
        """How many sessions the owner has open."""
        return sum(session.owner == owner for session in self._sessions.values())

    async def close(self, session_id: str, owner: str | None = None) -> None:
        """Close it; an execution that runs in it answers `execution interrupted`. Raises SessionNotFound."""
        self.get(session_id, owner).close("closed by DELETE", Cause.CLOSED)

    async def interrupt(self, session_id: str, owner: str | None = None) -> bool:
        """Interrupt what runs in it; False when nothing does. Raises SessionNotFound."""
        return self.get(session_id, owner).interrupt(Error.INTERRUPTED)

    async def look_up(self, session_id: str, errand: Errand, text: str, owner: str | None = None) -> str:
        """The worker's answer to a question about the namespace: see Session.look_up. Raises SessionNotFound too."""
        return await self.get(session_id, owner).look_up(errand, text)

    def waiting(self) -> int:
        """How many executions wait for their turn in a session."""
        return sum(session.waiting for session in self._sessions.values())

    def states(self) -> Counter[str]:
        """How many sessions are in each state."""
        return Counter(session.state.value for session in self._sessions.values())

    def _close_all(self) -> None:
        for session in list(self._sessions.values()):
            session.close("closed: the server stops", Cause.DRAIN)

    def _forget(self, session: Session) -> None:
        del self._sessions[session.id]
        if session.process is not None and session.cause is not None:
            self.ended[session.cause] += 1
        self._obituaries[session.id] = session.owner, session.obituary
        if len(self._obituaries) > _REMEMBERED:
            self._obituaries.popitem(last=False)
        self.on_change(session)
