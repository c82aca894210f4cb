"""Server-Sent Events."""

import json
from typing import Any

from starlette.types import Send

MEDIA_TYPE = "text/event-stream"
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a proxy in front sends on what it gets
]


class EventStream:
    """An answer made of events. It begins with the first of them."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False

    async def event(self, name: str, data: dict[str, Any]) -> None:
        """Send an event; waits while the client does not read."""
        await self._write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())

    async def ping(self) -> None:
        """Send nothing, so that whoever is between sees the connection alive."""
        await self._write(b": ping\n\n")

    async def end(self) -> None:
        """No more events."""
        await self._send({"type": "http.response.body", "body": b""})

    async def _write(self, data: bytes) -> None:
        if not self.begun:
            self.begun = True
            await self._send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
