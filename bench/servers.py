"""The two servers as real processes on free ports: run.py, and the bare echo."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.connection import Connection

_ROOT = Path(__file__).resolve().parent.parent
_STOP_S = 30.0
_READY_S = 120.0
_LOOK_S = 0.02
MAX_SESSIONS = 40
POOL_SIZE = 8
LIMIT_S = 2.0
SETTINGS = {
    "MAX_SESSIONS": MAX_SESSIONS,
    "POOL_SIZE": POOL_SIZE,
    "TIMEOUT_SECONDS": LIMIT_S,
    "MAX_TIMEOUT_SECONDS": 600,  # for the neighbour that never ends
    "IDLE_TIMEOUT_SECONDS": 600,  # sessions wait while the other server is loaded
    "MEMORY_LIMIT_MB": 100,
    "SESSION_LIBRARIES": "all",
}


class Server:
    """A server process that prints its address on its first line; a context manager that stops it."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str], log: Path) -> None:
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, *command], cwd=folder, env=env, stdout=subprocess.PIPE, stderr=stderr, text=True
            )
        assert self._process.stdout is not None
        banner = self._process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:(\d+)", banner)
        if address is None:
            self.stop()
            raise RuntimeError(f"{command[0]} did not start: {log.read_text(errors='replace')}")
        self.port = int(address[1])
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def connect(self) -> Connection:
        """A new connection to it."""
        return Connection(self.port)

    def stop(self) -> None:
        """End the process, with force if SIGTERM does not."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class Echo(Server):
    """The ceiling. Its `scratch` folder takes the log."""

    def __init__(self, scratch: Path) -> None:
        super().__init__(["-m", "bench.echo"], _ROOT, dict(os.environ), scratch / "echo.log")


class PyRunner(Server):
    """run.py with the bench's settings, ready and its pool warm. It runs in `scratch`, where no `.env` is.

    `changes`: settings other than the bench's.
    """

    def __init__(self, scratch: Path, **changes: object) -> None:
        wanted = SETTINGS | changes
        settings = {f"PYRUNNER_{name}": str(value) for name, value in wanted.items()}
        command = [str(_ROOT / "run.py"), "--host", "127.0.0.1", "--port", "0"]
        super().__init__(command, scratch, os.environ | settings, scratch / "pyrunner.log")
        try:
            with self.connect() as http:
                until(lambda: health(http)["workers"].get("all") == "ready", "its workers to load", _READY_S)
                wait_warm(http, int(str(wanted["POOL_SIZE"])))
        except BaseException:
            self.stop()
            raise

    def clear(self) -> None:
        """Delete all sessions, and wait until the pool is warm again."""
        with self.connect() as http:
            for session in http.request("GET", "/sessions").json()["sessions"]:
                http.delete(session["id"])
            wait_warm(http)


def health(http: Connection) -> Any:
    """What GET / says."""
    return http.request("GET", "/").json()


def wait_warm(http: Connection, size: int = POOL_SIZE) -> None:
    """Wait until the pool holds `size` workers."""
    until(lambda: health(http)["sessions"]["warm"] >= size, "the pool to fill", 60.0)


def until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Wait for a condition. Raises TimeoutError naming `what` when it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(_LOOK_S)
