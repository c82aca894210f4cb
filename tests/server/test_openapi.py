"""The OpenAPI document: it is valid, it is complete, and what it shows runs and answers as it says."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any

import pytest
import requests
import schemathesis
from schemathesis.schemas import BaseSchema
from starlette.applications import Starlette
from starlette.routing import Route

from server import openapi
from server.app import create_app
from server.body import MOST_BYTES
from server.gate import needs_key
from server.keys import new_key
from server.settings import Settings
from sessions.session import MOST_WAITING
from tests.conftest import Server, running, until

DOCUMENT = openapi.document(Settings(_env_file=None))
TOKEN, KEY_ENTRY = new_key("ada")


def examples(path: str) -> dict[str, Any]:
    content = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]
    shown: dict[str, Any] = content["application/json"]["examples"]
    return shown


EXAMPLES, RUN_EXAMPLES, SUBMIT_EXAMPLES = examples("/execute"), examples("/run"), examples("/submit")
# Of each: whether it is built, compiled and runs; tests that fail; findings about its memory.
SUBMIT_ANSWERS: dict[str, tuple[tuple[bool, bool, bool], list[int], set[str]]] = {
    "add": ((True, True, True), [2], set()),
    "memory": ((True, True, True), [], {"InvalidWrite", "Leak_DefinitelyLost"}),
    "hang": ((True, True, False), [2], set()),
    "list": ((False, False, False), [], set()),
    "error": ((True, False, False), [], set()),
    "sanitizer": ((True, True, False), [1], {"stack-buffer-overflow"}),
}

# What each example must answer. Of the keys that are not named, `error` is null.
ANSWERS: dict[str, dict[str, Any]] = {
    "hello": {"stdout": "Hello\n", "stderr": None, "result": "42"},
    "step": {"stdout": None, "stderr": None, "result": "6.5"},
    "stdin": {"stdout": "Who? Hello, Ada\n", "stderr": None, "result": None},
    "exception": {
        "stdout": "before\n",
        "stderr": 'Traceback (most recent call last):\n  File "<stdin>", line 2, in <module>\n'
        "ZeroDivisionError: division by zero\n",
    },
    "numpy": {"stdout": None, "stderr": None, "result": "array([2., 3.])"},
    "endless": {"error": "execution timeout", "state": "kept"},
}
# The same of POST /run. Of the keys that are not named, `status` is success, and `stderr` and `error` are empty.
RUN_ANSWERS: dict[str, dict[str, Any]] = {
    "hello": {"stdout": "Hello, World!\n"},
    "table": {"stdout": "      sold\ncity      \nOslo     5\nRome     7\nMean: 4.0\n"},
    "symbols": {"stdout": "Solutions: [1, 3]\nDerivative: 3*x**2 - 4*x + 1\n"},
    "violation": {
        "status": "error",
        "stdout": "",
        "stderr": "line 1, column 8: import of 'os' is not allowed\n",
        "error": "Security violation: import of 'os' is not allowed (line 1)",
    },
    "endless": {"status": "timeout", "stdout": "before\n", "error": "Time limit of 1 s exceeded"},
}


@pytest.fixture(scope="module")
def schema(server: Server) -> BaseSchema:
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json", wait_for_schema=10)


def conforms(schema: BaseSchema, path: str, answer: requests.Response) -> None:
    """Raises where status, headers, content type or body are not as the document says."""
    method = answer.request.method
    assert method is not None
    operation = schema[path][method]
    assert str(answer.status_code) in operation.definition.raw["responses"]
    operation.validate_response(answer)


def test_the_document_is_valid_openapi_3_1(schema: BaseSchema) -> None:
    assert schema.raw_schema["openapi"] == "3.1.0"
    schema.validate()


def test_the_document_comes_as_json_that_a_cache_must_check(server: Server) -> None:
    answer = server.http.get(f"{server.url}/openapi.json", timeout=10)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-cache"


def test_each_route_is_in_the_document_and_nothing_else_is() -> None:
    app = create_app(Settings(_env_file=None))  # type: ignore[call-arg]
    while not isinstance(app, Starlette):  # unwrap the middleware
        app = app._app  # type: ignore[attr-defined]
    routes = {
        (method.lower(), route.path)
        for route in app.routes
        if isinstance(route, Route) and route.path not in ("/docs", "/notebook", "/openapi.json")
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert routes == {(operation.method, operation.path) for operation in openapi.OPERATIONS}


def test_the_document_knows_the_highest_timeout_of_its_server(start_server: Callable[..., Server]) -> None:
    server = start_server(MAX_TIMEOUT_SECONDS=7, POOL_SIZE=1, SESSION_LIBRARIES="plain").wait_ready("plain")
    document = server.http.get(f"{server.url}/openapi.json", timeout=10).json()
    timeout = document["components"]["schemas"]["ExecuteRequest"]["properties"]["timeout"]["anyOf"][0]
    assert timeout["maximum"] == 7
    assert server.execute("1", timeout=7)["result"] == "1"
    too_long = server.http.post(f"{server.url}/execute", json={"code": "1", "timeout": 7.1}, timeout=10)
    assert too_long.status_code == 422


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a key that is used up at its second request for work."""
    log = tmp_path_factory.mktemp("keyed") / "server.log"
    with running(log, API_KEYS=f"{KEY_ENTRY}:requests=1", POOL_SIZE=1, SESSION_LIBRARIES="plain") as server:
        yield server.wait_ready("plain")


