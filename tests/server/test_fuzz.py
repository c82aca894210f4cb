"""Schemathesis against a live server: whatever is sent, it answers as /openapi.json says."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig

from server import openapi
from server.settings import Settings
from tests.conftest import Server

CONFIG = {
    "seed": 1,
    "generation": {"max-examples": 100, "deterministic": True, "database": "none"},
    "cache": {"enabled": False},
}
API = schemathesis.openapi.from_dict(
    openapi.document(Settings(_env_file=None, max_timeout_seconds=1.0, run_max_timeout_seconds=1)),
    config=SchemathesisConfig.from_dict(CONFIG),
)


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Generated code that happens to be a program ends soon, and costs a worker without libraries."""
    server = Server(
        tmp_path_factory.mktemp("fuzz") / "server.log",
        MAX_SESSIONS=5,
        POOL_SIZE=2,
        SESSION_LIBRARIES="plain",
        TIMEOUT_SECONDS=0.5,
        MAX_TIMEOUT_SECONDS=1,
        RUN_TIMEOUT_SECONDS=1,
        RUN_MAX_TIMEOUT_SECONDS=1,
    ).wait_ready("plain")
    yield server
    assert server.stop() == 0
    log = server.log.read_text()
    assert "Traceback" not in log, log


def close(server: Server, id: str) -> None:
    server.http.delete(f"{server.url}/sessions/{id}", timeout=10)


def test_the_document_that_is_fuzzed_is_the_one_that_is_served(small_server: Server) -> None:
    assert small_server.http.get(f"{small_server.url}/openapi.json", timeout=10).json() == API.raw_schema


@API.parametrize()
def test_every_answer_is_as_documented(case: schemathesis.Case[Any], small_server: Server) -> None:
    """No 5xx, documented statuses, headers and bodies; what the schema allows is taken, what it forbids is refused."""
    response = case.call(base_url=small_server.url, timeout=10)
    opened = response.json().get("id") if case.path == "/execute" and response.status_code == 200 else None
    if opened is not None:
        close(small_server, opened)  # so that the next code runs too, rather than finding all sessions open
    case.validate_response(response)


def test_what_an_execution_opens_can_be_asked_for_until_it_is_closed(small_server: Server) -> None:
    """Walks along the links of the document, from answers to the sessions that they name."""
    met: Counter[tuple[str, int]] = Counter()
    opened: list[str] = []

    class Walk(API.as_state_machine()):  # type: ignore[misc]
        def get_call_kwargs(self, case: schemathesis.Case[Any]) -> dict[str, Any]:
            return {"base_url": small_server.url, "timeout": 10}

        def after_call(self, response: schemathesis.Response, case: schemathesis.Case[Any]) -> None:
            met[case.operation.definition.raw["operationId"], response.status_code] += 1
            if case.path == "/execute" and response.status_code == 200 and response.json()["id"]:
                opened.append(response.json()["id"])

        def teardown(self) -> None:
            for id in opened:
                close(small_server, id)
            opened.clear()
            super().teardown()

    Walk.run(
        settings=hypothesis.settings(
            max_examples=40,
            stateful_step_count=8,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
    )
    reached = {("execute", 200), ("showSession", 200), ("interruptSession", 202), ("closeSession", 204)}
    assert reached <= met.keys(), met
    assert ("showSession", 404) in met, "none was asked for after its end"
