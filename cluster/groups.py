"""The queue groups of a node: it is in those for whose work it has a place, and leaves them while it has none."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from cluster.connection import leave
from cluster.subjects import QUEUE_GROUP
from cluster.tasks import Tasks

log = logging.getLogger(__name__)


class Groups:
    """`wanted` tells the subjects that there is a place for; set `changed` when that may be others."""

    def __init__(self, wanted: Callable[[], set[str]], on_message: Callable[[Msg], Awaitable[None]]) -> None:
        self._wanted = wanted
        self._on_message = on_message
        self._client: Client | None = None
        self._joined: dict[str, Subscription] = {}
        self._leaving = Tasks()
        self.changed = asyncio.Event()

    def go_up(self, client: Client) -> None:
        """Join on a new connection."""
        self._client = client
        self._joined = {}
        self.changed.set()

    def go_down(self) -> None:
        """The connection is lost, and all memberships with it."""
        self._client = None
        self._joined = {}

    async def keep(self) -> None:
        """Join and leave, for ever."""
        while True:
            await self.changed.wait()
            self.changed.clear()
            if self._client is None:
                continue
            try:
                await self._adjust(self._client)
            except (nats.errors.Error, OSError) as error:
                log.debug("NATS: %s", error)  # the connection is lost: it joins again on the next one

    async def settled(self) -> None:
        """Wait until it has joined the groups for which it has had a place until now."""
        if self.changed.is_set():
            await asyncio.sleep(0)  # keep() runs first

    async def _adjust(self, client: Client) -> None:
        wanted, joined = self._wanted(), self._joined  # it is another one, should the connection be lost meanwhile
        for subject in joined.keys() - wanted:
            self._leaving.begin(leave(joined.pop(subject)), "leave a queue group")
        for subject in wanted - joined.keys():
            joined[subject] = await client.subscribe(subject, QUEUE_GROUP, self._on_message)
