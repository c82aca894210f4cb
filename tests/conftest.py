"""Real servers, real workers: fixtures that start run.py as a process and talk to it over HTTP."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

ROOT = Path(__file__).resolve().parent.parent


class Server:
    """run.py as a process of its own on a free port. `env`: settings."""

    def __init__(self, log: Path, **env: object) -> None:
        self.log = log
        if "SESSION_LIBRARIES" in env:  # no zygote that the test does not mean
            env.setdefault("RUN_LIBRARIES", env["SESSION_LIBRARIES"])
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYRUNNER_")}
        self.lines = log.with_suffix(".jsonl") if env.get("LOG_FORMAT") == "json" else None
        with ExitStack() as files:
            stderr = files.enter_context(log.open("wb"))
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "run.py"), "--port", "0"],
                cwd=log.parent,  # no .env of the developer's
                env=clean | {f"PYRUNNER_{name}": str(value) for name, value in env.items()},
                stdout=files.enter_context(self.lines.open("wb")) if self.lines else subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.url = self._address()
        self.http = requests.Session()

    def wait_ready(self, tier: str = "all") -> "Server":
        """Wait until workers of that tier can be had, and warm ones are there."""
        until(lambda: self._warm(tier), 60)
        return self

    def execute(self, code: str, id: str | None = None, **fields: Any) -> dict[str, Any]:
        """POST /execute; the answer must be a 200 with all keys."""
        body = {"code": code, **fields} | ({"id": id} if id else {})
        answer = self.http.post(f"{self.url}/execute", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ask(self, code: str, id: str | None = None, **fields: Any) -> HTTPConnection:
        """POST /execute on a connection of its own; it has arrived when this returns. See `answer_on`."""
        return self._ask("/execute", {"code": code, "id": id, **fields})

    def run(self, code: str, **fields: Any) -> dict[str, Any]:
        """POST /run; the answer must be a 200."""
        answer = self.http.post(f"{self.url}/run", json={"code": code, **fields}, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ask_run(self, code: str, **fields: Any) -> HTTPConnection:
        """POST /run on a connection of its own; it has arrived when this returns. See `answer_on`."""
        return self._ask("/run", {"code": code, **fields})

    def session(self, id: str) -> dict[str, Any]:
        """GET /sessions/{id}: its figures."""
        return self.http.get(f"{self.url}/sessions/{id}", timeout=10).json()

    def close(self, id: str) -> None:
        """DELETE /sessions/{id}, whether it is still there or not."""
        self.http.delete(f"{self.url}/sessions/{id}", timeout=10)

    def interrupt(self, id: str) -> dict[str, Any]:
        """POST /sessions/{id}/interrupt."""
        answer = self.http.post(f"{self.url}/sessions/{id}/interrupt", timeout=10)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def health(self) -> dict[str, Any]:
        """GET /."""
        return self.http.get(self.url, timeout=10).json()

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def zygotes(self) -> list[psutil.Process]:
        """The processes that fork its workers."""
        return [child for child in psutil.Process(self.process.pid).children() if "sandbox.zygote" in command(child)]

    def worker_processes(self) -> list[psutil.Process]:
        """Its zygotes and all that they forked; what judges submissions is apart."""
        zygotes = self.zygotes()
        return [*zygotes, *(process for zygote in zygotes for process in zygote.children(recursive=True))]

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """Stop it, and return its exit status. One that does not stop is killed, and the wait for it raises."""
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(signum)
        if self.process.stdout is not None:
            self.process.stdout.close()
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()

    def events(self) -> list[dict[str, Any]]:
        """Its log so far, with LOG_FORMAT=json."""
        assert self.lines is not None
        return [json.loads(line) for line in self.lines.read_text().splitlines()]

    def _address(self) -> str:
        if self.process.stdout is None:
            told = until(lambda: next((e["url"] for e in self.events() if "url" in e), None) or self.process.poll(), 30)
            assert isinstance(told, str), f"it ended with {told}: {self.events()} {self.log.read_text()}"
            return told
        banner = self.process.stdout.readline()
        match = re.search(r"(http://\S+)/(docs|readyz)", banner)
        assert match, f"no banner: {banner!r} {self.log.read_text()}"
        return match[1]

    def _ask(self, path: str, body: dict[str, Any]) -> HTTPConnection:
        connection = HTTPConnection(self.url.removeprefix("http://"), timeout=60)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        with requests.get(self.url, timeout=30):  # a connection behind it: what was sent before has been seen
            pass
        return connection

    def _warm(self, tier: str) -> bool:
        health = self.health()
        return health["workers"].get(tier) == "ready" and health["sessions"]["warm"] > 0


def command(process: psutil.Process) -> str:
    """Its command line; empty when it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Wait for a condition; its first true value. The machine may be busy: what must be fast has a bound of its own."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)
    return value


def answer_on(connection: HTTPConnection) -> dict[str, Any]:
    """The answer to what `Server.ask` or `Server.ask_run` asked for."""
    with connection.getresponse() as answer:
        assert answer.status == 200
        body = json.loads(answer.read())
    connection.close()
    return body


@contextmanager
def running(log: Path, **env: object) -> Iterator[Server]:
    """A server that is stopped at the end, and must not have logged a fault of its own."""
    server = Server(log, **env)
    try:
        yield server
    finally:
        server.stop()
    text = log.read_text()
    assert "Traceback" not in text and "never retrieved" not in text, text


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """A function that starts a server with settings of its own; it is stopped after the test."""
    with ExitStack() as servers:
        logs = (tmp_path / f"server{number}.log" for number in range(100))
        yield lambda **env: servers.enter_context(running(next(logs), **env))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that leave nothing behind but sessions of their own."""
    with running(tmp_path_factory.mktemp("server") / "server.log", MAX_SESSIONS=100) as server:
        yield server.wait_ready()
        assert server.stop() == 0


@pytest.fixture
def session(server: Server) -> Iterator[Callable[..., dict[str, Any]]]:
    """Runs code in one session of the shared server: `session("x = 1")`. Closed after the test."""
    ids: list[str] = []

    def run(code: str, **fields: Any) -> dict[str, Any]:
        answer = server.execute(code, ids[0] if ids else None, **fields)
        if not ids:
            ids.append(answer["id"])
        return answer

    yield run
    for id in ids:
        server.close(id)
