"""The OpenAPI 3.1 document: one table of operations, and the schemas of their bodies as pydantic derives them."""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from server.gate import is_counted, needs_key
from server.models import (
    CompleteAnswer,
    ExecuteAnswer,
    ExecuteRequest,
    FieldProblems,
    Health,
    InspectAnswer,
    InterruptAnswer,
    LookUpRequest,
    Probe,
    Problem,
    RunAnswer,
    RunRequest,
    SessionInfo,
    SessionList,
    SubmitAnswer,
    SubmitRequest,
)
from server.settings import VERSION, Settings

_ABOUT = """Runs Python code and answers what it printed and what its last line gave.

`POST /execute` without an `id` opens a session. Send the `id` of its answer with the next code, and that code finds
the variables, functions and imports of the code before it. `POST /run` runs a program once, in a process of its own.
`POST /submit` compiles C code, runs it against tests, and checks its use of memory.

Whatever the code does, the status is 200: the traceback of an exception is in `stderr`, and `error` says why the
server stopped or refused an execution. Any other status comes with a sentence in `error`.

For people there is a [notebook](notebook) on top of this."""

_STEP = """\
prices = {'tea': 2.5, 'cake': 4.0}

def total(*order):
    return sum(prices[name] for name in order)

total('tea', 'cake')"""

# Each runs as it stands: none names a session, which nobody could know beforehand.
_EXECUTE_EXAMPLES: dict[str, tuple[str, dict[str, Any]]] = {
    "hello": ("Printed text, and the last line's value", {"code": "print('Hello')\n6 * 7"}),
    "step": ("A first step: code sent with its answer's id finds `prices` and `total`", {"code": _STEP}),
    "stdin": ("Input for input()", {"code": "name = input('Who? ')\nprint('Hello,', name)", "stdin": "Ada\n"}),
    "exception": ("An exception: the session survives it", {"code": "print('before')\n1 / 0"}),
    "numpy": ("Linear equations with numpy", {"code": "import numpy as np\nnp.linalg.solve([[3, 1], [1, 2]], [9, 8])"}),
    "endless": ("An endless loop: interrupted at the limit", {"code": "n = 0\nwhile True:\n    n += 1"}),
}

_TABLE = """\
import numpy as np
import pandas as pd

sales = pd.DataFrame({'city': ['Rome', 'Oslo', 'Rome'], 'sold': [3, 5, 4]})
print(sales.groupby('city').sum())
print('Mean:', np.mean(sales.sold))"""

_SYMBOLS = """\
import sympy as sp

x = sp.Symbol('x')
print('Solutions:', sp.solve(x**2 - 4*x + 3, x))
print('Derivative:', sp.diff(x**3 - 2*x**2 + x, x))"""

_RUN_EXAMPLES: dict[str, tuple[str, dict[str, Any]]] = {
    "hello": ("A program", {"code": "print('Hello, World!')"}),
    "table": ("A table of data, in 256 MiB", {"code": _TABLE, "memory_limit": 256}),
    "symbols": ("Symbolic mathematics, within 15 s", {"code": _SYMBOLS, "timeout": 15}),
    "violation": ("What is not allowed: nothing runs", {"code": "import os\nprint(os.listdir('/'))"}),
    "endless": ("An endless loop: ended at its limit", {"code": "print('before')\nwhile True: pass", "timeout": 1}),
}

_ADD = "int add(int a, int b) {\n    return a + b;\n}"
_TAIL = """\
#include <stdlib.h>

int *last(int *values, int count) {
    int *copy = malloc(count * sizeof(int));
    for (int i = 0; i <= count; i++)
        copy[i] = values[i];
    return &copy[count - 1];
}"""
_SUM = "int sum(int n) {\n    int total = 0;\n    while (n >= 0)\n        total += n;\n    return total;\n}"

