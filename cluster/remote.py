"""Sessions, runs and submissions on other machines: the interfaces of SessionManager, QueuedRuns and QueuedJudge."""

import asyncio
import json
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from types import TracebackType
from typing import Any, Self
from weakref import WeakValueDictionary

from nats.aio.client import Client

from cluster import letters, subjects
from cluster.calls import Conversation, Exchange, note_loss
from cluster.connection import Connection
from cluster.errors import Lost, Silent, Unreachable
from cluster.letters import Kind, Letter
from cluster.submissions import NO_NODE, RemoteJudge
from cluster.tasks import Tasks
from cluster.turns import QueueFull
from cluster.vitals import Vitals, together
from sandbox.outcome import Error, Outcome, Printed, RunOutcome
from sandbox.wire import Errand
from sessions.errors import Draining, MaxSessionsReached, SessionNotFound
from sessions.execution import Execution
from sessions.session import Figures
from sessions.stream import Event

_TAKE_S = 1.0  # for a node to say that it takes an errand
_MOST_LOSSES = 3  # of nodes that had taken a run: it may be what ended them, and more are not risked
_TRIES = 12  # nodes that may have filled up between what they told and what they were asked, or do not answer
_GATHER_S = 0.15  # for all nodes to answer what everyone is asked
_LATE_S = 1.0  # more, for those that are known to be there, where it matters that all have answered
_NO_WORKERS = "the nodes cannot have workers yet: try again in a moment"
_COMING_BACK = "the nodes are coming back after NATS was away: nothing was done, try again in a moment"
_SILENT = "the nodes that were asked do not answer: nothing was done, try again in a moment"


class Cluster:
    """What the nodes do, as a gateway asks for it. An async context manager that owns the connection."""

    def __init__(self, url: str, most_submissions: int) -> None:
        self.exchange = Exchange()
        self.connection = Connection(url, self._go_up, self.exchange.go_down)
        self._switchboard = Switchboard(self.exchange, self.connection)
        self.sessions = RemoteSessions(self._switchboard)
        self.runs = RemoteRuns(self._switchboard)
        self.judge = RemoteJudge(self.exchange, most_submissions)
        self.draining = False

    async def __aenter__(self) -> Self:
        await self.connection.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.draining = True
        await self.connection.__aexit__()

    def drain(self, seconds: float) -> None:
        """Take no new work; what still runs after `seconds` is interrupted."""
        self.draining = self._switchboard.draining = self.judge.draining = True
        for owner in (self._switchboard, self.judge):
            asyncio.get_running_loop().call_later(seconds, owner.abandon_all)

    async def vitals(self) -> Vitals:
        """How all nodes are."""
        try:
            told, waiting = await asyncio.gather(self._switchboard.gather("vitals"), self.judge.waiting(_GATHER_S))
        except Unreachable:
            told, waiting = [], 0
        vitals = together(letters.VITALS.validate_json(body) for body in told)
        queue = replace(vitals.submissions, waiting=waiting, max_waiting=self.judge.most_waiting)
        return replace(vitals, submissions=queue)

    async def _go_up(self, client: Client) -> None:
        await self.exchange.go_up(client)
        await self.judge.go_up(client)


