"""The application: routes, the table of errors, and the lifespan that owns the sessions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from server import errors
from server.middleware import Entrance
from server.routes import documentation, health, sessions
from server.routes.execute import Execute
from server.settings import Settings
from sessions.errors import SessionsError
from sessions.manager import SessionManager


class Application(Entrance):
    """The ASGI application."""

    def __init__(self, starlette: Starlette, settings: Settings) -> None:
        execute = Execute(settings, starlette.state)
        starlette.routes.append(Route("/execute", execute, methods=["POST"]))  # tells other methods what is allowed
        super().__init__(starlette, {("POST", "/execute"): execute}, settings.hosts)
        self.state = starlette.state

    def drain(self, seconds: float) -> None:
        """Take no new executions; what still runs after `seconds` is interrupted."""
        sessions: SessionManager | None = getattr(self.state, "sessions", None)
        if sessions is not None:
            sessions.drain(seconds)


def create_app(settings: Settings, sandbox: dict[str, str] | None = None) -> Application:
    """The application. Its lifespan starts and ends every process that it uses.

    `sandbox`: what GET / tells of the wall.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        manager = SessionManager(
            settings.limits,
            settings.plan,
            most=settings.max_sessions,
            idle_s=settings.idle_timeout_seconds,
            pool_size=min(settings.pool_size, settings.max_sessions),
            tier=settings.session_libraries,
        )
        async with manager as app.state.sessions:
            yield

    app = Starlette(
        routes=[
            Route("/", health.health),
            Route("/sessions", sessions.list_sessions),
            Route("/sessions/{id}", sessions.OneSession, methods=["GET", "DELETE"]),
            Route("/sessions/{id}/interrupt", sessions.interrupt_session, methods=["POST"]),
            *documentation.routes(),
        ],
        exception_handlers={
            SessionsError: errors.on_refusal,
            HTTPException: errors.on_http,
            Exception: errors.on_fault,
        },
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.sandbox = sandbox or {}
    return Application(app, settings)