_SUBMIT_EXAMPLES: dict[str, tuple[str, dict[str, Any]]] = {
    "add": ("A function and its tests", {"code": _ADD, "tests": "assert(add(1, 2) == 3);\nassert(add(2, 2) == 5);"}),
    "memory": (
        "What valgrind finds",
        {"code": _TAIL, "tests": "int values[] = {1, 2, 3};\nassert(*last(values, 3) == 3);"},
    ),
    "hang": (
        "A test that hangs costs only itself",
        {
            "code": _SUM,
            "tests": "assert(sum(-1) == 0);\nassert(sum(3) == 6);\nassert(sum(-2) == 0);",
            "perTestTimeout": 1,
        },
    ),
    "list": (
        "A function that is not allowed",
        {"code": '#include <stdlib.h>\nvoid f(void) {\n    system("ls");\n}', "blacklisted": ["system"]},
    ),
    "error": ("A mistake that the compiler finds", {"code": "int f(void) {\n    return x;\n}"}),
    "sanitizer": (
        "AddressSanitizer instead of valgrind",
        {
            "code": _TAIL,
            "tests": "int values[] = {1};\nassert(*last(values, 1) == 1);",
            "flags": ["-std=c11", "-fsanitize=address,undefined"],
        },
    ),
}

_REFUSALS: dict[int, tuple[str, type[Problem]]] = {
    400: ("The body is not valid JSON", Problem),
    401: ("The request has no key, or one that is not known", Problem),
    404: ("There is no such session; the sentence tells what became of it", Problem),
    409: ("The session runs code", Problem),
    413: ("The body is too large", Problem),
    415: ("The body is not sent as JSON", Problem),
    422: ("A field is wrong or unknown", FieldProblems),
    429: ("The queue is full", Problem),
    500: ("A fault of the server; its log has the cause beside the X-Request-ID", Problem),
    503: ("No worker can be had yet, or the server is shutting down", Problem),
}
_WITH_RETRY_AFTER = (429, 503)

_HEADERS = {
    "X-Request-ID": {
        "description": "names this request in the server's log",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
    },
    "Retry-After": {"description": "seconds", "required": True, "schema": {"type": "integer", "minimum": 1}},
}
_HEADERS_OF_KEYS = {
    "WWW-Authenticate": {"required": True, "schema": {"type": "string", "const": "Bearer"}},
    "X-RateLimit-Limit": {
        "description": "requests that the key may make in a minute, if they are limited; on a 429 that a limit of the "
        "key gives: what that limit is",
        "schema": {"type": "integer", "minimum": 1},
    },
    "X-RateLimit-Remaining": {"description": "how many of them are left", "schema": {"type": "integer", "minimum": 0}},
    "X-RateLimit-Reset": {
        "description": "when room comes back, in seconds since 1970",
        "schema": {"type": "integer", "minimum": 0},
    },
}
_KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key of this server, as `python run.py --new-key NAME` makes it",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One row. A success without an `answer` has no body."""

    method: str
    path: str
    name: str
    tag: str
    summary: str
    status: int
    meaning: str
    answer: type[BaseModel] | None
    refusals: tuple[int, ...] = ()
    request: type[BaseModel] | None = None
    examples: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    links: tuple[str, ...] = ()  # operations that take the answer's `id`
    events: tuple[str, str] | None = None  # what they mean, and an example, if the answer comes as events too
    text: str | None = None  # an example, if the answer is text


_EVENTS_MEANING = """With `Accept: text/event-stream` the same answer comes as Server-Sent Events: `event: NAME`,
`data: JSON`, an empty line. `session` with its `id` comes first; then `stdout` and `stderr` with `text`, and `display`
with a MIME bundle, as they happen; at the end exactly one `done` with the whole answer. Lines `: ping` fill silence.
What is refused before the code begins is refused in JSON; `session not found` and `max sessions reached` are a
`done` alone. A reader that leaves interrupts its execution."""

