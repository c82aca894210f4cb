"""Sending a model as JSON, without another copy of it."""

from pydantic import BaseModel
from starlette.types import Send


async def send_json(send: Send, model: BaseModel) -> None:
    """Answer 200 with the model as its body."""
    data = model.__pydantic_serializer__.to_json(model)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": data})
