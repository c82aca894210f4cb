"""The connection to NATS, when what is at its other end does not behave."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import nats.errors as nats_errors
import pytest
import requests
from nats.aio.client import Client
from nats.aio.msg import Msg

from cluster.connection import Connection
from tests.cluster.fleet import Fleet, Nats, post, refusal
from tests.conftest import until

Start = Callable[..., Fleet]


async def _use(client: object) -> None:
    """A connection that nobody has a use for."""


@pytest.mark.parametrize(
    "says", [b"", b"x" * 100_000, b"INFO nonsense\r\n", b"INFO {}\r\n-ERR 'maximum connections exceeded'\r\n"]
)
def test_whatever_listens_there_it_is_tried_again_and_leaves_no_socket(says: bytes) -> None:
    async def connect() -> None:
        tries = 0
        tried = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal tries
            tries += 1
            writer.write(says)
            if not says:
                writer.write_eof()
            while await reader.read(1000):  # until it is closed by who came
                pass
            writer.close()
            if tries == 4:
                tried.set()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            address = server.sockets[0].getsockname()
            before = len(os.listdir("/proc/self/fd"))
            async with Connection(f"nats://127.0.0.1:{address[1]}", _use, lambda: None) as there:
                async with asyncio.timeout(20):
                    await tried.wait()
                assert not there.is_up
                assert len(os.listdir("/proc/self/fd")) <= before + 2  # both ends of one more

    asyncio.run(connect())


def test_one_that_looks_for_nats_can_be_ended_at_any_moment() -> None:
    async def look(port: int, seconds: float) -> None:
        async with asyncio.timeout(20), Connection(f"nats://127.0.0.1:{port}", _use, lambda: None):
            await asyncio.sleep(seconds)

    async def look_often() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        await asyncio.gather(*(look(port, n / 400) for n in range(200)))

    asyncio.run(look_often())


def test_a_group_is_left_without_losing_what_was_sent_to_it(nats: Nats) -> None:
    async def join_and_leave() -> dict[str, int]:
        told = {"answered": 0, "nobody": 0, "lost": 0}
        up: asyncio.Queue[Client] = asyncio.Queue()
        async with Connection(nats.url, up.put, lambda: None), Connection(nats.url, up.put, lambda: None):
            asking, answering = await up.get(), await up.get()

            async def answer(message: Msg) -> None:
                await answering.publish(message.reply, b"here")

            async def ask() -> None:
                try:
                    await asking.request("pyrunner.sessions", b"?", 1)
                    told["answered"] += 1
                except nats_errors.NoRespondersError:
                    told["nobody"] += 1
                except nats_errors.TimeoutError:
                    told["lost"] += 1

            for _ in range(200):
                member = await answering.subscribe("pyrunner.sessions", "nodes", answer)
                await answering.flush()
                async with asyncio.TaskGroup() as asked:
                    for _ in range(10):
                        asked.create_task(ask())
                        await asyncio.sleep(0)
                    asked.create_task(member.drain())
                    for _ in range(10):
                        asked.create_task(ask())
                        await asyncio.sleep(0)
        return told

    told = asyncio.run(join_and_leave())
    assert told["answered"] and told["nobody"]
    assert not told["lost"]


def test_who_sends_much_to_a_nats_server_that_is_frozen_is_refused(start: Start, nats: Nats) -> None:
    fleet = start(nodes=1)
    ids = [fleet.gateway.execute("0")["id"] for _ in range(8)]
    nats.process.send_signal(signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(40) as clients:  # more than the sockets in between hold
            code = "#" * 900_000
            asked = [clients.submit(post, fleet.gateway, "/execute", code=code, id=ids[n % 8]) for n in range(40)]
            for answer in asked:
                refusal(answer.result(30), 503)
        until(lambda: requests.get(f"{fleet.gateway.url}/readyz", timeout=5).status_code == 503)
    finally:
        nats.process.send_signal(signal.SIGCONT)
    until(lambda: requests.get(f"{fleet.gateway.url}/readyz", timeout=5).status_code == 200)
    fleet.wait_ready()
    assert fleet.gateway.execute("1 + 1", ids[0])["result"] == "2"