_EVENTS = """\
event: session
data: {"id": "5f0c1c0e-8f4b-4b8e-9d53-0d7c6e6a3f52"}

event: stdout
data: {"text": "Hello\\n"}

event: done
data: {"id": "5f0c1c0e-8f4b-4b8e-9d53-0d7c6e6a3f52", "stdout": "Hello\\n", "stderr": null, "error": null, \
"result": "42", "outputs": [], "truncated": false, "execution_time": 0.000153, "memory_used": 0.012, "state": "kept", \
"detail": null, "partial": null}

"""

# fmt: off
OPERATIONS = (
    Operation(
        "post", "/execute", "execute", "Executions", "Run Python code in a session", 200, "What the code did",
        ExecuteAnswer, (400, 413, 415, 422, 429, 503), ExecuteRequest, _EXECUTE_EXAMPLES,
        links=("showSession", "interruptSession", "closeSession"), events=(_EVENTS_MEANING, _EVENTS),
    ),
    Operation(
        "post", "/run", "run", "Runs", "Run a Python program once", 200, "What the program did",
        RunAnswer, (400, 413, 415, 422, 429, 503), RunRequest, _RUN_EXAMPLES,
    ),
    Operation(
        "post", "/submit", "submit", "Submissions", "Compile, run, test and memory-check C code", 200,
        "What became of it", SubmitAnswer, (400, 413, 415, 422, 429, 503), SubmitRequest, _SUBMIT_EXAMPLES,
    ),
    Operation("get", "/sessions", "listSessions", "Sessions", "List the open sessions", 200,
              "The oldest first; ids are cut short where the server's settings say so", SessionList),
    Operation("get", "/sessions/{id}", "showSession", "Sessions", "Show a session", 200, "Its figures",
              SessionInfo, (404,)),
    Operation("delete", "/sessions/{id}", "closeSession", "Sessions", "Close a session", 204,
              "It is closed; what ran in it answers `execution interrupted`", None, (404,)),
    Operation("post", "/sessions/{id}/interrupt", "interruptSession", "Sessions", "Interrupt what runs in a session",
              202, "The execution answers `execution interrupted`; the namespace is kept", InterruptAnswer, (404,)),
    Operation(
        "post", "/sessions/{id}/complete", "complete", "Sessions", "Complete a name", 200,
        "Names that may replace the text from `start` to the cursor", CompleteAnswer, (400, 404, 409, 413, 415, 422),
        LookUpRequest, {"attribute": ("Attributes of a name", {"text": "str.jo"})},
    ),
    Operation(
        "post", "/sessions/{id}/inspect", "inspect", "Sessions", "Inspect a name", 200, "What it stands for",
        InspectAnswer, (400, 404, 409, 413, 415, 422), LookUpRequest, {"builtin": ("A builtin", {"text": "print"})},
    ),
    Operation("get", "/", "health", "Service", "Health and capabilities", 200, "The state of the service", Health),
    Operation("get", "/livez", "live", "Service", "Whether the server answers", 200, "It does", Probe),
    Operation("get", "/readyz", "ready", "Service", "Whether it can do its work", 200, "It can", Probe, (503,)),
    Operation("get", "/metrics", "metrics", "Service", "Figures for Prometheus", 200, "Figures as text", None,
              text="# TYPE pyrunner_ready gauge\npyrunner_ready{role=\"all\"} 1.0\n"),
)
# fmt: on


