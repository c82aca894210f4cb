"""GET /: health and capabilities."""

from functools import cache
from importlib.util import find_spec
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.tiers import SCIENTIFIC
from server.models import Capabilities, Health, LimitFigures, RunFigures, SessionFigures, SubmissionFigures
from server.settings import VERSION
from server.turns import Turns


async def health(request: Request) -> Response:
    """The state of the service. It is `starting` until its first workers can be had."""
    state = request.app.state
    settings, sessions = state.settings, state.sessions
    workers = state.zygotes.states()
    body = Health(
        status="healthy" if "ready" in workers.values() else "starting",
        version=VERSION,
        capabilities=Capabilities(
            max_timeout=settings.run_max_timeout_seconds,
            max_memory_mb=settings.run_max_memory_limit_mb,
            libraries=[name for name in _installed() if name in settings.modules],
        ),
        sessions=SessionFigures(open=len(sessions), max=sessions.most, warm=sessions.pool.warm),
        limits=LimitFigures(
            timeout_seconds=settings.timeout_seconds,
            max_timeout_seconds=settings.max_timeout_seconds,
            memory_limit_mb=settings.memory_limit_mb,
            output_limit_kb=settings.output_limit_kb,
            idle_timeout_seconds=settings.idle_timeout_seconds,
        ),
        runs=RunFigures(warm=state.runs.warm(), **_figures(state.run_turns)),
        submissions=SubmissionFigures(
            **_figures(state.submit_turns), versions=state.judge.versions, unavailable=state.judge.unavailable
        ),
        workers=workers,
        sandbox=state.sandbox,
    )
    return JSONResponse(body.model_dump())


def _figures(turns: Turns) -> dict[str, Any]:
    return {
        "active": turns.active,
        "at_once": turns.at_once,
        "waiting": turns.waiting,
        "max_waiting": turns.most_waiting,
    }


@cache
def _installed() -> list[str]:
    return [name for name in SCIENTIFIC if find_spec(name) is not None]
