"""Conversations: each end has an address of its own, and each learns at once when nobody listens at the other.

NATS answers what is sent to an address without listeners with an empty message (`no responders`). So a machine that
was lost is known by the next letter to it; while nothing is to be said, a probe is that letter.
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Coroutine
from itertools import count
from types import TracebackType
from typing import Any, Self, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from cluster import subjects
from cluster.errors import Lost, Stuck, Unreachable
from cluster.letters import KINDS, Kind, Letter

log = logging.getLogger(__name__)

T = TypeVar("T")

PROBE_S = 0.4  # how long an end listens before it asks whether the other is there
_SILENT_S = 10.0  # without a sign for so long, an end that is there is taken for stuck
_MOST_BYTES = 320 * 2**20  # of a letter in parts; the longest answer that OUTPUT_LIMIT_KB allows is shorter
_PENDING_BYTES = 256 * 2**20  # of letters that have arrived and were not read

_AWAY = "the nodes cannot be reached, for NATS is away: nothing was done, try again in a moment"
_LOST = "the connection to the nodes was lost meanwhile: what was asked may have been done, or not"
_GIVEN_UP = "the server stops, and waits no longer"
_STUCK = f"the node has not answered for {_SILENT_S:.0f} s: what was asked may have been done, or not"


class Exchange:
    """One end: a gateway's or a node's. It has conversations while it is up."""

    def __init__(self) -> None:
        self._client: Client | None = None
        self._place = ""
        self._most_bytes = 0  # of a letter in one part
        self._numbers = count(1)
        self._talks: dict[str, Conversation] = {}

    @property
    def talking(self) -> int:
        """How many conversations there are."""
        return len(self._talks)

    @property
    def client(self) -> Client:
        """The connection. Raises Unreachable."""
        if self._client is None or not self._client.is_connected:
            raise Unreachable(_AWAY)
        return self._client

    async def go_up(self, client: Client) -> None:
        """Have an address on a new connection: what comes for an older one finds nobody."""
        self._place = subjects.end(secrets.token_hex(8))
        await client.subscribe(f"{self._place}.*", cb=self._on_message, pending_bytes_limit=_PENDING_BYTES)
        self._most_bytes = client.max_payload - 1
        self._client = client

    def go_down(self) -> None:
        """The connection is lost, and every conversation with it."""
        self._client = None
        self._fail_all(_LOST)

    def give_up(self) -> None:
        """Say and hear no more: who does not read would be waited for."""
        self._fail_all(_GIVEN_UP)

    def talk(self, peer: str | None = None) -> "Conversation":
        """A conversation with whoever listens at `peer`, or is the first to answer. A context manager."""
        return Conversation(self, f"{self._place}.{next(self._numbers)}", peer)

    async def send(self, subject: str, kind: Kind, body: bytes = b"", reply: str = "") -> None:
        """One letter, in parts if it must be. Raises Unreachable."""
        client, most = self.client, self._most_bytes
        try:
            while len(body) > most:
                await client.publish(subject, Kind.PART + body[:most], reply)
                body = body[most:]
            await client.publish(subject, kind + body, reply)
        except (nats.errors.Error, OSError) as error:
            raise Unreachable(_LOST) from error

    def fits(self, body: bytes) -> bool:
        """Whether it is one letter."""
        return len(body) <= self._most_bytes

    def enter(self, talk: "Conversation") -> None:
        self._talks[talk.address] = talk

    def leave(self, talk: "Conversation") -> None:
        self._talks.pop(talk.address, None)

    async def hand_over(self, talk: "Conversation | None", message: Msg) -> None:
        """Give a message to its conversation; None: to nobody."""
        if not message.data:  # nobody listens there
            if talk is not None:
                talk.fail(Lost())
            return
        kind = KINDS.get(message.data[:1])
        if talk is not None and kind is not None:
            talk.take(kind, message.data[1:], message.reply)
        if message.reply and (kind is Kind.PROBE or (talk is None and kind is not Kind.GONE)):
            try:
                await self.send(message.reply, Kind.GONE if talk is None else Kind.PONG)
            except Unreachable:
                return  # then it has learnt that too

    def _fail_all(self, why: str) -> None:
        for talk in list(self._talks.values()):
            talk.fail(Unreachable(why))

    async def _on_message(self, message: Msg) -> None:
        await self.hand_over(self._talks.get(message.subject), message)


class Conversation:
    """A context manager. `peer`: where the other end listens, as far as it is known.

    `when_ended` tells what is called once, when the other end has left, or is lost.
    """

    __slots__ = (
        "_exchange",
        "_heard",
        "_letters",
        "_loop",
        "_on_end",
        "_part_bytes",
        "_parts",
        "_waiter",
        "address",
        "failure",
        "on_spent",
        "peer",
        "probe_s",
    )

    def __init__(self, exchange: Exchange, address: str, peer: str | None) -> None:
        self._exchange = exchange
        self._loop = asyncio.get_running_loop()
        self.address = address
        self.peer = peer
        self._on_end: Callable[[], object] = _nothing
        self.on_spent: Callable[[float], object] = _nothing
        self.probe_s = PROBE_S
        self._letters: deque[Letter] = deque()
        self._parts: list[bytes] = []
        self._part_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self.failure: Lost | Unreachable | None = None
        self._heard = self._loop.time()

    def __enter__(self) -> Self:
        self._exchange.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exchange.leave(self)

    async def say(self, kind: Kind, body: bytes = b"", to: str | None = None) -> None:
        """Send a letter to the other end, or to an address that takes one in its place. Raises Unreachable."""
        subject = to or self.peer
        assert subject is not None
        try:
            await self._exchange.send(subject, kind, body, self.address)
        except Unreachable as error:  # what was said before may have been done
            raise self.failure if isinstance(self.failure, Unreachable) else error from None

    async def hear(self) -> Letter:
        """The next letter. Raises Lost when nobody is there any more, Unreachable when that cannot be known."""
        while not self._letters:
            if self.failure is not None:
                raise self.failure
            self._waiter = self._loop.create_future()
            timer = self._loop.call_later(self.probe_s, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
            if not self._letters and self.failure is None:
                await self.probe()
        return self._letters.popleft()

    async def probe(self) -> None:
        """Ask whether the other end is there. Raises Stuck if it has not answered for long, Unreachable."""
        if self.peer is None:
            return
        if self._loop.time() - self._heard > _SILENT_S:
            raise Stuck(_STUCK)
        await self.say(Kind.PROBE)

    def begin_again(self, peer: str) -> None:
        """The other end was lost, and there may be another one."""
        self.peer = peer
        self.failure = None
        self._letters.clear()
        self._parts, self._part_bytes = [], 0
        self._heard = self._loop.time()

    def take(self, kind: Kind, body: bytes, reply: str) -> None:
        """A letter has come."""
        self._heard = self._loop.time()
        if reply and kind is Kind.TAKEN:
            self.peer = reply
        match kind:
            case Kind.PROBE | Kind.PONG:
                pass
            case Kind.GONE | Kind.LEFT:
                self.fail(Lost())
            case Kind.SPENT:  # known at once, whoever reads what came before it
                self.on_spent(float(body))
            case Kind.PART:
                self._parts.append(body)
                self._part_bytes += len(body)
                if self._part_bytes > _MOST_BYTES:
                    self._parts.clear()
                    self.fail(Unreachable(f"an answer of over {_MOST_BYTES} bytes was refused"))
            case _:
                if self._parts:
                    body = b"".join((*self._parts, body))
                    self._parts, self._part_bytes = [], 0
                self._letters.append(Letter(kind, body))
                self._wake()

    def fail(self, failure: Lost | Unreachable) -> None:
        """It cannot go on."""
        if self.failure is None:
            self.failure = failure
            self._wake()
            self._on_end()

    def when_ended(self, on_end: Callable[[], object]) -> None:
        """Call this when the other end has left or is lost, which may be the case already."""
        self._on_end = on_end
        if self.failure is not None:
            on_end()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _nothing(*_: object) -> None:
    """Nobody wants to know."""


def note_loss() -> None:
    """For who operates the nodes: nobody else watches over them."""
    log.warning("a node was lost while it did what it was asked")


async def watched(talk: Conversation, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives, done for the other end as long as that waits. Raises why it does not: Lost, Unreachable."""
    working = asyncio.create_task(work, name="watched work")
    talk.when_ended(working.cancel)
    with Watch(talk) as watch:
        watch.begin()
        await asyncio.wait([working])
    if working.cancelled() and talk.failure is not None:
        raise talk.failure
    return working.result()


class Watch:
    """A context manager: once begun, it asks now and then whether anybody waits for the answer still."""

    def __init__(self, talk: Conversation) -> None:
        self._talk = talk
        self._watching: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._watching is not None:
            self._watching.cancel()

    def begin(self) -> None:
        """Say that it is being done, and ask from now on."""
        self._watching = asyncio.create_task(self._watch(), name="watch a caller")

    async def _watch(self) -> None:
        try:
            await self._talk.say(Kind.TAKEN)
            while True:
                await asyncio.sleep(PROBE_S)
                await self._talk.probe()
        except Unreachable as error:
            self._talk.fail(error)
