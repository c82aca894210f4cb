"""A fleet: a nats-server, gateways and nodes, each a process of its own on a free port."""

import json
import shutil
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import requests

from tests.conftest import Server, running, until

NATS_SERVER = shutil.which("nats-server") or "/usr/sbin/nats-server"
PLAIN: dict[str, object] = {  # what starts within a second, and is there at once
    "SESSION_LIBRARIES": "plain",
    "RUN_LIBRARIES": "plain",
    "POOL_SIZE": 2,
    "RUN_POOL_SIZE": 1,
    "RUN_MODULES": "default,time,os",
    "IDLE_TIMEOUT_SECONDS": 600,
    "DRAIN_SECONDS": 4,
}


class Nats:
    """A nats-server that can be killed, and started again on the same port and store."""

    def __init__(self, folder: Path, *, jetstream: bool = True, **settings: object) -> None:
        self.port, self.monitoring_port = _free_port(), _free_port()
        self.log = folder / "nats.log"
        config = folder / "nats.conf"
        config.write_text("".join(f"{name}: {value}\n" for name, value in settings.items()))
        self._command = [NATS_SERVER, "-c", config, "-a", "127.0.0.1", "-p", self.port, "-m", self.monitoring_port]
        if jetstream:
            self._command += ["-js", "-sd", folder / "jetstream"]
        self.start()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it; it listens when this returns."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(list(map(str, self._command)), stdout=log, stderr=log)
        until(self._listens)

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """End it; it has ended when this returns."""
        self.process.send_signal(signum)
        self.process.wait(10)

    def ask(self, path: str) -> dict[str, Any]:
        """What its monitoring port tells."""
        with urlopen(f"http://127.0.0.1:{self.monitoring_port}/{path}", timeout=5) as answer:
            told: dict[str, Any] = json.load(answer)
        return told

    def backlog(self) -> int:
        """Submissions in the stream."""
        (account,) = self.ask("jsz?streams=1")["account_details"]
        return sum(stream["state"]["messages"] for stream in account["stream_detail"])

    def _listens(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Fleet:
    """All that it started is stopped at its end, and must not have logged a fault of its own."""

    def __init__(self, folder: Path, nats: Nats) -> None:
        self.nats = nats
        self.gateways: list[Server] = []
        self.nodes: list[Server] = []
        self.members: list[Server] = []  # all that were started, ready or not
        self._folder = folder
        self._stack = ExitStack()
        self._started = 0

    @property
    def gateway(self) -> Server:
        return self.gateways[0]

    def start(self, gateways: int = 1, nodes: int = 2, **env: object) -> "Fleet":
        """Start more of them, all at once; they are ready when this returns."""
        roles = ["gateway"] * gateways + ["node"] * nodes
        numbers = range(self._started, self._started + len(roles))
        self._started += len(roles)
        with ThreadPoolExecutor(len(roles)) as starters:
            members = list(starters.map(lambda role, number: self._member(role, number, env), roles, numbers))
        self.gateways += members[:gateways]
        self.nodes += members[gateways:]
        self.wait_ready()
        return self

    def wait_ready(self) -> None:
        """Wait until every node that lives is known to every gateway that lives, and has warm workers."""
        nodes, gateways = self.living(self.nodes), self.living(self.gateways)
        until(lambda: all(_is_warm(node) for node in nodes), 30)
        until(lambda: all(gateway.health()["nodes"] == len(nodes) for gateway in gateways), 30)

    def living(self, members: list[Server]) -> list[Server]:
        """Those whose process has not ended."""
        return [member for member in members if member.process.poll() is None]

    def session_on(self, node: Server, gateway: Server | None = None) -> str:
        """The id of a new session on that node; those that came to others are closed again."""
        gateway = gateway or self.gateway
        elsewhere = []
        while True:
            answer = gateway.execute("import os\nos.getpid()")
            assert answer["error"] is None, answer
            if is_of(node, int(answer["result"])):
                break
            elsewhere.append(answer["id"])
        for id in elsewhere:
            gateway.close(id)
        return str(answer["id"])

    def stop(self) -> None:
        """Stop all."""
        for member in self.living(self.members):
            member.process.terminate()
        self._stack.close()

    def _member(self, role: str, number: int, env: dict[str, object]) -> Server:
        log = self._folder / f"{number}-{role}.log"
        member = self._stack.enter_context(running(log, **PLAIN | {"ROLE": role, "NATS_URL": self.nats.url} | env))
        self.members.append(member)
        return member


def is_of(node: Server, pid: int) -> bool:
    """Whether that process is the node's."""
    try:
        return node.process.pid in (parent.pid for parent in psutil.Process(pid).parents())
    except psutil.NoSuchProcess:
        return False


def refusal(answer: requests.Response, status: int) -> str:
    """The sentence of an answer that must be of that status, and say when to come again."""
    assert answer.status_code == status, answer.text
    assert int(answer.headers["Retry-After"]) >= 1
    sentence: str = answer.json()["error"]
    assert " " in sentence
    return sentence


def ask(server: Server, path: str, **body: Any) -> HTTPConnection:
    """POST on a connection of its own, whose answer is not waited for."""
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    return connection


def post(server: Server, path: str, **body: Any) -> requests.Response:
    """POST on a connection of its own, which threads need; the answer."""
    return requests.post(f"{server.url}{path}", json=body, timeout=60)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _is_warm(node: Server) -> bool:
    return bool(node.health()["sessions"]["warm"])