class Switchboard:
    """Finds who does an errand, and stays in conversation until it is done."""

    def __init__(self, exchange: Exchange, connection: Connection) -> None:
        self._exchange = exchange
        self._connection = connection
        self._parting = Tasks()
        self._callers: set[Caller] = set()
        self._counted = 0  # nodes that were there when all were counted last
        self.draining = False

    def caller(self, execution: Execution | None = None, session_id: str | None = None) -> "Caller":
        """Begin a conversation. A context manager. Raises Draining."""
        if self.draining:
            raise Draining
        caller = Caller(self, self._exchange, execution, session_id)
        if execution is not None:
            execution.session = caller
            caller.has_left = execution.stopped_by is not None
        return caller

    async def gather(self, do: str, *, first: bool = False, **fields: Any) -> list[bytes]:
        """What the nodes answer that have something to say; `first`: no more than one. Raises Unreachable."""
        answers: list[bytes] = []
        with self._exchange.talk() as talk:
            await talk.say(Kind.ERRAND, letters.errand(do, **fields), to=subjects.EVERYONE)
            await _hear_all(talk, answers, _GATHER_S, most=1 if first else math.inf)
        return answers

    async def count(self, owner: str | None) -> int:
        """How many sessions the owner has on all nodes. One that is late is waited for, if it was there before."""
        answers: list[bytes] = []
        with self._exchange.talk() as talk:
            await talk.say(Kind.ERRAND, letters.errand("count", owner=owner), to=subjects.EVERYONE)
            await _hear_all(talk, answers, _GATHER_S)
            await _hear_all(talk, answers, _LATE_S, most=self._counted)
        self._counted = len(answers)
        return sum(json.loads(body) for body in answers)

    async def nobody(self, refusal: Exception) -> Exception:
        """Why nobody takes an errand: the refusal if there are nodes that could, else Unreachable."""
        why = refusal
        with self._exchange.talk() as talk:
            try:
                await talk.say(Kind.ERRAND, letters.errand("vitals"), to=subjects.EVERYONE)
                async with asyncio.timeout(_TAKE_S):
                    while not letters.VITALS.validate_json((await talk.hear()).body).has_workers:
                        why = Unreachable(_NO_WORKERS)
            except TimeoutError:
                return why  # they are there, and busy, or have no workers
            except Lost:
                return Unreachable(NO_NODE)
        return refusal

    async def not_found(self, session_id: str, owner: str | None) -> Exception:
        """SessionNotFound, with what became of it if a node remembers; Unreachable if its node may be on its way."""
        told = await self.gather("obituary", first=True, id=session_id, owner=owner)
        if not told and not self._connection.is_settled:
            return Unreachable(_COMING_BACK)
        return SessionNotFound(session_id, json.loads(told[0]) if told else None)

    def part(self, talk: Conversation) -> None:
        """Tell the other end that nobody waits for the answer any more, without waiting for that."""
        if talk.peer is not None:
            self._parting.begin(_say_left(talk), "say that nobody waits")

    def enter(self, caller: "Caller") -> None:
        self._callers.add(caller)

    def leave(self, caller: "Caller") -> None:
        self._callers.discard(caller)

    def abandon_all(self) -> None:
        """Nobody shall be waited for any more."""
        for caller in list(self._callers):
            caller.leave()


class Caller:
    """A context manager around one conversation about an errand. One that ends before its answer tells the node."""

    def __init__(
        self, board: Switchboard, exchange: Exchange, execution: Execution | None, session_id: str | None
    ) -> None:
        self.id = session_id or ""
        self._board = board
        self._exchange = exchange
        self._talk = exchange.talk()
        self._answered = False
        self.has_left = False  # its client
        self.taken = False  # a node has said that it does it
        self._execution = execution
        self._talk.on_spent = self._note_spent

    def __enter__(self) -> Self:
        self._talk.__enter__()
        self._board.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._board.leave(self)
        if not self._answered and not self.has_left:
            self._board.part(self._talk)
        self._talk.__exit__(kind, error, trace)

    def abandon(self, execution: Execution) -> None:
        """The client has left."""
        execution.stopped_by = Error.INTERRUPTED
        self.leave()

    def leave(self) -> None:
        """Have it interrupted; its answer is still heard."""
        self.has_left = True
        self._board.part(self._talk)

    def fits(self, errand: bytes) -> bool:
        """Whether it is one letter."""
        return self._exchange.fits(errand)

    async def ask_there(self, subject: str, errand: bytes) -> None:
        """Have the one who listens there do it. Raises Lost when nobody does."""
        self._talk.peer = subject
        if self.fits(errand):
            await self._talk.say(Kind.ERRAND, errand)
        else:
            await self._talk.say(Kind.WANT)
            await self._taken()
            await self._talk.say(Kind.ERRAND, errand)

    async def ask_anyone(self, subject: str, errand: bytes) -> bool:
        """Have one of those who listen there do it; False when nobody does.

        Raises Silent, and Lost when the client has left. The errand goes to who has said that it takes it: it is never
        in two places.
        """
        await self._talk.say(Kind.WANT, to=subject)
        try:
            async with asyncio.timeout(_TAKE_S):
                await self._taken()
        except Lost:
            return False
        except TimeoutError:
            raise Silent from None
        if self.has_left:  # it was not known yet whom to tell
            self._board.part(self._talk)
            raise Lost
        await self._talk.say(Kind.ERRAND, errand)
        return True

    async def hear(self) -> Letter:
        """News or the answer. Raises the refusal that was told; Lost, Unreachable."""
        while True:
            letter = await self._talk.hear()
            match letter.kind:
                case Kind.TAKEN:
                    self._note_taken()
                case Kind.OPENED:
                    if self._execution is not None:
                        self._execution.on_open()
                case Kind.NEWS:
                    return letter
                case Kind.ANSWER:
                    self._answered = True
                    return letter
                case Kind.REFUSED:
                    self._answered = True
                    raise letters.refused(letter.body)

    async def answer(self) -> bytes:
        """The answer. Raises the refusal that was told; Lost, Unreachable."""
        return (await self.hear()).body

    async def go_on(self) -> None:
        """The news were read."""
        await self._talk.say(Kind.GO_ON)

    async def _taken(self) -> None:
        while (await self._talk.hear()).kind is not Kind.TAKEN:
            pass
        self._note_taken()

    def _note_spent(self, cpu_s: float) -> None:
        if self._execution is not None:
            self._execution.cpu_s = cpu_s
            self._execution.on_end()

    def _note_taken(self) -> None:
        self.taken = True
        if self._execution is not None:
            self._execution.is_slow()


