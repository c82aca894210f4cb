"""The application: routes, the table of errors, and the lifespan that owns what does the work."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from cluster.backend import Backend
from cluster.node import Node
from cluster.remote import Cluster
from cluster.service import Service
from cluster.turns import Turns
from judge.judge import Judge
from sandbox.limits import MIB
from server import errors, logs
from server.audit import Audit
from server.body import BodyBudget
from server.gate import Gate
from server.gauges import of_backend
from server.ledger import Ledger
from server.metered import Metered
from server.metrics import Metrics
from server.middleware import Entrance
from server.observed import Observed
from server.quotas import Quotas
from server.routes import documentation, health, lookups, notebook, probes, sessions
from server.routes.execute import Execute
from server.routes.run import Run
from server.routes.submit import Submit
from server.settings import VERSION, Settings, SettingsError
from sessions.manager import SessionManager
from sessions.runs import Runs
from sessions.zygotes import Zygotes

log = logging.getLogger(__name__)


class Application(Entrance):
    """The ASGI application."""

    def __init__(self, starlette: Starlette, settings: Settings, direct: dict[str, ASGIApp], gate: Gate | None) -> None:
        for path, app in direct.items():
            starlette.routes.append(Route(path, app, methods=["POST"]))  # tells other methods what is allowed
        metrics: Metrics = starlette.state.metrics
        paths = {("POST", path): app for path, app in direct.items()}
        super().__init__(starlette, paths, settings.hosts, metrics.answered, gate)
        self.state = starlette.state

    def read_keys_again(self) -> None:
        """Take the keys that there are now. If they can not be used, those of before stay."""
        try:
            keys = self.state.settings.read_keys()
        except SettingsError as error:
            log.error("the keys stay as they were: %s", error)
            return
        if self._gate is not None:
            self._gate.keys = keys
            log.info("the keys were read again")

    def drain(self, seconds: float) -> None:
        """Take no new work; what still runs after `seconds` is ended."""
        if hasattr(self.state, "backend"):
            self.state.backend.drain(seconds)

    async def until_idle(self) -> None:
        """Wait for what a node does for others; who asked here is waited for by the server."""
        if isinstance(backend := getattr(self.state, "backend", None), Service):
            await backend.until_idle()


def create_app(settings: Settings, sandbox: dict[str, str] | None = None) -> Application:
    """The application of its role. Its lifespan starts and ends every process that it uses.

    `sandbox`: each step of the wall, and how it is there.
    """

    keys = None if settings.role == "node" else settings.read_keys()
    gate = None if keys is None else Gate(keys, Quotas())

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        backend = _backend(settings, sandbox or {}, ledger)
        work = backend if gate is None else Metered(backend, gate.quotas, settings.idle_timeout_seconds)
        app.state.sessions = work.sessions
        app.state.work = Observed(work.sessions, work.runs, work.judge, ledger)
        for gauges in of_backend(backend, lambda: app.state.connections()):
            metrics.watch(gauges)
        asyncio.get_running_loop().set_exception_handler(logs.on_loop_error)
        async with backend as app.state.backend:
            yield

    metrics = Metrics(settings.role, VERSION)
    audit = Audit(settings.log_format, settings.role) if settings.audits and settings.role != "node" else None
    ledger = Ledger(metrics, audit)
    app = Starlette(
        routes=[Route("/", health.health), *probes.routes(), *([] if settings.role == "node" else _routes())],
        exception_handlers={
            **dict.fromkeys(errors.KNOWN, errors.on_known),
            HTTPException: errors.on_http,
            Exception: errors.on_fault,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # a redirect has no sentence, and POST with a body fares badly
    app.state.settings = settings
    app.state.metrics = metrics
    app.state.connections = lambda: 0  # until somebody serves it
    app.state.budget = budget = BodyBudget()
    direct: dict[str, ASGIApp] = {}
    if settings.role != "node":
        direct = {
            "/execute": Execute(settings, app.state, budget),
            "/run": Run(settings, app.state, budget),
            "/submit": Submit(settings, app.state, budget),
        }
    return Application(app, settings, direct, gate)


def _routes() -> list[BaseRoute]:
    return [
        Route("/sessions", sessions.list_sessions),
        Route("/sessions/{id}", sessions.OneSession, methods=["GET", "DELETE"]),
        Route("/sessions/{id}/interrupt", sessions.interrupt_session, methods=["POST"]),
        Route("/sessions/{id}/complete", lookups.complete, methods=["POST"]),
        Route("/sessions/{id}/inspect", lookups.inspect, methods=["POST"]),
        *documentation.routes(),
        *notebook.routes(),
    ]


def _backend(settings: Settings, wall: dict[str, str], ledger: Ledger) -> Backend:
    """What does the work: this machine, or nodes that are reached through NATS."""
    if settings.role == "gateway":
        return Cluster(settings.nats_url, settings.submit_queue_size)
    zygotes = Zygotes(settings.tiers, settings.limits, settings.plan)
    node = Node(
        zygotes,
        SessionManager(
            zygotes,
            settings.limits,
            most=settings.max_sessions,
            idle_s=settings.idle_timeout_seconds,
            pool_size=min(settings.pool_size, settings.max_sessions),
            tier=settings.session_libraries,
        ),
        Runs(
            zygotes,
            settings.run_limits,
            modules=settings.modules,
            tiers=settings.run_tiers,
            pool_size=settings.run_pool_size,
        ),
        Turns("runs", settings.runs_at_once, settings.run_queue_size),
        Judge(
            settings.plan,
            cache_bytes=settings.submit_cache_mb * MIB,
            output_bytes=settings.output_limit_kb * 1024,
        ),
        Turns("submissions", settings.submissions_at_once, settings.submit_queue_size),
        wall,
    )
    return node if settings.role == "all" else Service(node, settings.nats_url, ledger.observe)
