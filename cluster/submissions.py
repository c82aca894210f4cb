"""Submissions between machines: a work queue in JetStream, which hands one whose node was lost to another.

A gateway puts the address where it waits into the stream. A node with a free turn fetches it, gets the submission
there if anybody waits for it still, judges it, tells the gateway, and acknowledges. While it judges it says so now and
then; a node that does not is lost, and the engine delivers again, up to MOST_DELIVERIES times.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from cluster import letters, subjects
from cluster.calls import PROBE_S, Conversation, Exchange, note_loss, watched
from cluster.context import REQUEST
from cluster.errors import Lost, Stuck, Unreachable
from cluster.letters import Kind
from cluster.node import Node
from cluster.tasks import Tasks
from cluster.turns import QueueFull
from cluster.vitals import Queue
from judge.errors import Draining, Unavailable
from judge.submission import Report, Submission
from sandbox.outcome import Outcome, RunOutcome

log = logging.getLogger(__name__)

Observer = Callable[[Outcome | RunOutcome | Report, float], None]  # an outcome, and the seconds that it took here

MOST_DELIVERIES = 3  # more nodes are not risked
_ACK_S = 3.0  # a node that has not said for so long that it goes on is lost
_PROGRESS_S = 1.0
_MOST_AGE_S = 600.0  # of what waits
_FETCH_S = 5.0
_RETRY_S = 0.5
_JETSTREAM_S = 3.0
_WAITING_PROBE_S = 2.0  # everyone answers these
_STREAM_FULL = 10077  # JetStream's number for a stream that has its most messages
_NO_JUDGE = "no node can judge submissions: gcc or valgrind is not there, or cannot be started; see the nodes' logs"
NO_NODE = "no node is connected, so nothing can be done: try again in a moment"
_NO_JETSTREAM = "submissions cannot be taken: NATS has no JetStream (nats-server -js)"


async def _prepare(stream: JetStreamContext, most_submissions: int) -> None:
    """The stream and its consumer, made or brought up to date."""
    config = StreamConfig(
        name=subjects.STREAM,
        subjects=[subjects.SUBMISSIONS],
        retention=RetentionPolicy.WORK_QUEUE,
        discard=DiscardPolicy.NEW,
        storage=StorageType.FILE,
        max_msgs=max(1, most_submissions),
        max_age=_MOST_AGE_S,
    )
    try:
        await stream.add_stream(config)
    except nats.js.errors.BadRequestError:  # it is there, with another size
        await stream.update_stream(config)
    await stream.add_consumer(
        subjects.STREAM,
        ConsumerConfig(
            durable_name=subjects.CONSUMER,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=_ACK_S,
            max_deliver=MOST_DELIVERIES,
        ),
    )


class RemoteJudge:
    """See QueuedJudge. Raises Unreachable too."""

    def __init__(self, exchange: Exchange, most_submissions: int) -> None:
        self._exchange = exchange
        self.most_waiting = most_submissions
        self._stream: JetStreamContext | None = None
        self._waiting: dict[int, Conversation] = {}  # by the number in the stream
        self._parting = Tasks()
        self.draining = False

    async def go_up(self, client: Client) -> None:
        """Use a new connection."""
        self._stream = None
        await client.subscribe(subjects.GIVEN_UP, cb=self._on_given_up)
        try:
            await self._prepared(client)
        except Unreachable as error:
            log.error("%s: %s", error, str(error.__cause__) or type(error.__cause__).__name__)

    @property
    def figures(self) -> Queue:
        """Of this gateway's: how many a node judges, and how many wait. All gateways share the places."""
        active = sum(talk.peer != subjects.EVERYONE for talk in self._waiting.values())
        return Queue(active=active, waiting=len(self._waiting) - active, max_waiting=self.most_waiting)

    async def waiting(self, most_s: float) -> int:
        """How many wait, of all gateways'; 0 when the engine does not tell in time."""
        try:
            async with asyncio.timeout(most_s):
                stream = await self._prepared(self._exchange.client)
                return (await stream.consumer_info(subjects.STREAM, subjects.CONSUMER)).num_pending or 0
        except (nats.errors.Error, nats.js.errors.Error, Unreachable, OSError, TimeoutError):
            return 0

    async def judge(self, submission: Submission) -> Report:
        """Have a node judge it. When this is cancelled, nobody does."""
        if self.draining:
            raise Draining
        number: int | None = None
        judged = False
        with self._exchange.talk() as talk:
            try:
                number = await self._hand_in(talk)
                self._waiting[number] = talk
                async with asyncio.timeout(_MOST_AGE_S + submission.timeout_s):
                    report = await self._report(talk, submission)
                judged = True
                return report
            except TimeoutError:
                raise Unreachable(f"no node has judged this within {_MOST_AGE_S:.0f} s: try again") from None
            finally:
                if number is not None:
                    self._waiting.pop(number, None)
                    if not judged:
                        self._part(talk, number)

    def abandon_all(self) -> None:
        """Nobody shall be waited for any more."""
        for talk in list(self._waiting.values()):
            talk.fail(Unreachable("the server is shutting down: the submission was not judged"))

    async def _prepared(self, client: Client) -> JetStreamContext:
        """The stream, which may have been deleted since, or have had no JetStream to be in. Raises Unreachable."""
        if self._stream is None:
            stream = client.jetstream(timeout=_JETSTREAM_S)
            try:
                await _prepare(stream, self.most_waiting)
            except (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError) as error:
                raise Unreachable(_NO_JETSTREAM) from error
            self._stream = stream
        return self._stream

    async def _hand_in(self, talk: Conversation) -> int:
        """Put it into the stream; its number there."""
        stream = await self._prepared(self._exchange.client)
        ticket = json.dumps({"reply": talk.address, "request": REQUEST.get()}).encode()
        talk.peer = subjects.EVERYONE  # until one of them has taken it
        talk.probe_s = _WAITING_PROBE_S
        try:
            return (await stream.publish(subjects.SUBMISSIONS, ticket)).seq
        except nats.js.errors.APIError as error:
            if error.err_code == _STREAM_FULL:
                raise QueueFull(f"{self.most_waiting} submissions are waiting already: try again in a moment") from None
            raise Unreachable(f"the submission could not be queued: {error.description}") from error
        except (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError) as error:
            self._stream = None
            raise Unreachable("the submission could not be queued, for NATS did not take it: try again") from error

    async def _report(self, talk: Conversation, submission: Submission) -> Report:
        given_to: str | None = None
        await talk.probe()  # so that it is known at once if there is no node at all
        while True:
            try:
                letter = await talk.hear()
            except Lost:
                if given_to is None:
                    raise Unreachable(NO_NODE) from None
                note_loss()
                given_to, talk.probe_s = None, _WAITING_PROBE_S  # another one gets it
                talk.begin_again(subjects.EVERYONE)
                continue
            except Stuck:
                if given_to is None:
                    raise Unreachable(_NO_JUDGE) from None
                raise
            match letter.kind:
                case Kind.TAKEN:
                    if talk.peer != given_to:
                        given_to, talk.probe_s = talk.peer, PROBE_S
                        await talk.say(Kind.GO_ON, json.dumps(asdict(submission)).encode())
                case Kind.ANSWER:
                    return letters.REPORT.validate_json(letter.body)
                case Kind.REFUSED:
                    raise letters.refused(letter.body)

    def _part(self, talk: Conversation, number: int) -> None:
        """Nobody waits for it any more: take it out of the stream, and tell who judges it."""
        self._parting.begin(self._leave(talk, number), "leave a submission")

    async def _leave(self, talk: Conversation, number: int) -> None:
        try:
            if talk.peer != subjects.EVERYONE:
                await talk.say(Kind.LEFT)
            elif self._stream is not None:
                await self._stream.delete_msg(subjects.STREAM, number)
        except (nats.errors.Error, nats.js.errors.Error, Unreachable, OSError, TimeoutError) as error:
            log.debug("a submission was left and could not be taken back: %s", error)  # its node will ask

    async def _on_given_up(self, message: Msg) -> None:
        """The engine tells of one that has been delivered too often."""
        talk = self._waiting.get(json.loads(message.data)["stream_seq"])
        if talk is not None:
            log.error("a submission was given up: %s nodes were lost while they judged it", MOST_DELIVERIES)
            talk.fail(Unreachable(f"{MOST_DELIVERIES} nodes were lost while they judged this submission"))


