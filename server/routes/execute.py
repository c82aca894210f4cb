"""POST /execute: code runs in a session."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.datastructures import State
from starlette.types import Receive, Scope, Send

from sandbox.outcome import Error
from server import body, errors
from server.disconnect import Departure
from server.models import ExecuteAnswer, ExecuteRequest, answer, refusal
from server.reply import send_json
from server.settings import Settings
from server.stream import MEDIA_TYPE, Stream
from sessions.errors import MaxSessionsReached, SessionNotFound
from sessions.execution import Execution
from sessions.manager import SessionManager


class Execute:
    """An ASGI app of its own, beside the router: this is the path that must be fast."""

    def __init__(self, settings: Settings, state: State, budget: body.BodyBudget) -> None:
        self._state = state
        self._default_s = settings.timeout_seconds
        self._most_s = settings.max_timeout_seconds
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            request = await body.read(scope, receive, ExecuteRequest, self._budget)
            execution = Execution(request.code, request.stdin, self._wall_s(request.timeout))
            departure = Departure(receive, execution.abandon)
            if _wants_events(scope):
                departure.begin()
                await _stream(send, execution, _execute(self._state.sessions, execution, request.id), departure)
                return
            execution.on_slow = departure.begin
            try:
                reply = await _execute(self._state.sessions, execution, request.id)
            finally:
                departure.end()
        except errors.KNOWN as error:
            await errors.answer(error)(scope, receive, send)
        else:
            await send_json(send, reply)

    def _wall_s(self, asked: float | None) -> float:
        errors.check_most("timeout", asked, self._most_s)
        return self._default_s if asked is None else asked


async def _execute(sessions: SessionManager, execution: Execution, session_id: str | None) -> ExecuteAnswer:
    try:
        return answer(await sessions.execute(execution, session_id))
    except MaxSessionsReached as error:
        return refusal(None, Error.MAX_SESSIONS, str(error))
    except SessionNotFound as error:
        return refusal(error.session_id, Error.NOT_FOUND, str(error))


def _wants_events(scope: Scope) -> bool:
    return any(name == b"accept" and MEDIA_TYPE in value.decode("latin-1").lower() for name, value in scope["headers"])


async def _stream(
    send: Send, execution: Execution, answer: Coroutine[Any, Any, ExecuteAnswer], departure: Departure
) -> None:
    answering = asyncio.create_task(answer, name="streamed execution")
    try:
        await Stream(send, execution).follow(answering)
    finally:
        departure.end()
        if not answering.done():
            execution.abandon()
            await asyncio.wait([answering])