async def _hear_all(talk: Conversation, answers: list[bytes], seconds: float, most: float = math.inf) -> None:
    """Listen for so long, or until there are so many."""
    try:
        async with asyncio.timeout(seconds):
            while len(answers) < most:
                answers.append((await talk.hear()).body)
    except (TimeoutError, Lost):
        return


async def _say_left(talk: Conversation) -> None:
    try:
        await talk.say(Kind.LEFT)
    except Unreachable:
        return  # then it learns that too


class RemoteSessions:
    """See SessionManager. Raises Unreachable too."""

    def __init__(self, board: Switchboard) -> None:
        self._board = board
        # Of sessions that are asked something long.
        self._orders: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def execute(self, execution: Execution, session_id: str | None, owner: str | None = None) -> Outcome:
        """Run it in the session of that id, wherever that is, or in a new one on any node that has a place."""
        async with aclosing(self._told("execute", execution, session_id, owner)) as events:
            async for event in events:
                if isinstance(event, Outcome):
                    return event
        raise AssertionError("the last event is the outcome")

    def stream(
        self, execution: Execution, session_id: str | None, owner: str | None = None
    ) -> AsyncGenerator[Event, None]:
        """The same, told as it happens."""
        return self._told("stream", execution, session_id, owner)

    async def _told(
        self, do: str, execution: Execution, session_id: str | None, owner: str | None
    ) -> AsyncGenerator[Event, None]:
        """What is told of it, the Outcome last."""
        errand = letters.errand(do, code=execution.code, stdin=execution.stdin, wall_s=execution.wall_s, owner=owner)
        silent = False
        for _ in range(_TRIES):
            with self._board.caller(execution, session_id) as caller:
                try:
                    await self._ask_for(caller, session_id, errand)
                    while (letter := await caller.hear()).kind is Kind.NEWS:
                        news = letters.NEWS.validate_json(letter.body)
                        if news.name == "session":
                            caller.id = news.data["id"]
                        yield news
                        await caller.go_on()
                    yield letters.OUTCOME.validate_json(letter.body)
                    return
                except (MaxSessionsReached, Draining):
                    if not caller.taken or session_id is not None or caller.has_left:
                        raise  # else it has filled up since it said that it had a place
                except Silent:
                    silent = True
                    execution.is_slow()
                    if caller.has_left:
                        yield await self._after_loss(caller, owner)
                        return
                except SessionNotFound:
                    raise await self._board.not_found(caller.id, owner) from None
                except Lost:
                    yield await self._after_loss(caller, owner)
                    return
        raise Unreachable(_SILENT) if silent else MaxSessionsReached(None)

    async def figures(self, session_id: str, owner: str | None = None) -> Figures:
        """One session in numbers. Raises SessionNotFound."""
        return letters.FIGURES.validate_json(await self._ask("figures", session_id, owner))

    async def list(self, owner: str | None = None) -> list[Figures]:
        """The owner's open sessions on all nodes, the oldest first."""
        told = await self._board.gather("list", owner=owner)
        found = [figures for body in told for figures in letters.SEVERAL_FIGURES.validate_json(body)]
        return sorted(found, key=lambda figures: -figures.age_s)

    async def count(self, owner: str | None) -> int:
        """How many sessions the owner has open on all nodes."""
        return await self._board.count(owner)

    async def close(self, session_id: str, owner: str | None = None) -> None:
        """Close it. Raises SessionNotFound."""
        await self._ask("close", session_id, owner)

    async def interrupt(self, session_id: str, owner: str | None = None) -> bool:
        """Interrupt what runs in it; False when nothing does. Raises SessionNotFound."""
        return json.loads(await self._ask("interrupt", session_id, owner)) is True

    async def look_up(self, session_id: str, errand: Errand, text: str, owner: str | None = None) -> str:
        """The worker's answer to a question about the namespace. Raises SessionNotFound, SessionRuns."""
        answer = await self._ask("look_up", session_id, owner, errand=errand.name, text=text)
        return str(json.loads(answer))

    async def _ask(self, do: str, session_id: str, owner: str | None, **fields: Any) -> bytes:
        """A small errand that a session does."""
        subject = subjects.session(session_id)
        if subject is None:
            raise SessionNotFound(session_id)
        with self._board.caller() as caller:
            try:
                await caller.ask_there(subject, letters.errand(do, owner=owner, **fields))
                return await caller.answer()
            except (Lost, SessionNotFound):  # the same words, and the same time, for one that is another owner's
                raise await self._board.not_found(session_id, owner) from None

    async def _ask_for(self, caller: "Caller", session_id: str | None, errand: bytes) -> None:
        """Have it done where its session is, or by any node.

        Raises SessionNotFound, MaxSessionsReached, Silent; Lost, also when the client has left before.
        """
        if caller.has_left:
            raise Lost
        if session_id is None:
            if not await caller.ask_anyone(subjects.NEW_SESSION, errand):
                raise await self._board.nobody(MaxSessionsReached(None))
            return
        subject = subjects.session(session_id)
        if subject is None:
            raise SessionNotFound(session_id)
        # A long errand takes two letters: what comes behind it must not overtake it.
        order = self._orders.get(session_id)
        if order is None:
            if caller.fits(errand):
                await caller.ask_there(subject, errand)
                return
            order = self._orders[session_id] = asyncio.Lock()
        async with order:
            if caller.has_left:
                raise Lost
            await caller.ask_there(subject, errand)

    async def _after_loss(self, caller: "Caller", owner: str | None) -> Outcome:
        """What is told when nobody is at the other end any more. Raises SessionNotFound if nobody ever was."""
        if caller.has_left:
            return Outcome(caller.id, Printed(), True, Error.INTERRUPTED, "its client left before it began")
        if caller.taken:
            note_loss()
            return Outcome(caller.id, Printed(), False, Error.CRASHED, "the node that it was on was lost")
        raise await self._board.not_found(caller.id, owner) from None


