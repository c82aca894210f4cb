"""No execution is run twice, whoever is killed while thousands are asked for."""

import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import requests

from tests.cluster.conftest import Start
from tests.cluster.fleet import Fleet
from tests.conftest import Server, until

CLIENTS = 4


@dataclass
class Tally:
    """What one client asked of its own session, and how it was answered."""

    id: str
    sent: int = 0
    counted: int = 0  # answers that said so
    last: int = 0  # what the last of them told
    lost: bool = False
    twice: str = ""

    def count(self, gateways: list[Server], stop: threading.Event, pause: threading.Event) -> None:
        """Add one in the session, again and again, at the one gateway or the other."""
        with requests.Session() as http:
            while not stop.is_set() and not self.lost:
                gateway = gateways[self.sent % len(gateways)]
                self.sent += 1
                try:
                    answer = http.post(f"{gateway.url}/execute", json={"code": "n += 1\nn", "id": self.id}, timeout=30)
                except requests.ConnectionError:  # the gateway was killed: it was counted, or not
                    pause.wait(0.02)
                    continue
                self._take(answer)
                if answer.status_code != 200:
                    pause.wait(0.02)

    def _take(self, answer: requests.Response) -> None:
        if answer.status_code == 503:
            return
        assert answer.status_code == 200, answer.text
        told = answer.json()
        if told["error"] in ("session not found", "session crashed"):
            self.lost = True
        elif told["error"] is None:
            number = int(told["result"])
            self.counted += 1
            if not self.last < number <= self.sent:
                self.twice = f"{number} after {self.last}, of {self.sent} sent"
            self.last = number
        else:
            assert told["error"] == "execution interrupted", told


def kill_a_node(fleet: Fleet) -> None:
    fleet.nodes[0].stop(signal.SIGKILL)


def kill_a_gateway(fleet: Fleet) -> None:
    fleet.gateways[0].stop(signal.SIGKILL)


def kill_nats_twice(fleet: Fleet) -> None:
    for _ in range(2):
        fleet.nats.kill()
        fleet.nats.start()
        fleet.wait_ready()


def stop_a_node(fleet: Fleet) -> None:
    assert fleet.nodes[0].stop() == 0


@pytest.mark.parametrize("disturb", [kill_a_node, kill_a_gateway, kill_nats_twice, stop_a_node])
def test_nothing_is_counted_twice_and_what_was_answered_is_counted(
    start: Start, disturb: Callable[[Fleet], None]
) -> None:
    fleet = start(gateways=2, nodes=2)
    ids = [fleet.session_on(node) for node in fleet.nodes for _ in range(CLIENTS // 2)]
    for id in ids:
        fleet.gateway.execute("n = 0", id)
    tallies = [Tally(id) for id in ids]
    stop, pause = threading.Event(), threading.Event()

    def counted(least: int) -> bool:
        assert not any(client.done() and client.exception() for client in clients)
        return all(tally.counted >= least or tally.lost for tally in tallies)

    with ThreadPoolExecutor(CLIENTS) as threads:
        clients = [threads.submit(tally.count, fleet.gateways, stop, pause) for tally in tallies]
        try:
            until(lambda: counted(200), 30)
            disturb(fleet)
            least = min(tally.counted for tally in tallies if not tally.lost)
            until(lambda: counted(least + 100), 30)
        finally:
            stop.set()
        for client in clients:
            client.result()
    expected = CLIENTS // 2 if disturb in (kill_a_node, stop_a_node) else 0
    assert sum(tally.lost for tally in tallies) == expected, "nobody is told that a session is lost which is there"
    lost = 0
    living = fleet.living(fleet.gateways)[0]
    for tally in tallies:
        assert tally.twice == ""
        told = living.execute("n", tally.id)
        if told["error"] is None:
            assert tally.counted <= int(told["result"]) <= tally.sent
        else:
            assert told["error"] == "session not found" and tally.lost
            lost += 1
    assert lost == expected
