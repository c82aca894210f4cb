"""A gateway and its nodes as real processes, with a nats-server of their own."""

import shutil
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from bench.servers import PyRunner, health, until

_UP_S = 10.0


class NoNats(Exception):
    """nats-server is not installed. Its text says so."""


class Cluster:
    """A context manager. `gateway` is ready when all `nodes` are."""

    def __init__(self, scratch: Path, nodes: int) -> None:
        """Raises NoNats."""
        program = shutil.which("nats-server")
        if program is None:
            raise NoNats("nats-server is not installed")
        scratch.mkdir()
        with ExitStack() as stack:
            port = _free_port()
            command = [program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(scratch), "-l", f"{scratch}/log"]
            nats = subprocess.Popen(command)
            self.nats_pid = nats.pid
            stack.callback(nats.wait)
            stack.callback(nats.terminate)
            until(lambda: _listens(port), "nats-server", _UP_S)
            url = self.nats_url = f"nats://127.0.0.1:{port}"
            self.nodes: list[PyRunner] = []
            for number in range(nodes):
                (folder := scratch / f"node{number}").mkdir()
                self.nodes.append(stack.enter_context(PyRunner(folder, ROLE="node", NATS_URL=url)))
            (folder := scratch / "gateway").mkdir()
            self.gateway = stack.enter_context(PyRunner(folder, ROLE="gateway", NATS_URL=url))
            with self.gateway.connect() as http:
                until(lambda: health(http)["nodes"] == nodes, "all nodes", _UP_S)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        time.sleep(0.02)
        return False
