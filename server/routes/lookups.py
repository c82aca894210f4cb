"""POST /sessions/{id}/complete and /inspect: what may follow, and what a name stands for."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.completion import name_at
from sandbox.wire import Errand, is_simple
from server import body
from server.models import CompleteAnswer, InspectAnswer, LookUpRequest
from sessions.session import Session

Answer = TypeVar("Answer", bound=BaseModel)


async def complete(request: Request) -> Response:
    """The names that may replace the word before the cursor."""
    session, asked = await _asked(request)
    text = asked.text[: asked.cursor]
    answer = _read(CompleteAnswer, await session.look_up(Errand.COMPLETE, text))
    if answer.start > len(text):
        answer = CompleteAnswer(start=len(text))
    return JSONResponse(answer.model_dump())


async def inspect(request: Request) -> Response:
    """What the name at the cursor stands for."""
    session, asked = await _asked(request)
    name = name_at(asked.text, len(asked.text) if asked.cursor is None else asked.cursor)
    answer = _read(InspectAnswer, await session.look_up(Errand.INSPECT, name)) if name else InspectAnswer()
    return JSONResponse(answer.model_dump())


async def _asked(request: Request) -> tuple[Session, LookUpRequest]:
    session: Session = request.app.state.sessions.get(request.path_params["id"])
    return session, await body.read(request.scope, request.receive, LookUpRequest, request.app.state.budget)


def _read(model: type[Answer], told: str) -> Answer:
    """What the worker tells, which nobody trusts: an empty answer in the place of nonsense."""
    try:
        return model.model_validate_json(told) if is_simple(told.encode()) else model()
    except ValidationError:
        return model()
