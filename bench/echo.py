"""The ceiling: a bare Starlette route with PyRunner's own models, and nothing behind it.

It reads the request as `/execute` does and answers at once with what `print(1)` would give.
"""

import socket

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.models import ExecuteAnswer, ExecuteRequest


async def echo(request: Request) -> Response:
    """Both models and nothing else."""
    asked = ExecuteRequest.model_validate_json(await request.body())
    answer = ExecuteAnswer(
        id=asked.id,
        stdout="1\n",
        stderr=None,
        error=None,
        result=None,
        outputs=[],
        truncated=False,
        execution_time=0.000031,
        memory_used=0.031,
        state="kept",
        detail=None,
        partial=None,
    )
    return Response(answer.model_dump_json(), media_type="application/json")


def main() -> None:
    """Serve on a free port of 127.0.0.1, with the settings of server/serving.py."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(f"echo: http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        Starlette(routes=[Route("/execute", echo, methods=["POST"])]),
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
    )
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
