"""The application: routes, the table of errors, and the lifespan that owns the sessions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp

from judge.judge import Judge
from sandbox.limits import MIB
from server import errors
from server.body import BodyBudget
from server.middleware import Entrance
from server.routes import documentation, health, lookups, notebook, sessions
from server.routes.execute import Execute
from server.routes.run import Run
from server.routes.submit import Submit
from server.settings import Settings
from server.turns import Turns
from sessions.manager import SessionManager
from sessions.runs import Runs
from sessions.zygotes import Zygotes


class Application(Entrance):
    """The ASGI application."""

    def __init__(self, starlette: Starlette, settings: Settings) -> None:
        starlette.state.budget = budget = BodyBudget()
        starlette.state.run_turns = turns = Turns("runs", settings.runs_at_once, settings.run_queue_size)
        starlette.state.submit_turns = submit_turns = Turns(
            "submissions", settings.submissions_at_once, settings.submit_queue_size
        )
        direct: dict[str, ASGIApp] = {
            "/execute": Execute(settings, starlette.state, budget),
            "/run": Run(settings, starlette.state, budget, turns),
            "/submit": Submit(settings, starlette.state, budget, submit_turns),
        }
        for path, app in direct.items():
            starlette.routes.append(Route(path, app, methods=["POST"]))  # tells other methods what is allowed
        super().__init__(starlette, {("POST", path): app for path, app in direct.items()}, settings.hosts)
        self.state = starlette.state

    def drain(self, seconds: float) -> None:
        """Take no new work; what still runs after `seconds` is ended."""
        owners: list[SessionManager | Runs | Judge] = [
            getattr(self.state, name) for name in ("sessions", "runs", "judge") if hasattr(self.state, name)
        ]
        for owner in owners:
            owner.drain(seconds)


def create_app(settings: Settings, sandbox: dict[str, str] | None = None) -> Application:
    """The application. Its lifespan starts and ends every process that it uses.

    `sandbox`: what GET / tells of the wall.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        zygotes = Zygotes(settings.tiers, settings.limits, settings.plan)
        manager = SessionManager(
            zygotes,
            settings.limits,
            most=settings.max_sessions,
            idle_s=settings.idle_timeout_seconds,
            pool_size=min(settings.pool_size, settings.max_sessions),
            tier=settings.session_libraries,
        )
        runs = Runs(
            zygotes,
            settings.run_limits,
            modules=settings.modules,
            tiers=settings.run_tiers,
            pool_size=settings.run_pool_size,
        )
        judge = Judge(
            settings.plan,
            cache_bytes=settings.submit_cache_mb * MIB,
            output_bytes=settings.output_limit_kb * 1024,
        )
        async with (
            zygotes as app.state.zygotes,
            manager as app.state.sessions,
            runs as app.state.runs,
            judge as app.state.judge,
        ):
            yield

    app = Starlette(
        routes=[
            Route("/", health.health),
            Route("/sessions", sessions.list_sessions),
            Route("/sessions/{id}", sessions.OneSession, methods=["GET", "DELETE"]),
            Route("/sessions/{id}/interrupt", sessions.interrupt_session, methods=["POST"]),
            Route("/sessions/{id}/complete", lookups.complete, methods=["POST"]),
            Route("/sessions/{id}/inspect", lookups.inspect, methods=["POST"]),
            *documentation.routes(),
            *notebook.routes(),
        ],
        exception_handlers={
            **dict.fromkeys(errors.KNOWN, errors.on_known),
            HTTPException: errors.on_http,
            Exception: errors.on_fault,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # a redirect has no sentence, and POST with a body fares badly
    app.state.settings = settings
    app.state.sandbox = sandbox or {}
    return Application(app, settings)