def test_keys_are_in_the_document_where_there_are_some(keyed: Server) -> None:
    assert "securitySchemes" not in DOCUMENT["components"] and "security" not in json.dumps(DOCUMENT)
    schema = schemathesis.openapi.from_url(f"{keyed.url}/openapi.json", wait_for_schema=10)
    schema.validate()
    assert schema.raw_schema["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    without = {
        path
        for path, methods in schema.raw_schema["paths"].items()
        for operation in methods.values()
        if "security" not in operation
    }
    assert "/" in without and not {path for path in without if needs_key(path)}


def test_the_answers_about_keys_conform(keyed: Server) -> None:
    schema = schemathesis.openapi.from_url(f"{keyed.url}/openapi.json", wait_for_schema=10)
    bodies: dict[str, dict[str, Any]] = {"/execute": {"code": "1"}, "/run": {"code": "1"}, "/submit": {"code": "1"}}
    bodies |= {f"/sessions/{{id}}/{what}": {"text": "x"} for what in ("complete", "inspect")}
    expected = [200]
    for path, body in bodies.items():
        url = keyed.url + path.replace("{id}", "an-id")
        missing = requests.post(url, json=body, timeout=10)
        answer = requests.post(url, json=body, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10)
        for one in (missing, answer):
            conforms(schema, path, one)
        assert (missing.status_code, answer.status_code) == (401, expected.pop() if expected else 429)
    for path in ("/sessions", "/sessions/{id}"):
        conforms(schema, path, requests.get(keyed.url + path.replace("{id}", "an-id"), timeout=10))


def test_the_first_example_is_the_one_that_is_run_without_a_choice() -> None:
    assert next(iter(EXAMPLES)) == next(iter(RUN_EXAMPLES)) == "hello"
    assert not any("id" in example["value"] for example in EXAMPLES.values())
    assert ANSWERS.keys() == EXAMPLES.keys()
    assert RUN_ANSWERS.keys() == RUN_EXAMPLES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_example_runs_and_answers_as_expected(server: Server, schema: BaseSchema, name: str) -> None:
    response = server.http.post(f"{server.url}/execute", json=EXAMPLES[name]["value"], timeout=30)
    answer = response.json()
    server.http.delete(f"{server.url}/sessions/{answer['id']}", timeout=10)
    conforms(schema, "/execute", response)
    expected = {"error": None, "state": "kept"} | ANSWERS[name]
    assert {key: answer[key] for key in expected} == expected


def test_the_answer_that_is_shown_is_the_first_example_s(session: Callable[..., dict[str, Any]]) -> None:
    (shown,) = DOCUMENT["components"]["schemas"]["ExecuteAnswer"]["examples"]
    answer = session(**EXAMPLES["hello"]["value"])
    measured = {key: answer[key] for key in ("id", "execution_time", "memory_used")}
    assert list(shown) == list(answer), "in the same order too"
    assert shown | measured == answer


def test_the_events_that_are_shown_are_the_first_example_s(server: Server, schema: BaseSchema) -> None:
    request = EXAMPLES["hello"]["value"]
    response = server.http.post(
        f"{server.url}/execute", json=request, headers={"Accept": "text/event-stream"}, timeout=10
    )
    documented = schema.raw_schema["paths"]["/execute"]["post"]["responses"]["200"]["content"]
    assert list(documented) == ["application/json", "text/event-stream"], "the first is the one of a visitor's choice"
    assert response.headers["content-type"].partition(";")[0] in documented
    shown, sent = documented["text/event-stream"]["example"], response.text
    id = sent.partition('{"id": "')[2].partition('"')[0]
    server.http.delete(f"{server.url}/sessions/{id}", timeout=10)
    figures = re.compile(r'"(id|execution_time|memory_used)": [^,}]+')
    assert figures.sub("", sent) == figures.sub("", shown)


