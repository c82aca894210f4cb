"""Whoever may write to the subjects can do no more than be refused: gateways and nodes log it, and go on."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from cluster.letters import Kind
from tests.cluster.conftest import Start
from tests.cluster.fleet import Fleet
from tests.conftest import until

SUBJECTS = ["pyrunner.sessions", "pyrunner.runs.now", "pyrunner.runs.later", "pyrunner.nodes", "pyrunner.session.{id}"]
BODIES = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b"7",
    b'"do"',
    b'{"do": 1}',
    b'{"do": "nothing"}',
    b'{"do": "execute"}',
    b'{"do": "execute", "code": 1, "stdin": 2, "wall_s": "x", "owner": {}}',
    b'{"do": "stream", "code": "1", "stdin": null, "wall_s": null, "owner": null}',
    b'{"do": "run", "code": "print(1)", "wall_s": -1, "memory_bytes": "much"}',
    b'{"do": "close"}',
    b'{"do": "list", "owner": ["x"]}',
    b'{"do": "look_up", "owner": null, "errand": "__class__", "text": 7}',
    b"\xff\xfe\x00",
    b"[" * 50_000,
    b'{"do": "execute", "request": 1, "code": "1", "stdin": null, "wall_s": "2", "owner": null}',
]


@asynccontextmanager
async def connected(fleet: Fleet) -> AsyncIterator[Client]:
    client = await nats.connect(fleet.nats.url)
    try:
        yield client
        await client.flush()
    finally:
        await client.close()


async def scatter(fleet: Fleet, subjects: list[str]) -> None:
    """Every kind of letter with every body to each, with an address for the answer, with the same one, without one."""
    kinds = [b"", b"\x00", b"Z", *(kind.value for kind in Kind)]
    async with connected(fleet) as client:
        inbox = client.new_inbox()
        heard = await client.subscribe(f"{inbox}.>")
        for subject in subjects:
            for kind in kinds:
                for number, body in enumerate(BODIES):
                    for reply in (f"{inbox}.{number}", f"{inbox}.same", ""):
                        await client.publish(subject, kind + body, reply)
            await client.flush()
        await heard.unsubscribe()


def check_all_is_well(fleet: Fleet, id: str) -> None:
    fleet.wait_ready()
    assert fleet.gateway.execute("x", id)["result"] == "1"
    assert fleet.gateway.execute("6 * 7")["result"] == "42"
    assert fleet.gateway.run("print(1)")["stdout"] == "1\n"
    until(lambda: not any(node.health()["runs"]["active"] for node in fleet.nodes))


@pytest.fixture
def fleet(start: Start) -> Fleet:
    return start(nodes=1, MAX_SESSIONS=400)


def unfaulted(fleet: Fleet) -> None:
    """What was rubbish may be in the log with its traceback; a task that nobody waited for may not."""
    for member in fleet.members:
        text = member.log.read_text()
        assert "never retrieved" not in text and "server.uncaught" not in text
        member.log.write_text(text.replace("Traceback", "Refused"))


def test_rubbish_on_every_subject(fleet: Fleet) -> None:
    id = fleet.gateway.execute("x = 1")["id"]
    asyncio.run(scatter(fleet, [subject.format(id=id) for subject in SUBJECTS[:4]]))
    check_all_is_well(fleet, id)
    unfaulted(fleet)


def test_rubbish_at_a_session_and_in_conversations(fleet: Fleet) -> None:
    id = fleet.gateway.execute("x = 1")["id"]
    ends = [
        subscription
        for connection in fleet.nats.ask("connz?subs=1")["connections"]
        for subscription in connection.get("subscriptions_list", [])
        if subscription.startswith("pyrunner.at.")
    ]
    assert len(ends) == 2
    talks = [end.replace("*", number) for end in ends for number in ("1", "2", "nobody")]
    closes = b'{"do": "close", "owner": null}'
    assert closes not in BODIES
    asyncio.run(scatter(fleet, [f"pyrunner.session.{id}", *talks]))
    check_all_is_well(fleet, id)
    unfaulted(fleet)


def test_rubbish_in_the_stream_of_submissions(fleet: Fleet) -> None:
    async def fill() -> None:
        async with connected(fleet) as client:
            for body in [
                *BODIES,
                b'{"reply": "x", "submission": {}}',
                json.dumps({"reply": "", "submission": 1}).encode(),
                json.dumps({"reply": "x\r\nPUB pyrunner.nodes 0\r\n\r\n"}).encode(),
                json.dumps({"reply": 7}).encode(),
                json.dumps({"reply": "pyrunner.at.00.1", "request": [1]}).encode(),
            ]:
                await client.publish("pyrunner.submissions", body)

    id = fleet.gateway.execute("x = 1")["id"]
    asyncio.run(fill())
    until(lambda: fleet.nats.backlog() == 0, 30)
    check_all_is_well(fleet, id)
    answer = fleet.gateway.http.post(
        f"{fleet.gateway.url}/submit", json={"code": "int f(void) { return 1; }", "tests": "assert(f());"}, timeout=30
    )
    assert answer.status_code in (200, 503)
    unfaulted(fleet)


def test_a_submission_that_makes_a_node_fail_is_refused_once(fleet: Fleet) -> None:
    async def hand_in() -> bytes:
        async with connected(fleet) as client:
            heard: asyncio.Queue[bytes] = asyncio.Queue()

            async def take(message: Msg) -> None:
                await heard.put(message.data)
                if message.data[:1] == Kind.TAKEN:
                    await client.publish(message.reply, Kind.GO_ON + b'{"code": 7}', "pyrunner.at.00.1")

            await client.subscribe("pyrunner.at.00.1", cb=take)
            await client.publish("pyrunner.submissions", json.dumps({"reply": "pyrunner.at.00.1"}).encode())
            async with asyncio.timeout(20):
                while (letter := await heard.get())[:1] != Kind.REFUSED:
                    pass
            return letter

    fleet.gateway.health()  # there is a stream
    assert asyncio.run(hand_in()) == Kind.REFUSED + b'{"kind": null}'
    until(lambda: fleet.nats.backlog() == 0)
    (node,) = fleet.nodes
    assert node.log.read_text().count("a submission could not be judged") == 1
    unfaulted(fleet)
