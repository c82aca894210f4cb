"""After much work through a gateway nothing of it is left."""

import asyncio
import shutil
from concurrent.futures import ThreadPoolExecutor

import nats
import psutil
import requests

from tests.cluster.conftest import Start
from tests.cluster.fleet import Fleet, ask, post
from tests.conftest import Server, until
from tests.events import Events

CLIENTS, EXECUTIONS = 8, 200


def subscriptions(fleet: Fleet) -> dict[str, int]:
    """How many each gateway and node has."""
    connections = fleet.nats.ask("connz?subs=1")["connections"]
    return {connection["cid"]: len(connection.get("subscriptions_list", [])) for connection in connections}


def descriptors(fleet: Fleet) -> dict[int, int]:
    return {member.process.pid: psutil.Process(member.process.pid).num_fds() for member in fleet.members}


def conversations(fleet: Fleet) -> int:
    """How many of the conversations that there ever were still answer: every one has a number of its own."""

    async def count() -> int:
        client = await nats.connect(fleet.nats.url)
        alive = 0
        inbox = client.new_inbox()
        heard = await client.subscribe(inbox)
        ends = [
            subscription
            for connection in fleet.nats.ask("connz?subs=1")["connections"]
            for subscription in connection.get("subscriptions_list", [])
            if subscription.startswith("pyrunner.at.")
        ]
        assert len(ends) == len(fleet.members)
        for end in ends:
            for number in range(1, 5000):
                await client.publish(end.replace("*", str(number)), b"p", inbox)
                if number % 500 == 0:
                    for _ in range(500):
                        alive += (await heard.next_msg(5)).data == b"q"
        await client.close()
        return alive

    return asyncio.run(count())


def work(gateway: Server, number: int) -> None:
    """One client: sessions of its own that come and go, with what else there is in between."""
    with requests.Session() as http:
        id, n = None, 0
        for turn in range(EXECUTIONS):
            if id is None:
                id, n = http.post(f"{gateway.url}/execute", json={"code": "n = 0"}, timeout=30).json()["id"], 0
                assert id is not None
            answer = http.post(f"{gateway.url}/execute", json={"code": "n += 1\nn", "id": id}, timeout=30).json()
            n += 1
            assert (answer["error"], answer["result"]) == (None, str(n))
            match (turn + number) % 20:
                case 5:
                    with Events(gateway, "print(1)", id) as events:
                        assert events.rest()[-1].data["stdout"] == "1\n"
                case 10:
                    ran = http.post(f"{gateway.url}/run", json={"code": "print(1)"}, timeout=60)
                    assert ran.json()["stdout"] == "1\n", ran.text
                case 15:
                    assert http.get(f"{gateway.url}/sessions/{id}", timeout=10).json()["id"] == id
                    with Events(gateway, "while True: pass", id) as events:
                        events.leave()
                    ask(gateway, "/run", code="while True: pass").close()
                case 19:
                    assert http.delete(f"{gateway.url}/sessions/{id}", timeout=10).status_code == 204
                    id = None
        if id is not None:
            http.delete(f"{gateway.url}/sessions/{id}", timeout=10)


def is_idle(node: Server) -> bool:
    health = node.health()
    return not (health["sessions"]["open"] or health["runs"]["active"] or health["submissions"]["active"])


def test_nothing_is_left_of_much_work(start: Start) -> None:
    fleet = start(nodes=2, MAX_SESSIONS=20)
    work(fleet.gateway, 0)  # so that all that is kept is there
    if shutil.which("gcc"):
        post(fleet.gateway, "/submit", code="int f(void) { return 1; }", tests="assert(f());")

    def settle() -> None:
        until(lambda: all(is_idle(node) for node in fleet.nodes))
        fleet.wait_ready()
        for member in fleet.members:
            member.http.close()

    settle()
    subscribed, open_before = subscriptions(fleet), descriptors(fleet)
    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(lambda number: work(fleet.gateway, number), range(CLIENTS)))
    settle()
    until(lambda: subscriptions(fleet) == subscribed)
    until(lambda: all(now <= open_before[pid] + 3 for pid, now in descriptors(fleet).items()))
    assert conversations(fleet) == 0
