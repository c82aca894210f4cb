"""The HTTP protocol of uvicorn, with bounds on what a client may cost before its request is complete."""

import json
import os
import re
import resource
from asyncio import AbstractEventLoop, Transport
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from server.body import MOST_BYTES

HEAD_BYTES = 64 * 1024  # request line and headers
REQUEST_S = 30.0  # from the first byte of a request, or the connection's beginning, to its last byte
_MESSAGE_BYTES = MOST_BYTES + HEAD_BYTES  # a whole request, trailers and the framing of chunks included
_RESERVED_FDS = 256  # for the server itself, apart from its sessions
_FDS_A_SESSION = 6
_UPGRADE = re.compile(rb"(\r\n)upgrade:", re.IGNORECASE)


def most_connections(sessions: int) -> int:
    """How many clients may be connected at once, beside that many sessions. Raises the limit of descriptors."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(64, min(hard, 65536) - _RESERVED_FDS - _FDS_A_SESSION * 2 * sessions)


def _without_upgrade(data: bytes) -> bytes:
    """A request's head without its wish for another protocol, with which the parser would take its body for that.

    HTTP lets a server overlook the wish. Java's client has it in every first request, `curl --http2` too.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(rb"\1x-upgrade:", head) + end + rest if b"pgrade" in head else data


class _OneWrite:
    """A transport that sends the head of an answer together with what follows it at once: one system call for two."""

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        self._transport = transport
        self._call_soon = loop.call_soon
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        if self._head is not None:
            data, self._head = self._head + data, None
        elif data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._call_soon(self._flush)
            return
        self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        if self._head is not None:
            self._transport.write(self._head)
            self._head = None


class BoundedProtocol(HttpToolsProtocol):
    """Closes connections that are too many, too slow, or send too long a head; answers JSON where it can.

    `on_refusal` gets the status of each such answer.
    """

    most = 1024
    on_refusal: Callable[[int], None] = staticmethod(lambda status: None)

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(_OneWrite(transport, self.loop))  # type: ignore[arg-type]
        self._message_bytes = 0
        self._unread_bytes = 0
        self._in_head = True
        self._incomplete_since: float | None = self.loop.time()
        self._timer = self.loop.call_later(REQUEST_S, self._check_time)
        if len(self.connections) > self.most:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections: try again", (b"retry-after: 1\r\n",))

    def data_received(self, data: bytes) -> None:
        if self._in_head or self._incomplete_since is None:
            data = _without_upgrade(data)
        super().data_received(data)
        if self._incomplete_since is not None:
            self._message_bytes += len(data)
            if self._in_head and self._message_bytes > HEAD_BYTES:
                sentence = f"The headers are too long: at most {HEAD_BYTES} bytes"
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, sentence)
            elif self._message_bytes > _MESSAGE_BYTES:
                self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The request is over {_MESSAGE_BYTES} bytes")

    def on_message_begin(self) -> None:
        self._in_head = True
        self._incomplete_since = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._incomplete_since = None
        self._message_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(HTTPStatus.BAD_REQUEST, "This is not a valid HTTP request")

    def _check_time(self) -> None:
        if self.transport.is_closing():
            return
        unread = self.transport.get_write_buffer_size()
        if unread > 0 and unread == self._unread_bytes:
            self.transport.abort()  # it has read nothing of its answer since the last look
            return
        self._unread_bytes = unread
        since = self._incomplete_since
        if since is not None and self.loop.time() - since >= REQUEST_S:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"The request was not complete after {REQUEST_S:.0f} s")
        else:
            self._timer = self.loop.call_later(REQUEST_S, self._check_time)

    def _refuse(self, status: HTTPStatus, sentence: str, headers: tuple[bytes, ...] = ()) -> None:
        if self.transport.is_closing():
            return
        self.on_refusal(status)
        body = json.dumps({"error": sentence}).encode()
        head = [
            b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()),
            b"content-type: application/json\r\nconnection: close\r\nx-request-id: %b\r\n"
            % os.urandom(8).hex().encode(),
            *headers,
            b"content-length: %d\r\n\r\n" % len(body),
        ]
        self.transport.write(b"".join(head) + body)
        self.transport.close()

    def connection_lost(self, exc: Any) -> None:
        self._timer.cancel()
        super().connection_lost(exc)
