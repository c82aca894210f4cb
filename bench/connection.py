"""One keep-alive HTTP connection with a stopwatch, cheap enough to time single requests from Python."""

import json
import socket
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType
from typing import Any, Self

_READ_BYTES = 1 << 20
_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    """`seconds`: from before the request was sent until the answer's last byte was read."""

    status: int
    body: bytes
    seconds: float

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """A connection to a port of 127.0.0.1; a context manager."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def request(self, method: str, path: str, body: bytes = b"") -> Answer:
        """Send one request and read its answer."""
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nContent-Type: application/json\r\n"
        data = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        started = perf_counter()
        self._socket.sendall(data)
        received = self._socket.recv(_READ_BYTES)
        while not _whole(received):
            more = self._socket.recv(_READ_BYTES)
            if not more:
                raise ConnectionError(f"the server closed the connection in the answer to {method} {path}")
            received += more
        seconds = perf_counter() - started
        return Answer(int(received[9:12]), received.partition(b"\r\n\r\n")[2], seconds)

    def execute(self, code: str, session_id: str | None = None, **fields: Any) -> tuple[dict[str, Any], float]:
        """POST /execute: the answer and its seconds. Raises RuntimeError unless it is a 200."""
        answer = self.request("POST", "/execute", execute_body(code, session_id, **fields))
        if answer.status != 200:
            raise RuntimeError(f"/execute answered {answer.status}: {answer.body.decode()}")
        return answer.json(), answer.seconds

    def run(self, code: str, **fields: Any) -> tuple[dict[str, Any], float]:
        """POST /run: the answer and its seconds. Raises RuntimeError unless it is a 200."""
        answer = self.request("POST", "/run", run_body(code, **fields))
        if answer.status != 200:
            raise RuntimeError(f"/run answered {answer.status}: {answer.body.decode()}")
        return answer.json(), answer.seconds

    def delete(self, session_id: str) -> None:
        """DELETE /sessions/{id}."""
        self.request("DELETE", f"/sessions/{session_id}")


def execute_body(code: str, session_id: str | None = None, **fields: Any) -> bytes:
    """The body of a request to execute `code`."""
    return json.dumps({"code": code, "id": session_id, **fields}).encode()


def run_body(code: str, **fields: Any) -> bytes:
    """The body of a request to run `code` once."""
    return json.dumps({"code": code, **fields}).encode()


def _whole(received: bytes) -> bool:
    head, blank, body = received.partition(b"\r\n\r\n")
    if not blank:
        return False
    _, named, rest = head.lower().partition(b"\r\ncontent-length:")
    return not named or len(body) >= int(rest.partition(b"\r\n")[0])
