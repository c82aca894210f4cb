"""GET /: health and capabilities."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from server.models import Capabilities, Health, SessionFigures
from server.settings import VERSION

_SCIENTIFIC = ("sympy", "numpy", "pandas", "matplotlib", "scipy", "sklearn")


async def health(request: Request) -> Response:
    """The state of the service. It is `starting` until its first workers can be had."""
    settings, sessions = request.app.state.settings, request.app.state.sessions
    workers = sessions.pool.states()
    body = Health(
        status="healthy" if "ready" in workers.values() else "starting",
        version=VERSION,
        capabilities=Capabilities(
            max_timeout=settings.max_timeout_seconds,
            max_memory_mb=settings.memory_limit_mb,
            libraries=[name for name in _SCIENTIFIC if name in sessions.pool.libraries],
        ),
        sessions=SessionFigures(open=len(sessions), max=sessions.most, warm=sessions.pool.warm),
        workers=workers,
        sandbox=request.app.state.sandbox,
    )
    return JSONResponse(body.model_dump())
