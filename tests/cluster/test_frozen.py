"""What does not answer, and what is not there any more, though nothing was killed."""

import asyncio
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import nats as nats_client
import pytest
import requests

from cluster import subjects
from tests.cluster.fleet import Fleet, Nats, post, refusal
from tests.conftest import until

Start = Callable[..., Fleet]
ADD = {"code": "int add(int a, int b) { return a + b; }", "tests": "assert(add(1, 2) == 3);", "valgrind": False}


def test_a_frozen_node_costs_others_time_and_no_answer(start: Start) -> None:
    fleet = start()
    frozen = fleet.nodes[0].process
    frozen.send_signal(signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(16) as clients:
            runs = [clients.submit(post, fleet.gateway, "/run", code="print(1)") for _ in range(5)]
            executions = [clients.submit(post, fleet.gateway, "/execute", code="1") for _ in range(5)]
            assert {answer.result(60).json().get("stdout") for answer in runs} == {"1\n"}
            assert {answer.result(60).json().get("result") for answer in executions} == {"1"}
    finally:
        frozen.send_signal(signal.SIGCONT)
    until(lambda: fleet.gateway.health()["nodes"] == 2)
    assert fleet.nodes[0].health()["sessions"]["open"] == 0  # what it was asked has been done elsewhere


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_who_leaves_while_nodes_are_frozen_gets_no_session(start: Start, accept: str) -> None:
    fleet = start(nodes=1)
    node, url = fleet.nodes[0], f"{fleet.gateway.url}/execute"
    node.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(requests.Timeout):
            requests.post(url, json={"code": "1"}, headers={"Accept": accept}, timeout=1.5)
        time.sleep(1)  # another try would be on its way
    finally:
        node.process.send_signal(signal.SIGCONT)
    assert fleet.gateway.execute("1")["result"] == "1"
    assert node.health()["sessions"]["open"] == 1


def test_a_queue_that_was_deleted_is_made_again(start: Start, nats: Nats) -> None:
    fleet = start(nodes=1)

    async def delete() -> None:
        client = await nats_client.connect(nats.url)
        await client.jetstream().delete_stream(subjects.STREAM)
        await client.close()

    asyncio.run(delete())
    assert "try again" in refusal(post(fleet.gateway, "/submit", **ADD), 503)
    assert post(fleet.gateway, "/submit", **ADD).json()["failed_tests"] == []


def test_a_submission_may_be_longer_than_a_letter(shared: Fleet) -> None:
    answer = post(shared.gateway, "/submit", **ADD | {"code": f"{ADD['code']} // {'é' * 400_000}"})
    assert answer.status_code == 200
    assert answer.json()["failed_tests"] == []


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_an_empty_id_opens_no_session(shared: Fleet, accept: str) -> None:
    before = shared.gateway.health()["sessions"]["open"]
    url, body = f"{shared.gateway.url}/execute", {"code": "1", "id": ""}
    answer = requests.post(url, json=body, headers={"Accept": accept}, timeout=10)
    assert "session not found" in answer.text
    assert shared.gateway.health()["sessions"]["open"] == before
