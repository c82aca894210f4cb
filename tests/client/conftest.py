"""Sessions of the client on the shared server, and servers that misbehave."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from pyrunner_client import Session

from tests.conftest import Server


@pytest.fixture
def remote(server: Server) -> Iterator[Session]:
    """A session on the shared server."""
    with Session(server.url) as session:
        yield session


class Rogue:
    """Reads each request, answers with the next of the given bytes (the last one again and again), and hangs up."""

    def __init__(self, *answers: bytes) -> None:
        self.requests = 0
        self._answers = answers
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:  # closed
                return
            with connection:
                self._read_request(connection)
                answer = self._answers[min(self.requests, len(self._answers) - 1)]
                self.requests += 1
                with suppress(OSError):
                    connection.sendall(answer)

    def _read_request(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
        head, _, body = head.partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"), 0)
        while len(body) < length:
            body += connection.recv(65536)


@pytest.fixture
def rogue() -> Iterator[Callable[..., Rogue]]:
    """Starts a server that misbehaves: `rogue(answer, …)`."""
    started: list[Rogue] = []

    def start(*answers: bytes) -> Rogue:
        started.append(Rogue(*answers))
        return started[-1]

    yield start
    for server in started:
        server.close()


def answer(status: str, body: str = "", *headers: str) -> bytes:
    """The bytes of an HTTP answer; JSON unless a header says otherwise."""
    kind = () if any(header.startswith("Content-Type") for header in headers) else ("Content-Type: application/json",)
    head = (f"HTTP/1.1 {status}", *kind, *headers, f"Content-Length: {len(body)}", "Connection: close")
    return "\r\n".join((*head, "", body)).encode()