class Backlog:
    """A node's end: it fetches while it has a free turn."""

    def __init__(self, exchange: Exchange, node: Node, observe: Observer) -> None:
        self._exchange = exchange
        self._node = node
        self._observe = observe
        self._fetchers: list[asyncio.Task[None]] = []
        self._judging = Tasks()

    def go_up(self, client: Client) -> None:
        """Fetch from a new connection: as many at once as there are turns."""
        for _ in range(self._node.judge.turns.at_once):
            self._fetchers.append(asyncio.create_task(self._fetch(client), name="fetch submissions"))

    def stop(self) -> None:
        """Fetch no more: the connection is lost, or the node drains. What is judged goes on."""
        for fetcher in self._fetchers:
            fetcher.cancel()
        self._fetchers.clear()

    async def until_idle(self) -> None:
        """Wait until all that was fetched is judged and told."""
        await self._judging.all_ended()

    async def _fetch(self, client: Client) -> None:
        stream = client.jetstream(timeout=_JETSTREAM_S)
        while not (client.is_closed or self._node.draining):  # the library may forget a cancellation
            try:
                await stream.consumer_info(subjects.STREAM, subjects.CONSUMER)  # fetching would wait, not fail
                waiting = await stream.pull_subscribe_bind(consumer=subjects.CONSUMER, stream=subjects.STREAM)
                try:
                    while not self._node.draining:
                        await self._judge_next(waiting)
                finally:
                    await waiting.unsubscribe()
            except (nats.errors.Error, nats.js.errors.Error, OSError) as error:
                log.debug("no submission can be fetched: %s", error)  # there may be no stream before the first gateway
                await asyncio.sleep(_RETRY_S)

    async def _judge_next(self, waiting: JetStreamContext.PullSubscription) -> None:
        if not self._node.judge.is_ready:
            await asyncio.sleep(_RETRY_S)  # others may be able to
            return
        try:
            (message,) = await waiting.fetch(1, timeout=_FETCH_S)
        except TimeoutError:
            return
        await asyncio.wait([self._judging.begin(self._judge(message), "fetched submission")])

    async def _judge(self, message: Msg) -> None:
        """Judge one, if anybody waits for it still."""
        progress = asyncio.create_task(_say_progress(message), name="progress of a submission")
        try:
            told = _ticket(message.data)
            if told is None:
                log.warning("what no gateway hands in was taken out of the stream of submissions")
                await message.term()
                return
            REQUEST.set(told.get("request"))
            with self._exchange.talk(told["reply"]) as talk:
                try:
                    await talk.say(Kind.TAKEN)
                    await self._tell_verdict(talk, message, (await talk.hear()).body)
                except Lost:  # nobody waits for it
                    await message.term()
        except (Unreachable, nats.errors.Error, OSError) as error:
            log.debug("a submission is left to others: %s", error)  # the engine gives it to another node
        finally:
            progress.cancel()

    async def _tell_verdict(self, talk: Conversation, message: Msg, letter: bytes) -> None:
        began = time.monotonic()
        try:
            report = await watched(talk, self._node.judge.judge(_submission(letter)))
            answer = letters.REPORT.dump_json(report)
        except (Draining, Unavailable):
            await message.nak()  # another node can
        except (Lost, Unreachable):
            raise
        except Exception as error:  # another node would fail the same way
            if not isinstance(error, letters.TRAVELLING):
                log.exception("a submission could not be judged")
            await talk.say(Kind.REFUSED, letters.refusal(error))
            await message.ack()
        else:
            self._observe(report, time.monotonic() - began)
            await talk.say(Kind.ANSWER, answer)
            await message.ack()


def _ticket(letter: bytes) -> dict[str, Any] | None:
    """What a gateway handed in; None for what can be none of it."""
    try:
        told: dict[str, Any] = json.loads(letter)
        return told if subjects.is_conversation(told["reply"]) else None
    except (ValueError, TypeError, LookupError, RecursionError):
        return None


def _submission(letter: bytes) -> Submission:
    """What a gateway wants judged."""
    told = json.loads(letter)
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
    return Submission(**fields)


async def _say_progress(message: Msg) -> None:
    """Tell the engine that this node is there."""
    try:
        while True:
            await asyncio.sleep(_PROGRESS_S)
            await message.in_progress()
    except (nats.errors.Error, OSError) as error:
        log.debug("NATS: %s", error)  # the connection is lost: others judge it
