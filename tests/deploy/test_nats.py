"""NATS with our configuration, as the real server has it."""

import asyncio
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator

import nats
import pytest

from tests.conftest import until
from tests.deploy.manifests import DEPLOY, ENVIRONMENT, manifests

pytestmark = pytest.mark.skipif(not shutil.which("nats-server"), reason="needs nats-server")
CONFIGURATION = DEPLOY / "nats.conf"


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port: int = asked.getsockname()[1]
        return port


def check(**env: str) -> subprocess.CompletedProcess[str]:
    command = ["nats-server", "-t", "-c", str(CONFIGURATION)]
    return subprocess.run(command, env={"PATH": os.environ["PATH"]} | env, capture_output=True, text=True, timeout=20)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a server with that configuration, on ports and in a folder of its own."""
    port, folder = free_port(), tmp_path_factory.mktemp("nats")
    text, moved = re.subn('store_dir: "[^"]*"', f'store_dir: "{folder}"', CONFIGURATION.read_text())
    assert moved == 1
    (folder / "nats.conf").write_text(text)
    log = folder / "log"
    command = [
        "nats-server",
        "-c",
        str(folder / "nats.conf"),
        "-a",
        "127.0.0.1",
        "-p",
        str(port),
        "-m",
        str(free_port()),
    ]
    env = {"PATH": os.environ["PATH"]} | ENVIRONMENT
    with log.open("wb") as out:
        server = subprocess.Popen(command, env=env, stdout=out, stderr=out)
    try:
        until(lambda: "Server is ready" in log.read_text())
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)


def test_nats_accepts_its_configuration() -> None:
    assert check(**ENVIRONMENT).returncode == 0


def test_it_does_not_start_without_a_password() -> None:
    done = check()
    assert done.returncode != 0 and "NATS_PASSWORD" in done.stderr


def test_it_does_not_start_with_the_example_of_a_password() -> None:
    """Whoever applies the example as it is must not let in everybody who has read it."""
    done = check(NATS_PASSWORD=manifests()["Secret/nats"]["stringData"]["password"])
    assert done.returncode != 0 and "NATS_PASSWORD" in done.stderr


async def _look(url: str) -> tuple[int, str]:
    client = await nats.connect(url, allow_reconnect=False, max_reconnect_attempts=0)
    try:
        stream = await client.jetstream().add_stream(name="TRIED", subjects=["tried"])
        return client.max_payload, str(stream.config.storage)
    finally:
        await client.close()


def test_it_takes_large_messages_and_keeps_the_work_queue_on_disk(address: str) -> None:
    most, storage = asyncio.run(_look(f"nats://pyrunner:{ENVIRONMENT['NATS_PASSWORD']}@{address}"))
    assert most == 8 * 2**20 and storage == "file"


def test_whoever_has_no_password_is_not_let_in(address: str) -> None:
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection, connection.makefile("rb") as heard:
        assert b'"auth_required":true' in heard.readline()
        connection.sendall(b"CONNECT {}\r\nPING\r\n")
        assert heard.readline() == b"-ERR 'Authorization Violation'\r\n"