@pytest.mark.parametrize("name", RUN_EXAMPLES)
def test_each_example_of_a_run_answers_as_expected(server: Server, schema: BaseSchema, name: str) -> None:
    response = server.http.post(f"{server.url}/run", json=RUN_EXAMPLES[name]["value"], timeout=30)
    conforms(schema, "/run", response)
    answer = response.json()
    expected = {"status": "success", "stderr": "", "error": None, "truncated": False} | RUN_ANSWERS[name]
    assert {key: answer[key] for key in expected} == expected


def test_the_answer_of_a_run_that_is_shown_is_the_first_example_s(server: Server) -> None:
    (shown,) = DOCUMENT["components"]["schemas"]["RunAnswer"]["examples"]
    answer = server.run(**RUN_EXAMPLES["hello"]["value"])
    measured = {key: answer[key] for key in ("execution_time", "memory_used")}
    assert list(shown) == list(answer), "in the same order too"
    assert shown | measured == answer


def test_the_step_example_can_be_gone_on_with(session: Callable[..., dict[str, Any]]) -> None:
    session(**EXAMPLES["step"]["value"])
    assert session("total(*prices)")["result"] == "6.5"


def test_the_answers_of_a_session_conform_from_its_opening_to_its_end(server: Server, schema: BaseSchema) -> None:
    url, http = server.url, server.http
    opened = http.post(f"{url}/execute", json={"code": "1"}, timeout=10)
    id = opened.json()["id"]
    requested = [
        ("/execute", opened),
        ("/", http.get(url, timeout=10)),
        ("/sessions", http.get(f"{url}/sessions", timeout=10)),
        ("/sessions/{id}", http.get(f"{url}/sessions/{id}", timeout=10)),
        ("/sessions/{id}/interrupt", http.post(f"{url}/sessions/{id}/interrupt", timeout=10)),
        ("/sessions/{id}", http.delete(f"{url}/sessions/{id}", timeout=10)),
        ("/sessions/{id}", http.get(f"{url}/sessions/{id}", timeout=10)),
        ("/sessions/{id}", http.delete(f"{url}/sessions/{id}", timeout=10)),
        ("/sessions/{id}/interrupt", http.post(f"{url}/sessions/{id}/interrupt", timeout=10)),
        ("/execute", http.post(f"{url}/execute", json={"code": "1", "id": id}, timeout=10)),
    ]
    for path, answer in requested:
        conforms(schema, path, answer)
    assert [answer.status_code for _, answer in requested] == [200, 200, 200, 200, 202, 204, 404, 404, 404, 200]
    assert requested[-1][1].json()["error"] == "session not found"


def test_the_answers_of_a_full_server_and_of_a_full_queue_conform(
    start_server: Callable[..., Server], schema: BaseSchema
) -> None:
    server = start_server(MAX_SESSIONS=1, POOL_SIZE=1, SESSION_LIBRARIES="plain").wait_ready("plain")

    def execute(code: str, **fields: Any) -> requests.Response:
        return requests.post(f"{server.url}/execute", json={"code": code, **fields}, timeout=60)

    id = execute("import time").json()["id"]
    refused = execute("1")
    conforms(schema, "/execute", refused)
    assert (refused.json()["error"], refused.json()["id"]) == ("max sessions reached", None)

    session = f"{server.url}/sessions/{id}"
    with ThreadPoolExecutor(2 + MOST_WAITING) as pool:
        running = pool.submit(execute, "time.sleep(30)", id=id, timeout=30)
        until(lambda: requests.get(session, timeout=10).json()["state"] == "busy")
        others = [pool.submit(execute, "1", id=id) for _ in range(MOST_WAITING + 1)]
        wait(others, return_when=FIRST_COMPLETED)  # the one that finds no place
        requests.post(f"{session}/interrupt", timeout=10)
        answers = [future.result() for future in (running, *others)]
    for answer in answers:
        conforms(schema, "/execute", answer)
    assert answers[0].json()["error"] == "execution interrupted"
    assert Counter(answer.status_code for answer in answers) == {200: 1 + MOST_WAITING, 429: 1}


