"""GET and DELETE /sessions…, POST /sessions/{id}/interrupt."""

import asyncio

from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.limits import MIB
from sandbox.outcome import Error
from server.models import InterruptAnswer, SessionInfo, SessionList
from sessions.lifecycle import State
from sessions.session import Session


async def list_sessions(request: Request) -> Response:
    """All open sessions, the oldest first; without their ids where the setting says so."""
    shown = request.app.state.settings.lists_sessions
    infos = [_info(session) for session in request.app.state.sessions.list()]
    if not shown:
        infos = [info.model_copy(update={"id": info.id[:8] + "…"}) for info in infos]
    return JSONResponse(SessionList(sessions=infos).model_dump())


class OneSession(HTTPEndpoint):
    """GET and DELETE of one session."""

    async def get(self, request: Request) -> Response:
        """Its figures."""
        return JSONResponse(_info(_session(request)).model_dump())

    async def delete(self, request: Request) -> Response:
        """Close it; an execution that runs in it answers `execution interrupted`."""
        _session(request).close("closed by DELETE")
        return Response(status_code=204)


async def interrupt_session(request: Request) -> Response:
    """Interrupt what runs in a session. The namespace is kept."""
    running = _session(request).interrupt(Error.INTERRUPTED)
    return JSONResponse(InterruptAnswer(interrupted=running).model_dump(), status_code=202)


def _session(request: Request) -> Session:
    session: Session = request.app.state.sessions.get(request.path_params["id"])
    return session


def _info(session: Session) -> SessionInfo:
    now = asyncio.get_running_loop().time()
    busy = session.state is State.BUSY
    return SessionInfo(
        id=session.id,
        state=session.state.value,
        age=round(now - session.created, 3),
        idle=0.0 if busy else round(now - session.idle_since, 3),
        memory=round(session.memory_bytes() / MIB, 3),
        executions=session.executions,
    )