class RemoteRuns:
    """See QueuedRuns. Raises Unreachable too."""

    def __init__(self, board: Switchboard) -> None:
        self._board = board

    async def run(self, execution: Execution, memory_bytes: int) -> RunOutcome:
        """Run it once, on a node with a free turn if there is one, else behind others.

        A node that is lost has kept nothing of it: it is run again on another one.
        """
        errand = letters.errand("run", code=execution.code, wall_s=execution.wall_s, memory_bytes=memory_bytes)
        full = QueueFull("the queues of all nodes are full: try again in a moment")
        why: Exception = Unreachable(_SILENT)
        losses = 0
        for _ in range(_TRIES):
            for subject in (subjects.RUN_NOW, subjects.RUN_LATER):
                with self._board.caller() as caller:
                    try:
                        if await caller.ask_anyone(subject, errand):
                            return letters.RUN_OUTCOME.validate_json(await caller.answer())
                    except QueueFull:  # it has filled up since it said that it takes it
                        why = full
                        break
                    except Silent:
                        why = Unreachable(_SILENT)
                        break
                    except Draining:
                        why = Unreachable("the nodes that were asked are shutting down: try again in a moment")
                        break
                    except Lost:
                        note_loss()
                        losses += 1
                        if losses == _MOST_LOSSES:
                            raise Unreachable(f"{losses} nodes were lost while they did this run") from None
                        break
            else:
                raise await self._board.nobody(full)
        raise why
