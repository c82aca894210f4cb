"""The connection to NATS: one at a time, and a new one whenever it is lost.

The library's own way to reconnect is not used: it would send, after an outage, what was written before it, though
whoever wrote that has been told by then that it failed.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import nats.errors
from nats.aio.client import PING_PROTO, Client
from nats.aio.subscription import Subscription

log = logging.getLogger(__name__)

_CONNECT_S = 2
_RETRY_S = 0.25
_PING_S, _MOST_PINGS = 2, 2  # a server that does not answer these is lost
_FLUSH_S = 2.0  # to wait while too much is unsent: then whoever sends it is told by the loss that follows
_LOOK_S = 0.25
_CLOSE_S = 2.0
_SETTLE_S = 3.0  # for others to come back too, after NATS was away: they try every _RETRY_S, for _CONNECT_S


class Connection:
    """An async context manager. `on_up` gets each new connection, `on_down` is called when it is lost."""

    def __init__(self, url: str, on_up: Callable[[Client], Awaitable[None]], on_down: Callable[[], None]) -> None:
        self._servers = [part.strip() for part in url.split(",") if part.strip()]
        self._named = ", ".join(server.rpartition("@")[2] for server in self._servers)  # without passwords
        self._on_up = on_up
        self._on_down = on_down
        self._client: Client | None = None
        self._settled_at = 0.0  # by the loop's clock

    @property
    def is_up(self) -> bool:
        return self._client is not None

    @property
    def is_settled(self) -> bool:
        """Whether who is not there is not about to come back."""
        return asyncio.get_running_loop().time() >= self._settled_at

    async def __aenter__(self) -> "Connection":
        tried = asyncio.Event()
        self._keeper = asyncio.create_task(self._keep(tried), name="NATS")
        await tried.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        while not self._keeper.done():  # the library forgets a cancellation now and then while it connects
            self._keeper.cancel()
            await asyncio.wait([self._keeper], timeout=_RETRY_S)
        if self._client is not None:
            await _close(self._client)

    async def _keep(self, tried: asyncio.Event) -> None:
        told = was_away = False
        while True:
            lost = asyncio.Event()
            client = _Client()
            try:
                await self._connect(client, lost)
            except Exception as error:  # whatever listens there may say anything
                if not told:
                    why = str(error) or type(error).__name__
                    log.error("NATS cannot be reached at %s; it is tried again: %s", self._named, why)
                told = was_away = True
                tried.set()
                await _close(client)  # it holds its socket
                await asyncio.sleep(_RETRY_S)
                continue
            if was_away:
                self._settled_at = asyncio.get_running_loop().time() + _SETTLE_S
            try:
                await self._on_up(client)
            except Exception as error:
                is_away = isinstance(error, (nats.errors.Error, OSError, TimeoutError))
                log.error("a connection to NATS cannot be used; another one is made", exc_info=not is_away)
                self._on_down()
                await _close(client)
                await asyncio.sleep(_RETRY_S)
                continue
            self._client = client
            told = False
            log.info("connected to NATS")
            tried.set()
            await _until_closed(client, lost)
            self._client = None
            was_away = True
            log.error("the connection to NATS is lost; it is made again")
            self._on_down()

    async def _connect(self, client: Client, lost: asyncio.Event) -> None:
        async def on_closed() -> None:
            lost.set()

        async def on_error(error: Exception) -> None:
            log.debug("NATS: %s", error)

        await client.connect(
            servers=self._servers,
            name="PyRunner",
            allow_reconnect=False,
            max_reconnect_attempts=1,  # it would try the first connection sixty times, and 0 is for ever
            reconnect_time_wait=0,
            skip_subject_validation=True,  # cluster/subjects.py makes them all
            connect_timeout=_CONNECT_S,
            flush_timeout=_FLUSH_S,
            ping_interval=_PING_S,
            max_outstanding_pings=_MOST_PINGS,
            closed_cb=on_closed,
            error_cb=on_error,
        )


class _Client(Client):
    """The library's, with three mistakes mended."""

    async def _process_op_err(self, e: Exception) -> None:
        # What is not sent yet is dropped: it would be written to the closed socket, and nobody be told of the loss.
        self._pending, self._pending_data_size = [], 0
        await super()._process_op_err(e)

    async def _send_ping(self, future: asyncio.Future[Any] | None = None) -> None:
        # Behind what was written before it, not past it. Its answer tells a subscription that drains that no message
        # will come any more; those that did come were lost.
        self._pongs.append(future or asyncio.Future())
        self._pending.append(PING_PROTO)
        self._pending_data_size += len(PING_PROTO)
        await self._flush_pending()

    async def _flush_pending(self, force_flush: bool = False) -> Any:
        # Who is cancelled while it waits for much to be sent is cancelled: the library forgets it.
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        await super()._flush_pending(force_flush)
        if task and task.cancelling() > before:
            raise asyncio.CancelledError


async def leave(subscription: Subscription) -> None:
    """Hear no more there; what has arrived already is still answered."""
    try:
        await subscription.drain()  # type: ignore[no-untyped-call]
    except (nats.errors.Error, OSError) as error:
        log.debug("NATS: %s", error)  # the connection is lost, and the subscription with it


async def _until_closed(client: Client, lost: asyncio.Event) -> None:
    """Wait until it is not to be used any more. What tells so waits for all that is unsent, which may be for ever."""
    while not client.is_closed:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                await lost.wait()


async def _close(client: Client) -> None:
    """Send what is written, and close."""
    try:
        async with asyncio.timeout(_CLOSE_S):
            await client.flush()
            await client.close()
    except Exception as error:  # it is given up anyway
        log.debug("NATS: %s", error)
