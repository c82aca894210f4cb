"""A node on NATS: what it listens to, and how it does what it is asked.

A session has an address of its own, which exists exactly while the session lives. New work comes by queue groups.
"""

import asyncio
import json
import logging
import time
from contextlib import aclosing
from functools import partial
from types import TracebackType
from typing import Any, Self

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from cluster import letters, subjects
from cluster.calls import Conversation, Exchange, Watch, watched
from cluster.connection import Connection, leave
from cluster.context import REQUEST, SESSION
from cluster.errors import Lost, Unreachable
from cluster.groups import Groups
from cluster.letters import KINDS, Kind
from cluster.node import Node
from cluster.submissions import Backlog, Observer
from cluster.tasks import Tasks
from cluster.vitals import Vitals
from sandbox.outcome import Outcome
from sandbox.wire import Errand
from sessions.execution import Execution
from sessions.session import Session

log = logging.getLogger(__name__)

_ANSWER_S = 1.0  # for the answers of what was ended
_SESSIONS_A_LETTER = 200  # in a list: some 25 KB


class Service:
    """An async context manager that owns the node and its connection. `observe` is called with each outcome."""

    def __init__(self, node: Node, url: str, observe: Observer) -> None:
        self.node = node
        self.sessions, self.runs, self.judge = node.sessions, node.runs, node.judge
        self.exchange = Exchange()
        self.connection = Connection(url, self._go_up, self._go_down)
        self._observe = observe
        self._backlog = Backlog(self.exchange, node, observe)
        self._groups = Groups(self._wanted_groups, self._on_errand)
        self._client: Client | None = None
        self._everyone: Subscription | None = None
        self._talks: dict[str, Conversation] = {}  # by the address of who asked
        self._work = Tasks()
        self._listening: dict[str, asyncio.Task[Subscription]] = {}  # to each session
        self._asked: dict[str, set[asyncio.Task[None]]] = {}  # of each session

    @property
    def draining(self) -> bool:
        return self.node.draining

    async def __aenter__(self) -> Self:
        await self.node.__aenter__()
        self.node.sessions.on_change = self._on_session
        self.node.runs.turns.on_change = self._groups.changed.set
        self.node.zygotes.listeners.append(lambda zygote: self._groups.changed.set())
        self._grouper = asyncio.create_task(self._groups.keep(), name="queue groups")
        await self.connection.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._grouper.cancel()
        await asyncio.gather(self._grouper, return_exceptions=True)
        self._backlog.stop()
        await self.node.__aexit__(kind, error, trace)
        await self._backlog.until_idle()
        await self._work.all_ended()  # what was still running has its answer now
        await self.connection.__aexit__()

    def drain(self, seconds: float) -> None:
        """Take no new work; what still runs after `seconds` is ended, and who does not read its answer gets none."""
        self.node.drain(seconds)
        asyncio.get_running_loop().call_later(seconds + _ANSWER_S, self.exchange.give_up)
        self._backlog.stop()
        self._groups.changed.set()
        if self._everyone is not None:
            self._work.begin(leave(self._everyone), "hear no more")

    async def until_idle(self) -> None:
        """Wait until nothing runs, and all answers are out."""
        await self.node.until_idle()
        await self._backlog.until_idle()
        await self._work.all_ended()

    async def vitals(self) -> Vitals:
        """How this node is."""
        return await self.node.vitals()

    async def _go_up(self, client: Client) -> None:
        await self.exchange.go_up(client)
        self._client = client
        for session_id in self.node.sessions.ids():
            self._listen(client, session_id)
        if self._listening:
            await asyncio.wait(self._listening.values())
        if not self.draining:  # who has it answer finds its sessions
            self._everyone = await client.subscribe(subjects.EVERYONE, cb=self._on_everyone)
        self._groups.go_up(client)
        if not self.draining:
            self._backlog.go_up(client)

    def _go_down(self) -> None:
        self._client = None
        self._listening.clear()
        self._groups.go_down()
        self._backlog.stop()
        self.exchange.go_down()

    def _wanted_groups(self) -> set[str]:
        node, turns = self.node, self.node.runs.turns
        if node.draining or "ready" not in node.zygotes.states().values():
            return set()
        places = {
            subjects.NEW_SESSION: len(node.sessions) < node.sessions.most,
            subjects.RUN_NOW: turns.has_turn,
            subjects.RUN_LATER: turns.has_place,
        }
        return {subject for subject, has_place in places.items() if has_place}

    def _on_session(self, session: Session) -> None:
        """One was opened, or has ended."""
        self._groups.changed.set()
        if self._client is None:
            return
        if session.obituary is None:
            self._listen(self._client, session.id)
        else:
            self._work.begin(self._stop_listening(session.id), "hear a session no more")

    def _listen(self, client: Client, session_id: str) -> None:
        if session_id in self._listening:  # it was opened while the connection went up
            return
        subject = subjects.session(session_id)
        assert subject is not None
        subscribing = client.subscribe(subject, cb=partial(self._on_session_letter, session_id))
        self._listening[session_id] = asyncio.create_task(subscribing, name="listen to a session")

    async def _stop_listening(self, session_id: str) -> None:
        """When all have their answers: who still waits for one takes a silent address for a lost node."""
        listening = self._listening.pop(session_id, None)
        while asked := self._asked.get(session_id):
            await asyncio.wait(asked)
        if listening is not None:
            await asyncio.wait([listening])
            if listening.exception() is None:
                await leave(listening.result())

    async def _on_session_letter(self, session_id: str, message: Msg) -> None:
        talk = self._talks.get(message.reply)
        if talk is None and KINDS.get(message.data[:1]) in (Kind.ERRAND, Kind.WANT):
            await self._on_errand(message, session_id)
        else:
            await self.exchange.hand_over(talk, message)

    async def _on_errand(self, message: Msg, session_id: str | None = None) -> None:
        is_errand = KINDS.get(message.data[:1]) in (Kind.ERRAND, Kind.WANT)
        if not is_errand or not message.reply or message.reply in self._talks:
            log.warning("a letter that no gateway sends came to %s", message.subject)
            return
        talk = self._talks[message.reply] = self.exchange.talk(message.reply)
        task = self._work.begin(self._serve(talk, message, session_id), "errand")
        if session_id is not None:
            asked = self._asked.setdefault(session_id, set())
            asked.add(task)
            task.add_done_callback(partial(self._forget, session_id))

    def _forget(self, session_id: str, task: asyncio.Task[None]) -> None:
        asked = self._asked[session_id]
        asked.discard(task)
        if not asked:
            del self._asked[session_id]

    async def _serve(self, talk: Conversation, message: Msg, session_id: str | None) -> None:
        caller = message.reply
        try:
            with talk:
                body = message.data[1:]
                if KINDS[message.data[:1]] is Kind.WANT:
                    await talk.say(Kind.TAKEN)
                    body = (await talk.hear()).body
                errand = json.loads(body)
                REQUEST.set(errand.pop("request", None))
                SESSION.set(session_id)
                answer = await self._do(talk, session_id, **errand)
                await self._groups.settled()  # who has closed a session may open one
                await talk.say(Kind.ANSWER, answer)
        except (Lost, Unreachable) as error:
            log.debug("nobody waits for an answer any more: %s", error)
        except Exception as error:
            if not isinstance(error, letters.TRAVELLING):
                log.exception("an errand failed")
            await self._refuse(caller, error)
        finally:
            del self._talks[caller]

    async def _refuse(self, caller: str, error: Exception) -> None:
        try:
            await self.exchange.send(caller, Kind.REFUSED, letters.refusal(error))
        except Unreachable as unreachable:
            log.debug("a refusal could not be told: %s", unreachable)

    async def _do(self, talk: Conversation, session_id: str | None, do: str, **errand: Any) -> bytes:
        """Do an errand; its answer. Raises what shall be told in its place; Lost when nobody waits any more."""
        match do:
            case "execute" | "stream":
                return await self._execute(talk, session_id, streamed=do == "stream", **errand)
            case "run":
                return await self._run(talk, **errand)
        assert session_id is not None
        sessions, owner = self.node.sessions, errand["owner"]
        match do:
            case "figures":
                return letters.FIGURES.dump_json(await sessions.figures(session_id, owner))
            case "close":
                await sessions.close(session_id, owner)
                return b"null"
            case "interrupt":
                return json.dumps(await sessions.interrupt(session_id, owner)).encode()
            case "look_up":
                text = await sessions.look_up(session_id, Errand[errand["errand"]], errand["text"], owner)
                return json.dumps(text).encode()
        raise ValueError(f"there is no errand {do!r}")

    async def _execute(
        self,
        talk: Conversation,
        session_id: str | None,
        *,
        streamed: bool,
        code: str,
        stdin: str | None,
        wall_s: float,
        owner: str | None,
    ) -> bytes:
        execution = _execution(code, stdin, wall_s)
        talk.when_ended(execution.abandon)
        if session_id is None and owner is not None:  # whose sessions may be counted
            execution.on_open = lambda: self._work.begin(self._say_opened(talk), "say that it counts")
        if streamed and owner is not None:  # who pays, whether it reads or not
            execution.on_end = lambda: self._work.begin(_say_spent(talk, execution), "say what was spent")
        began = time.monotonic()
        with Watch(talk) as watch:
            if streamed:
                watch.begin()
                outcome = await self._stream(talk, execution, session_id, owner)
            else:
                execution.on_slow = watch.begin
                outcome = await self.node.sessions.execute(execution, session_id, owner)
        await self._until_listening(outcome.session_id)
        self._observe(outcome, time.monotonic() - began)
        return letters.OUTCOME.dump_json(outcome)

    async def _say_opened(self, talk: Conversation) -> None:
        try:
            await talk.say(Kind.OPENED)
        except Unreachable as error:
            log.debug("nobody waits for a session any more: %s", error)

    async def _stream(
        self, talk: Conversation, execution: Execution, session_id: str | None, owner: str | None
    ) -> Outcome:
        async with aclosing(self.node.sessions.stream(execution, session_id, owner)) as events:
            async for event in events:
                if isinstance(event, Outcome):
                    return event
                if event.name == "session":
                    await self._until_listening(event.data["id"])
                if talk.failure is None:
                    await _tell_news(talk, letters.NEWS.dump_json(event))
        raise AssertionError("the last event is the outcome")

    async def _run(self, talk: Conversation, *, code: str, wall_s: float, memory_bytes: int) -> bytes:
        began = time.monotonic()
        execution = _execution(code, None, wall_s, memory_bytes)
        outcome = await watched(talk, self.node.runs.run(execution, memory_bytes))
        self._observe(outcome, time.monotonic() - began)
        return letters.RUN_OUTCOME.dump_json(outcome)

    async def _until_listening(self, session_id: str) -> None:
        """Nobody shall learn of a session whose address is not there yet."""
        listening = self._listening.get(session_id)
        if listening is not None and not listening.done():
            await asyncio.wait([listening])

    async def _on_everyone(self, message: Msg) -> None:
        if not message.reply:
            return
        try:
            if KINDS.get(message.data[:1]) is Kind.PROBE:  # by a submission that waits
                if self.node.judge.is_ready:
                    await self.exchange.send(message.reply, Kind.PONG)
                return
            for answer in await self._tell(**json.loads(message.data[1:])):
                await self.exchange.send(message.reply, Kind.ANSWER, answer)
        except Unreachable as error:
            log.debug("what everyone was asked could not be told: %s", error)

    async def _tell(self, do: str, **asked: Any) -> list[bytes]:
        """What this node has to say to what all are asked, in short letters: parts of several nodes would be mixed."""
        sessions = self.node.sessions
        match do:
            case "vitals":
                return [letters.VITALS.dump_json(await self.node.vitals())]
            case "list":
                found = await sessions.list(asked["owner"])
                starts = range(0, len(found), _SESSIONS_A_LETTER)
                return [letters.SEVERAL_FIGURES.dump_json(found[at : at + _SESSIONS_A_LETTER]) for at in starts]
            case "count":
                return [json.dumps(await sessions.count(asked["owner"])).encode()]
            case "obituary":
                why = sessions.obituary(asked["id"], asked["owner"])
                return [] if why is None else [json.dumps(why).encode()]
        raise ValueError(f"there is no question {do!r}")


async def _say_spent(talk: Conversation, execution: Execution) -> None:
    try:
        await talk.say(Kind.SPENT, str(execution.cpu_s or 0.0).encode())
    except Unreachable as error:
        log.debug("nobody waits for an execution any more: %s", error)


async def _tell_news(talk: Conversation, news: bytes) -> None:
    """A reader that is slow is waited for. When it has left, the execution is abandoned, and its outcome still told."""
    try:
        await talk.say(Kind.NEWS, news)
        while (await talk.hear()).kind is not Kind.GO_ON:
            pass
    except (Lost, Unreachable) as failure:
        talk.fail(failure)


def _execution(code: object, stdin: object, wall_s: object, memory_bytes: object = 1) -> Execution:
    """Raises ValueError for what no gateway asks: it would fail where a session bears it."""
    if isinstance(code, str) and isinstance(stdin, str | None) and isinstance(wall_s, int | float) and wall_s > 0:
        if isinstance(memory_bytes, int) and memory_bytes > 0:
            return Execution(code, stdin, wall_s)
    raise ValueError("an execution that no gateway asks for")
