"""GET and DELETE /sessions…, POST /sessions/{id}/interrupt."""

from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cluster.backend import Sessions
from sandbox.limits import MIB
from server.models import InterruptAnswer, SessionInfo, SessionList
from sessions.session import Figures


async def list_sessions(request: Request) -> Response:
    """The open sessions, the oldest first: of a key its own, else all, without their ids where the setting says so."""
    owner = request.scope.get("owner")
    shown = owner is not None or request.app.state.settings.lists_sessions
    infos = [_info(figures) for figures in await _sessions(request).list(owner)]
    if not shown:
        infos = [info.model_copy(update={"id": info.id[:8] + "…"}) for info in infos]
    return JSONResponse(SessionList(sessions=infos).model_dump())


class OneSession(HTTPEndpoint):
    """GET and DELETE of one session."""

    async def get(self, request: Request) -> Response:
        """Its figures."""
        figures = await _sessions(request).figures(request.path_params["id"], request.scope.get("owner"))
        return JSONResponse(_info(figures).model_dump())

    async def delete(self, request: Request) -> Response:
        """Close it; an execution that runs in it answers `execution interrupted`."""
        await _sessions(request).close(request.path_params["id"], request.scope.get("owner"))
        return Response(status_code=204)


async def interrupt_session(request: Request) -> Response:
    """Interrupt what runs in a session. The namespace is kept."""
    running = await _sessions(request).interrupt(request.path_params["id"], request.scope.get("owner"))
    return JSONResponse(InterruptAnswer(interrupted=running).model_dump(), status_code=202)


def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


def _info(figures: Figures) -> SessionInfo:
    return SessionInfo(
        id=figures.id,
        state=figures.state.value,
        age=round(figures.age_s, 3),
        idle=round(figures.idle_s, 3),
        memory=round(figures.memory_bytes / MIB, 3),
        executions=figures.executions,
    )
