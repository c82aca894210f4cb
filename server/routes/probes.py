"""GET /livez, /readyz and /metrics: for what keeps the server running and what watches it."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from server import errors
from server.models import Probe
from server.readiness import trouble


def routes() -> list[BaseRoute]:
    """The routes of every role."""
    return [Route("/livez", live), Route("/readyz", ready), Route("/metrics", metrics)]


async def live(request: Request) -> Response:
    """200 as long as requests are answered at all: a server that does not is to be replaced."""
    return JSONResponse(Probe(status="live").model_dump())


async def ready(request: Request) -> Response:
    """200 while it can do what its role is for: a server that can not gets no requests."""
    why = trouble(request.app.state.backend)
    return errors.unready(why) if why else JSONResponse(Probe(status="ready").model_dump())


async def metrics(request: Request) -> Response:
    """All figures, in the format that Prometheus asks for."""
    text, media_type = request.app.state.metrics.render(request.headers.get("accept", ""))
    return Response(text, headers={"content-type": media_type, "cache-control": "no-store"})
