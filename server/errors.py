"""Which HTTP status an exception is. The only table of them."""

import logging
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from cluster.errors import Unreachable
from cluster.turns import QueueFull
from judge.errors import Draining, Fault, JudgeError, Unavailable
from server.gate import Unauthorized, rate_limit_headers
from server.quotas import QuotaExceeded
from sessions import errors

log = logging.getLogger(__name__)

STATUS: dict[type[errors.SessionsError], HTTPStatus] = {
    errors.SessionNotFound: HTTPStatus.NOT_FOUND,
    errors.SessionBusy: HTTPStatus.TOO_MANY_REQUESTS,
    errors.SessionRuns: HTTPStatus.CONFLICT,
    errors.MaxSessionsReached: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Draining: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.NoWorker: HTTPStatus.SERVICE_UNAVAILABLE,
    Unreachable: HTTPStatus.SERVICE_UNAVAILABLE,
}
_RETRY_AFTER = {HTTPStatus.TOO_MANY_REQUESTS: "1", HTTPStatus.SERVICE_UNAVAILABLE: "2"}  # seconds


class BadBody(Exception):
    """A request body that cannot be used. `detail`: the fields that are wrong, as pydantic names them."""

    def __init__(self, status: HTTPStatus, sentence: str, detail: list[dict[str, object]] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.detail = detail


def refusal(error: errors.SessionsError) -> JSONResponse:
    """The answer to a refusal or fault of the sessions. Raises it again if no caller can do anything about it."""
    status = STATUS.get(type(error))
    if status is None:
        raise error
    if isinstance(error, errors.Fault):
        log.error("%s", error)
    return _problem(status, {"error": str(error)})


def unjudged(error: JudgeError) -> JSONResponse:
    """The answer when a submission could not be judged: nothing that it did."""
    if isinstance(error, Fault):
        log.error("%s", error)
        return _problem(HTTPStatus.SERVICE_UNAVAILABLE, {"error": f"Submissions cannot be judged now: {error}"})
    assert isinstance(error, (Draining, Unavailable))
    return _problem(HTTPStatus.SERVICE_UNAVAILABLE, {"error": str(error)})


def bad_body(error: BadBody) -> JSONResponse:
    """The answer to a body that cannot be used."""
    body: dict[str, object] = {"error": str(error)}
    if error.detail is not None:
        body["detail"] = error.detail
    return _problem(error.status, body)


def check_most(name: str, asked: float | None, most: float) -> None:
    """Raises BadBody (422) when a field asks for more than the settings allow."""
    if asked is not None and asked > most:
        sentence = f"Input should be less than or equal to {most:g}"
        detail: list[dict[str, object]] = [{"loc": ["body", name], "msg": sentence}]
        raise BadBody(HTTPStatus.UNPROCESSABLE_ENTITY, f"{name}: {sentence}", detail)


def exceeded(error: QuotaExceeded) -> JSONResponse:
    """The answer when a key has used what it may: how it stands with the limit that it met."""
    response = JSONResponse({"error": str(error)}, HTTPStatus.TOO_MANY_REQUESTS)
    response.headers["Retry-After"] = str(error.retry_after)
    response.raw_headers.extend(rate_limit_headers(error.standing))
    return response


KNOWN = (BadBody, QueueFull, QuotaExceeded, Unauthorized, JudgeError, errors.SessionsError)


def answer(error: Exception) -> JSONResponse:
    """The answer to one of KNOWN. Raises it again if no caller can do anything about it."""
    match error:
        case BadBody():
            return bad_body(error)
        case QueueFull():
            return _problem(HTTPStatus.TOO_MANY_REQUESTS, {"error": str(error)})
        case QuotaExceeded():
            return exceeded(error)
        case Unauthorized():
            return JSONResponse({"error": str(error)}, HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": "Bearer"})
        case JudgeError():
            return unjudged(error)
        case errors.SessionsError():
            return refusal(error)
    raise error


def status_of(error: BaseException) -> int:
    """The status of that answer; 500 for what is not KNOWN."""
    match error:
        case BadBody():
            return error.status
        case QueueFull() | QuotaExceeded():
            return HTTPStatus.TOO_MANY_REQUESTS
        case JudgeError():
            return HTTPStatus.SERVICE_UNAVAILABLE
        case errors.SessionsError():
            return STATUS.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)
    return HTTPStatus.INTERNAL_SERVER_ERROR


def unready(why: str) -> JSONResponse:
    """The answer of a server that cannot do what its role is for."""
    return _problem(HTTPStatus.SERVICE_UNAVAILABLE, {"error": why})


def fault() -> JSONResponse:
    """The answer to anything else: our fault; its cause is in the log with the request id."""
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": "Internal server error"})


def misdirected(host: str) -> JSONResponse:
    """The answer to a request for a host that this server is not."""
    sentence = f"This server does not answer for the host {host[:100]!r}; the setting ALLOWED_HOSTS says for which"
    return _problem(HTTPStatus.MISDIRECTED_REQUEST, {"error": sentence})


def _problem(status: HTTPStatus, body: dict[str, object]) -> JSONResponse:
    headers = {"Retry-After": _RETRY_AFTER[status]} if status in _RETRY_AFTER else None
    return JSONResponse(body, status, headers)


async def on_known(request: Request, error: Exception) -> JSONResponse:
    """Starlette's handler for KNOWN."""
    return answer(error)


async def on_http(request: Request, error: Exception) -> JSONResponse:
    """What the router refuses: an unknown path, a method that the path does not have."""
    assert isinstance(error, HTTPException)
    sentences = {
        404: f"There is nothing at {request.url.path}; /docs shows what there is",
        405: f"{request.method} is not allowed here",
    }
    return JSONResponse({"error": sentences.get(error.status_code, error.detail)}, error.status_code, error.headers)


async def on_fault(request: Request, error: Exception) -> JSONResponse:
    """Starlette's handler for anything else."""
    return fault()
