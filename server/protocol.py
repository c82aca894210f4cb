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
_MOST_PIPELINED = 16  # requests on a connection that wait for the answer of one before them
_MOST_HEADERS = 100
_HEAD_END = b"\r\n\r\n"
_UPGRADE = re.compile(rb"(\r\n)upgrade:", re.IGNORECASE)


def most_connections(sessions: int) -> int:
    """How many clients may be connected at once, beside that many sessions. Raises the limit of descriptors."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(64, min(hard, 65536) - _RESERVED_FDS - _FDS_A_SESSION * 2 * sessions)


def _without_upgrade(data: bytes, tail: bytes) -> bytes:
    """A part of a head without its wish for another protocol, which HTTP lets a server overlook. `tail` came before it.

    With the wish the parser would take the body for that protocol. Java's client has it in every first request, `curl
    --http2` too. Nothing behind the head is touched: it would not be as long any more as the head says. What is not
    found here, on_headers_complete refuses.
    """
    end = (tail + data).find(_HEAD_END)
    size = len(data) if end < 0 else max(0, end - len(tail))
    return _UPGRADE.sub(rb"\1x-upgrade:", data[:size]) + data[size:]


class _OneWrite:
    """A transport that sends the head of an answer together with what follows it at once: one system call for two."""

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        self._transport = transport
        self._call_soon = loop.call_soon
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        if self._transport.is_closing():
            return  # its client has left
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
        self._tail = b""  # the last bytes that have come
        self._incomplete_since: float | None = self.loop.time()
        self._timer = self.loop.call_later(REQUEST_S, self._check_time)
        if len(self.connections) > self.most:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections: try again", (b"retry-after: 1\r\n",))

    def data_received(self, data: bytes) -> None:
        tail, self._tail = self._tail, data[-3:] if len(data) >= 3 else (self._tail + data)[-3:]
        if self._in_head:
            data = _without_upgrade(data, tail)
        elif self._incomplete_since is None:
            data = _without_upgrade(data, b"")
        super().data_received(data)
        if self._incomplete_since is not None:
            self._message_bytes += len(data)
            if self._in_head and self._message_bytes > HEAD_BYTES:
                sentence = f"The headers are too long: at most {HEAD_BYTES} bytes"
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, sentence)
            elif self._message_bytes > _MESSAGE_BYTES:
                self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The request is over {_MESSAGE_BYTES} bytes")

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= _MOST_PIPELINED:
            raise ValueError("too many requests at once")
        self._in_head = True
        self._incomplete_since = self.loop.time()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > _MOST_HEADERS:
            raise ValueError("too many headers")

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            raise ValueError("what follows would be taken for another protocol")
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
        if self.cycle is not None and not (self.cycle.response_complete or self.cycle.more_body):
            self.transport.close()  # the answer that comes next is that of the request before
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
