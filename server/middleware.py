"""What every request meets first: the check of its host and its key, its id, and the log of what nobody handled."""

import itertools
import logging
import os
from collections.abc import Awaitable, Callable, Collection, Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cluster.context import REQUEST
from server import errors
from server.body import ClientGone
from server.gate import Gate, Unauthorized
from server.metrics import UNMATCHED
from server.quotas import QuotaExceeded

log = logging.getLogger(__name__)

Headers = Sequence[tuple[bytes, bytes]]

_PROBES = frozenset(("/livez", "/readyz", "/metrics"))  # asked by address: a container's may be any
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")


class Entrance:
    """Leads a request to the app of its method and path in `direct`, or to `app`.

    `hosts`: the names in a Host header that are answered, or None for all. A page of a stranger's that had its name
    lead to this address would be answered otherwise. `on_answer` gets method, route and status of each answer. `gate`:
    who may come in, if not everybody may.
    """

    def __init__(
        self,
        app: ASGIApp,
        direct: dict[tuple[str, str], ASGIApp],
        hosts: Collection[str] | None,
        on_answer: Callable[[str, str, int], None],
        gate: Gate | None = None,
    ) -> None:
        self._app = app
        self._direct = direct
        self._hosts = hosts
        self._gate = gate
        self._on_answer = on_answer
        self._run = os.urandom(4).hex()  # tells the requests of this run of the server from those of another
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"{self._run}{next(self._numbers):08x}"
        REQUEST.set(request_id)
        begun = False
        told: Headers = ()

        def send_with_id(message: Message) -> Awaitable[None]:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                self._on_answer(scope["method"], self._route(scope), message["status"])
                headers = [*message["headers"], (b"x-request-id", request_id.encode()), _NO_SNIFFING]
                message["headers"] = _and(headers, told) if told else headers
            return send(message)

        try:
            if not self._is_for_us(scope):
                await errors.misdirected(_host(scope))(scope, receive, send_with_id)
                return
            if self._gate is not None:
                told = await self._gate.admit(scope)
            app = self._direct.get((scope["method"], scope["path"]), self._app)
            await app(scope, receive, send_with_id)
        except (Unauthorized, QuotaExceeded) as error:
            await errors.answer(error)(scope, receive, send_with_id)
        except ClientGone:
            log.debug("request %s: the client left before it was complete", request_id)
        except Exception:
            log.exception("request %s: %s %s failed", request_id, scope["method"], self._route(scope))
            if not begun:
                await errors.fault()(scope, receive, send_with_id)

    def _is_for_us(self, scope: Scope) -> bool:
        return self._hosts is None or _host(scope) in self._hosts or scope["path"] in _PROBES

    def _route(self, scope: Scope) -> str:
        """The template of the path: a path may have anything in it."""
        if (scope["method"], scope["path"]) in self._direct:
            path: str = scope["path"]
            return path
        return getattr(scope.get("route"), "path", UNMATCHED)


def _and(headers: Headers, told: Headers) -> Headers:
    """Both; where the first have a name already, it stands."""
    names = {name for name, _ in headers}
    return [*headers, *(header for header in told if header[0] not in names)]


def _host(scope: Scope) -> str:
    """The name in the Host header, without its port; empty when there is none."""
    for name, value in scope["headers"]:
        if name == b"host":
            host: str = value.decode("latin-1").lower()
            return host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    return ""
