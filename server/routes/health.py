"""GET /: health and capabilities."""

from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cluster.vitals import Vitals
from server.models import Capabilities, Health, LimitFigures, RunFigures, SessionFigures, SubmissionFigures
from server.settings import VERSION


async def health(request: Request) -> Response:
    """The state of the service. It is `starting` until its first workers can be had."""
    settings = request.app.state.settings
    vitals: Vitals = await request.app.state.backend.vitals()
    body = Health(
        status="healthy" if vitals.has_workers else "starting",
        version=VERSION,
        role=settings.role,
        nodes=vitals.nodes,
        capabilities=Capabilities(
            max_timeout=settings.run_max_timeout_seconds,
            max_memory_mb=settings.run_max_memory_limit_mb,
            libraries=[name for name in vitals.libraries if name in settings.modules],
        ),
        sessions=SessionFigures(open=vitals.open_sessions, max=vitals.most_sessions, warm=vitals.warm_workers),
        limits=LimitFigures(
            timeout_seconds=settings.timeout_seconds,
            max_timeout_seconds=settings.max_timeout_seconds,
            memory_limit_mb=settings.memory_limit_mb,
            output_limit_kb=settings.output_limit_kb,
            idle_timeout_seconds=settings.idle_timeout_seconds,
        ),
        runs=RunFigures(warm=vitals.warm_for_runs, **asdict(vitals.runs)),
        submissions=SubmissionFigures(
            **asdict(vitals.submissions), versions=vitals.versions, unavailable=vitals.unavailable
        ),
        workers=vitals.workers,
        sandbox=vitals.sandbox,
    )
    return JSONResponse(body.model_dump())
