"""The floors of the house, kept by reading the imports: who may know of whom, and what no floor may do."""

import ast
import sys
from collections.abc import Callable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("sandbox", "sessions", "judge", "cluster", "server", "bench")

# What each top folder may import of ours, besides itself.
MAY_KNOW = {
    "sandbox": set(),
    "sessions": {"sandbox"},
    "judge": {"sandbox"},
    "cluster": {"sandbox", "sessions", "judge"},
    "server": {"sandbox", "sessions", "judge", "cluster"},
    "run": {"sandbox", "sessions", "judge", "cluster", "server"},
}
# Inside sandbox, from the ground up: each module imports from its own floor and those below.
SANDBOX_FLOORS = (
    {"limits", "outcome"},
    {"wire", "capture", "meter", "signals", "display", "completion", "policy", "tiers", "orphans", "stubs", "confine"},
    {"interpreter", "launch"},
    {"program"},
    {"worker"},
    {"zygote"},
)
# Each of them runs code of the writer's choosing when it reads what hostile code wrote.
RUNS_WHAT_IT_READS = {"pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "multiprocessing"}
COMPILES_SOURCE = "sandbox.interpreter"  # the one module whose job it is


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {
    module_name(path): ast.parse(path.read_text(), str(path))
    for path in sorted([ROOT / "run.py", *(path for folder in OURS for path in (ROOT / folder).rglob("*.py"))])
}


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names of what is imported anywhere in it, `from a import b` as `a` or, if that is a module, `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "relative imports hide the floor"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in MODULES else node.module


def sandbox_floor(module: str) -> int:
    part = module.split(".")[1]
    return next(number for number, floor in enumerate(SANDBOX_FLOORS) if part in floor)


def inside(*folders: str) -> list[str]:
    return [name for name in MODULES if name.split(".")[0] in folders]


@pytest.mark.parametrize("module", inside(*MAY_KNOW))
def test_a_floor_knows_only_those_below(module: str) -> None:
    folder = module.split(".")[0]
    known = {name.split(".")[0] for name in imports(MODULES[module])}
    assert known & {*OURS, "run", "tests"} - {folder} <= MAY_KNOW[folder]


@pytest.mark.parametrize("module", [name for name in inside("sandbox") if name != "sandbox"])
def test_inside_the_sandbox_nothing_is_imported_from_above(module: str) -> None:
    below = {name for name in imports(MODULES[module]) if name.startswith("sandbox.")}
    assert {name for name in below if sandbox_floor(name) > sandbox_floor(module)} == set()


def test_the_sandbox_has_no_circle_of_imports() -> None:
    TopologicalSorter({name: {*imports(MODULES[name])} - {name} for name in inside("sandbox")}).prepare()


@pytest.mark.parametrize("module", inside("sandbox"))
def test_the_sandbox_imports_nothing_third_party(module: str) -> None:
    assert {name.split(".")[0] for name in imports(MODULES[module])} <= {*sys.stdlib_module_names, "sandbox"}


def test_importing_run_loads_nothing_of_ours() -> None:
    at_the_top = ast.Module([node for node in MODULES["run"].body if not isinstance(node, ast.FunctionDef)], [])
    assert {*imports(at_the_top)} <= sys.stdlib_module_names


@pytest.mark.parametrize("module", MODULES)
def test_nothing_that_hostile_code_wrote_is_unpickled(module: str) -> None:
    assert {name.split(".")[0] for name in imports(MODULES[module])}.isdisjoint(RUNS_WHAT_IT_READS)


@pytest.mark.parametrize("module", [name for name in MODULES if name != COMPILES_SOURCE])
def test_source_is_compiled_and_run_in_one_module_only(module: str) -> None:
    calls = [node.func for node in ast.walk(MODULES[module]) if isinstance(node, ast.Call)]
    called = {call.id for call in calls if isinstance(call, ast.Name)}
    called |= {call.attr for call in calls if isinstance(call, ast.Attribute) and ast.unparse(call.value) == "builtins"}
    assert called.isdisjoint({"eval", "exec", "compile"})


def test_a_worker_holds_nothing_of_the_server(session: Callable[..., dict[str, Any]]) -> None:
    answer = session("import sys\nsorted({name.partition('.')[0] for name in sys.modules})")
    held = set(ast.literal_eval(answer["result"]))
    assert "sandbox" in held, "it is a worker of ours that was asked"
    assert held.isdisjoint({"run", "server", "cluster", "sessions", "judge", "bench", "tests"})
    assert held.isdisjoint(
        {"starlette", "uvicorn", "uvloop", "httptools", "h11", "pydantic", "pydantic_core", "psutil"}
        | {"prometheus_client", "pythonjsonlogger", "nats", "limits"}
    )