def test_the_answers_of_runs_and_of_their_full_queue_conform(
    start_server: Callable[..., Server], schema: BaseSchema
) -> None:
    server = start_server(
        RUN_CONCURRENCY=1, RUN_QUEUE_SIZE=0, RUN_TIMEOUT_SECONDS=1, POOL_SIZE=1, SESSION_LIBRARIES="plain"
    ).wait_ready("plain")

    def run(code: str) -> requests.Response:
        answer = requests.post(f"{server.url}/run", json={"code": code}, timeout=60)
        conforms(schema, "/run", answer)
        return answer

    ends = ("1", "1 / 0", "1 ===", "import os", "x = bytearray(2**30)", "import io\nio.IOBase.fileno(5)")
    assert [run(code).json()["status"] for code in ends] == ["success", *["error"] * 3, "memory_exceeded", "error"]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, "while True: pass")
        until(lambda: requests.get(server.url, timeout=10).json()["runs"]["active"] == 1)
        assert run("1").status_code == 429
        assert running.result().json()["status"] == "timeout"


@pytest.mark.parametrize("path", ["/execute", "/run"])
@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"code": ', "application/json"),
        (413, b'{"code": "' + b"1" * MOST_BYTES + b'"}', "application/json"),
        (415, b"code=1", "application/x-www-form-urlencoded"),
        (422, b"{}", "application/json"),
        (422, b'{"code": "1", "session_id": "a"}', "application/json"),
        (422, b'{"code": "1", "timeout": "2"}', "application/json"),
        (422, b'{"code": "1", "timeout": true}', "application/json"),
        (422, b'["code"]', "application/json"),
    ],
)
def test_the_refusals_of_a_body_conform(
    server: Server, schema: BaseSchema, path: str, status: int, body: bytes, kind: str
) -> None:
    headers = {"Content-Type": kind}
    answer = requests.post(server.url + path, data=body, headers=headers, timeout=30)
    assert answer.status_code == status
    conforms(schema, path, answer)


PAGES = ["docs", "notebook"]
NO_ASSETS = ["", "nothing.js", "..%2fvendor-swagger-ui.sh"]


@pytest.mark.parametrize("path", PAGES)
def test_each_page_asks_only_for_what_is_served_here(server: Server, path: str) -> None:
    page = server.http.get(f"{server.url}/{path}", timeout=10)
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert len(addresses) >= 4
    for address in addresses:
        assert not re.match(r"[a-z]+:|/", address), "relative, so that a proxy may serve it all under a prefix"
        answer = server.http.get(f"{server.url}/{address}", timeout=10)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-cache"
        if address not in ("openapi.json", "docs"):
            again = server.http.get(answer.url, headers={"If-None-Match": answer.headers["etag"]}, timeout=10)
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", PAGES)
def test_each_page_may_run_only_the_scripts_served_here(server: Server, path: str) -> None:
    page = server.http.get(f"{server.url}/{path}", timeout=10)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(rule.split(" ", 1) for rule in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in page.headers["content-security-policy"]
    assert not re.search(r"<script>|<style|\son\w+=|\sstyle=", page.text), "nothing inline"


def test_the_notebook_lets_only_its_own_scripts_make_styles(server: Server) -> None:
    pages = [server.http.get(f"{server.url}/notebook", timeout=10) for _ in range(2)]
    policies = [re.search(r"style-src 'self' 'nonce-([\w-]{24})'", p.headers["content-security-policy"]) for p in pages]
    for page, policy in zip(pages, policies, strict=True):
        assert policy is not None and f'data-style-nonce="{policy[1]}"' in page.text
        assert page.headers["cache-control"] == "no-store"
    assert pages[0].text != pages[1].text, "a nonce is used once"


@pytest.mark.parametrize("path", [f"{page}/assets/{name}" for page in PAGES for name in NO_ASSETS])
def test_nothing_but_the_assets_is_served(server: Server, path: str) -> None:
    answer = server.http.get(f"{server.url}/{path}", timeout=10)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]


@pytest.mark.skipif(not (shutil.which("gcc") and shutil.which("valgrind")), reason="gcc and valgrind are not installed")
@pytest.mark.parametrize("name", SUBMIT_EXAMPLES)
def test_each_example_of_a_submission_answers_as_expected(server: Server, schema: BaseSchema, name: str) -> None:
    response = server.http.post(f"{server.url}/submit", json=SUBMIT_EXAMPLES[name]["value"], timeout=60)
    conforms(schema, "/submit", response)
    answer = response.json()
    told = (answer["build"], answer["compile"], answer["run"])
    found = {finding["kind"] for finding in answer["memory"]}
    assert (told, answer["failed_tests"], found) == SUBMIT_ANSWERS[name]
