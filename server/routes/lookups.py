"""POST /sessions/{id}/complete and /inspect: what may follow, and what a name stands for."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cluster.backend import Sessions
from sandbox.completion import name_at
from sandbox.wire import Errand, is_simple
from server import body
from server.models import CompleteAnswer, InspectAnswer, LookUpRequest

Answer = TypeVar("Answer", bound=BaseModel)


async def complete(request: Request) -> Response:
    """The names that may replace the word before the cursor."""
    asked = await _asked(request)
    text = asked.text[: asked.cursor]
    answer = _read(CompleteAnswer, await _look_up(request, Errand.COMPLETE, text))
    if answer.start > len(text):
        answer = CompleteAnswer(start=len(text))
    return JSONResponse(answer.model_dump())


async def inspect(request: Request) -> Response:
    """What the name at the cursor stands for."""
    asked = await _asked(request)
    name = name_at(asked.text, len(asked.text) if asked.cursor is None else asked.cursor)
    if name:
        answer = _read(InspectAnswer, await _look_up(request, Errand.INSPECT, name))
    else:
        # For an id that is unknown this says so.
        await request.app.state.sessions.figures(request.path_params["id"], request.scope.get("owner"))
        answer = InspectAnswer()
    return JSONResponse(answer.model_dump())


async def _asked(request: Request) -> LookUpRequest:
    return await body.read(request.scope, request.receive, LookUpRequest, request.app.state.budget)


async def _look_up(request: Request, errand: Errand, text: str) -> str:
    sessions: Sessions = request.app.state.sessions
    return await sessions.look_up(request.path_params["id"], errand, text, request.scope.get("owner"))


def _read(model: type[Answer], told: str) -> Answer:
    """What the worker tells, which nobody trusts: an empty answer in the place of nonsense."""
    try:
        return model.model_validate_json(told) if is_simple(told.encode()) else model()
    except ValidationError:
        return model()
