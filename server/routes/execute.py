"""POST /execute: code runs in a session."""

from contextlib import aclosing

from starlette.datastructures import State
from starlette.types import Receive, Scope, Send

from sandbox.outcome import Error, Outcome
from server import body, errors
from server.disconnect import Departure
from server.models import ExecuteAnswer, ExecuteRequest, answer, refusal
from server.observed import Observed
from server.reply import send_json
from server.settings import Settings
from server.stream import MEDIA_TYPE, EventStream
from sessions.errors import MaxSessionsReached, SessionNotFound
from sessions.execution import Execution


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
            work: Observed = self._state.work
            try:
                if _wants_events(scope):
                    departure.begin()
                    await _tell(EventStream(send), work, execution, request.id, scope.get("owner"))
                    return
                execution.on_slow = departure.begin
                reply = answer(await work.execute(execution, request.id, scope.get("owner")))
            except (MaxSessionsReached, SessionNotFound) as error:
                reply = _refused(error)
            finally:
                departure.end()
        except errors.KNOWN as error:
            await errors.answer(error)(scope, receive, send)
        else:
            await send_json(send, reply)

    def _wall_s(self, asked: float | None) -> float:
        errors.check_most("timeout", asked, self._most_s)
        return self._default_s if asked is None else asked


async def _tell(
    stream: EventStream, work: Observed, execution: Execution, session_id: str | None, owner: str | None
) -> None:
    """Send what it does as events, the last of them with the answer."""
    try:
        async with aclosing(work.stream(execution, session_id, owner)) as events:
            async for event in events:
                if isinstance(event, Outcome):
                    reply = answer(event)
                elif event.name == "silence":
                    await stream.ping()
                else:
                    await stream.event(event.name, event.data)
    except (MaxSessionsReached, SessionNotFound) as error:
        reply = _refused(error)
    except errors.KNOWN as error:
        if not stream.begun:
            raise
        await stream.event("error", {"error": str(error)})  # it is too late for a status
        await stream.end()
        return
    await stream.event("done", reply.model_dump(mode="json"))
    await stream.end()


def _refused(error: MaxSessionsReached | SessionNotFound) -> ExecuteAnswer:
    """These two are answers: clients of this interface read `error`."""
    if isinstance(error, SessionNotFound):
        return refusal(error.session_id, Error.NOT_FOUND, str(error))
    return refusal(None, Error.MAX_SESSIONS, str(error))


def _wants_events(scope: Scope) -> bool:
    return any(name == b"accept" and MEDIA_TYPE in value.decode("latin-1").lower() for name, value in scope["headers"])
