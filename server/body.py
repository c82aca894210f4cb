"""Reading a JSON request body, and saying what is wrong with it without repeating what was sent."""

import json
from http import HTTPStatus
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.types import Receive, Scope

from sandbox.limits import ESCAPED_BYTES, SOURCE_CHARS
from sandbox.wire import is_simple
from server.errors import BadBody

Model = TypeVar("Model", bound=BaseModel)

_MOST_BYTES_UNDER_WAY = 128 * 2**20
MOST_BYTES = 3 * ESCAPED_BYTES * SOURCE_CHARS + 64 * 1024  # code, tests and stdin, every character of them escaped


class ClientGone(Exception):
    """The client left before its request was complete."""


class BodyBudget:
    """Bounds the bytes of all bodies that are on their way in, for a large one is held until it is whole."""

    def __init__(self, most_bytes: int = _MOST_BYTES_UNDER_WAY) -> None:
        self._left = most_bytes

    def take(self, size: int) -> None:
        """Count bytes in. Raises BadBody (503) when there are too many."""
        if size > self._left:
            raise BadBody(HTTPStatus.SERVICE_UNAVAILABLE, "Too many large requests at once: try again")
        self._left -= size

    def give_back(self, size: int) -> None:
        """Count them out."""
        self._left += size


async def read(scope: Scope, receive: Receive, model: type[Model], budget: BodyBudget) -> Model:
    """The request's body as a `model`. Raises BadBody (400, 413, 415, 422, 503) or ClientGone."""
    kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    if kind.partition(b";")[0].strip().lower() != b"application/json":
        raise BadBody(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send the body as JSON, with Content-Type: application/json")
    body = await _collect(receive, budget)
    _check_shape(body)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        if error.error_count() != 1 or error.errors(include_input=False)[0]["type"] != "json_invalid":
            raise _wrong_fields(error) from None
    try:
        # JSON may hold lone surrogates in escapes; pydantic's parser takes them for a fault of the grammar.
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        place = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise BadBody(HTTPStatus.BAD_REQUEST, f"The body is not valid JSON{place}") from None
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _wrong_fields(error) from None


async def _collect(receive: Receive, budget: BodyBudget) -> bytes:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body") and len(message["body"]) <= MOST_BYTES:
        return bytes(message["body"])
    parts, size = [], 0
    try:
        while True:
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message["body"]
            budget.take(len(part))
            size += len(part)
            parts.append(part)
            if size > MOST_BYTES:
                sentence = f"The body is too large: at most {MOST_BYTES} bytes are read"
                raise BadBody(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, sentence)
            if not message.get("more_body"):
                return b"".join(parts)
            message = await receive()
    finally:
        budget.give_back(size)


def _check_shape(body: bytes) -> None:
    """Refuse a large body that is anything but a few strings: parsing a million values would stop everybody."""
    if is_simple(body):
        return
    if not body.rstrip().endswith(b"}"):
        raise BadBody(HTTPStatus.BAD_REQUEST, "The body is not valid JSON: it does not end as an object")
    raise BadBody(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The body has more fields or values than any request",
        [{"loc": ["body"], "msg": "Too many fields or values"}],
    )


def _wrong_fields(error: ValidationError) -> BadBody:
    detail: list[dict[str, object]] = [
        {"loc": ["body", *(part if isinstance(part, int) else part[:100] for part in e["loc"])], "msg": e["msg"]}
        for e in error.errors(include_input=False, include_url=False, include_context=False)[:20]
    ]
    first = detail[0]
    name = ".".join(str(part) for part in first["loc"][1:]) or "body"  # type: ignore[index]
    return BadBody(HTTPStatus.UNPROCESSABLE_ENTITY, f"{name}: {first['msg']}", detail)
