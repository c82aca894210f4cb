"""The server as a process: its socket, its banner, its log, its clean stop."""

import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from contextvars import Context

import uvicorn

from server import logs
from server.app import create_app
from server.protocol import BoundedProtocol, most_connections
from server.settings import Settings, unknown_settings
from sessions.errors import CannotConfine
from sessions.wall import examine

log = logging.getLogger(__name__)


def serve(settings: Settings) -> int:
    """Listen and serve until SIGTERM or Ctrl-C. Returns the exit status: 1 when the address is taken."""
    logs.begin(settings.log_format, settings.log_level, settings.role)
    try:
        sandbox = {} if settings.role == "gateway" else examine(settings.plan, settings.limits)
    except CannotConfine as missing:
        return _cannot(settings, f"workers cannot be confined here: {missing} (SANDBOX_REQUIRED says what must be)")
    for name in unknown_settings(os.environ):
        log.warning("the environment has %s, which is no setting: see run.py --help", name)
    for step, how in sandbox.items():
        log.log(logging.WARNING if how.startswith("absent") else logging.DEBUG, "wall: %s: %s", step, how)
    try:
        listening = _listen(settings.host, settings.port)
    except OSError as error:
        return _cannot(settings, f"cannot listen on {settings.host}:{settings.port}: {error.strerror}")
    host, port = listening.getsockname()[:2]
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not listened on
    url = f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
    app = create_app(settings, sandbox)
    bounds = {"most": most_connections(settings.max_sessions), "on_refusal": app.state.metrics.refused}
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=type("Protocol", (BoundedProtocol,), bounds),
        ws="none",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,  # nothing here asks who the client is
        timeout_graceful_shutdown=math.ceil(settings.drain_s) + 2,
    )
    server = _DrainingServer(config, lambda: app.drain(settings.drain_s), app.until_idle)
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, server.stop_soon)
    if settings.has_keys:  # else it ends the server, as when a terminal is closed
        signal.signal(signal.SIGHUP, lambda signum, frame: Context().run(app.read_keys_again))  # it is no request's
    app.state.connections = lambda: len(server.server_state.connections)
    _tell(settings, url)
    server.run(sockets=[listening])
    return 0


def _tell(settings: Settings, url: str) -> None:
    if settings.log_format == "json":
        logs.address.info("listening", extra={"url": url})
    elif settings.role == "node":
        print(f"PyRunner: a node, see {url}/readyz (Ctrl-C stops it)", flush=True)
    else:
        print(f"PyRunner: try it at {url}/docs (Ctrl-C stops it)", flush=True)


def _cannot(settings: Settings, why: str) -> int:
    """Say why the server does not start. Returns the exit status."""
    if settings.log_format == "json":
        logs.address.critical("the server does not start: %s", why)
    else:
        print(f"run.py: {why}", file=sys.stderr)
    return 1


class _DrainingServer(uvicorn.Server):
    """Tells the application when it begins to stop, so that it can end what would hold it up."""

    def __init__(
        self, config: uvicorn.Config, drain: Callable[[], None], until_idle: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(config)
        self._drain = drain
        self._until_idle = until_idle

    def stop_soon(self, signum: int, frame: object) -> None:
        """A signal before uvicorn listens for it, or raised again when it has stopped because of it."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log.info("shutting down: no new work is taken, what runs may end")
        self._drain()
        await self._until_idle()
        await super().shutdown(sockets)


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(2048)
    except OSError:
        listening.close()
        raise
    return listening