class _Schemas(GenerateJsonSchema):
    """Keys in the order of the models, and no titles made of field names: they only repeat them."""

    def sort(self, value: Any, parent_key: str | None = None) -> Any:
        return value

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def document(settings: Settings) -> dict[str, Any]:
    """The document of a server with these settings, for they bound what a request may ask for."""
    refs, schemas = _schemas()
    for model, name, most in (
        ("ExecuteRequest", "timeout", settings.max_timeout_seconds),
        ("RunRequest", "timeout", settings.run_max_timeout_seconds),
        ("RunRequest", "memory_limit", settings.run_max_memory_limit_mb),
        ("SubmitRequest", "timeout", settings.submit_max_timeout_seconds),
        ("SubmitRequest", "memory_limit", settings.submit_max_memory_limit_mb),
    ):
        schemas[model]["properties"][name]["anyOf"][0]["maximum"] = most
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, refs)
    components = {"schemas": schemas, "headers": _HEADERS}
    if settings.has_keys:
        components = {
            "schemas": schemas,
            "headers": _HEADERS | _HEADERS_OF_KEYS,
            "securitySchemes": {"key": _KEY},
        }
        for operation in OPERATIONS:
            _ask_for_key(operation, paths[operation.path][operation.method], refs[Problem])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "PyRunner",
            "version": VERSION,
            "description": _ABOUT,
            "license": {"name": "MIT"},
        },
        "paths": paths,
        "components": components,
    }


def _schemas() -> tuple[dict[type[BaseModel], Any], dict[str, Any]]:
    """A reference to the schema of each model, and the schemas."""
    modes: dict[type[BaseModel], Literal["validation", "serialization"]] = {
        **{operation.request: "validation" for operation in OPERATIONS if operation.request},
        **{operation.answer: "serialization" for operation in OPERATIONS if operation.answer},
        **{model: "serialization" for _, model in _REFUSALS.values()},
    }
    refs, definitions = models_json_schema(
        list(modes.items()), ref_template="#/components/schemas/{model}", schema_generator=_Schemas
    )
    return {model: refs[model, mode] for model, mode in modes.items()}, definitions["$defs"]


def _operation(operation: Operation, refs: dict[type[BaseModel], Any]) -> dict[str, Any]:
    success = _response(operation.meaning, operation.answer and refs[operation.answer])
    if operation.links:
        success["links"] = {
            name: {"operationId": name, "parameters": {"id": "$response.body#/id"}} for name in operation.links
        }
    if operation.text:
        success["content"] = {"text/plain": {"schema": {"type": "string"}, "example": operation.text}}
    if operation.events:
        meaning, example = operation.events
        events = {"schema": {"type": "string", "description": meaning}, "example": example}
        success["content"]["text/event-stream"] = events
    responses = {str(operation.status): success}
    for status in (*operation.refusals, 500):
        meaning, model = _REFUSALS[status]
        responses[str(status)] = _response(meaning, refs[model], retry_after=status in _WITH_RETRY_AFTER)
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [
            # No dots: `.` and `..` are steps in a path, and a client takes them itself.
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[0-9A-Za-z-]+$"}}
            for name in re.findall(r"\{(\w+)\}", operation.path)
        ],
        "responses": responses,
    }
    if operation.request is not None:
        examples = {name: {"summary": said, "value": value} for name, (said, value) in operation.examples.items()}
        content = {"application/json": {"schema": refs[operation.request], "examples": examples}}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _ask_for_key(operation: Operation, described: dict[str, Any], problem: Any) -> None:
    """What becomes of it where there are keys."""
    if not needs_key(operation.path):
        return
    described["security"] = [{"key": []}]
    responses = described["responses"]
    if is_counted(operation.method.upper(), operation.path):
        responses.setdefault("429", _response("", problem, retry_after=True))
        responses["429"]["description"] = "The queue is full, or the key has used what it may"
        for response in responses.values():
            response["headers"] |= _references("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
    responses["401"] = _response(_REFUSALS[401][0], problem)
    responses["401"]["headers"] |= _references("WWW-Authenticate")


def _references(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _response(meaning: str, schema: Any, *, retry_after: bool = False) -> dict[str, Any]:
    names = ["X-Request-ID", "Retry-After"] if retry_after else ["X-Request-ID"]
    response = {
        "description": meaning,
        "headers": _references(*names),
    }
    if schema is not None:
        response["content"] = {"application/json": {"schema": schema}}
    return response
