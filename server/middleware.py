"""What every answer gets: a request id; and what every fault gets: a line in the log that names it."""

import logging
import os

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.body import ClientGone

log = logging.getLogger(__name__)

SECURITY_HEADERS = [(b"x-content-type-options", b"nosniff")]


class RequestId:
    """Adds X-Request-ID to each answer, and logs what nobody handled with it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = os.urandom(8).hex()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode()), *SECURITY_HEADERS]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientGone:
            log.debug("request %s: the client left before it was complete", request_id)
        except Exception:
            log.exception("request %s: %s %s failed", request_id, scope["method"], scope["path"])
