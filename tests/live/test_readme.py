"""What the documents say is so: their examples run, their tables are the settings, their links lead somewhere."""

import ast
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests
from annotated_types import Ge, Gt, Le

from sandbox import policy
from server.models import (
    Capabilities,
    ExecuteAnswer,
    ExecuteRequest,
    Health,
    LimitFigures,
    RunAnswer,
    RunFigures,
    RunRequest,
    SessionFigures,
    SubmissionFigures,
    SubmitAnswer,
    SubmitRequest,
)
from server.settings import Settings
from tests.conftest import Server

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [path.relative_to(ROOT).as_posix() for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DIFFERS = {"id", "execution_time", "memory_used", "age", "idle", "memory"}  # from one time to the next
PLACES = ("root", "work", "tmp/x", "tmp/new", "home")  # as the first part of a path
REGISTRIES = ("pypi." + "org", "files." + "pythonhosted", "registry." + "npmjs", "pypi-" + "more")
NAMES_PLACES = (
    *("sandbox/confine/", "tests/escapes/", "tests/judge/", "tests/sandbox/test_launch.py"),
    "tests/live/test_readme.py",
)  # what the wall hides, attacks on it
EXAMPLE = ROOT / "examples" / "notebook_steps.py"


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def settings(**given: Any) -> Settings:
    return Settings(_env_file=None, **given)  # type: ignore[call-arg]


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"PYRUNNER_{name.upper()}", raising=False)


def examples(document: str) -> Iterator[tuple[str, str, str, str]]:
    """Each shell or Python block with the block that follows it, if that shows its output: languages and texts."""
    blocks = [(match[1], match[2]) for match in BLOCK.finditer(text_of(document))]
    for (language, code), (shown_as, shown) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if language in ("sh", "python"):
            yield language, code, shown_as, shown if shown_as in ("json", "text") else ""


def comparable(text: str) -> dict[str, Any]:
    """An answer as it is each time: of figures only that they are figures."""
    answer = json.loads(re.sub(r"interrupted after [\d.]+ s", "interrupted after … s", text))
    return {key: isinstance(value, float | int) if key in DIFFERS else value for key, value in answer.items()}


def assert_shows(output: str, shown_as: str, shown: str) -> None:
    if shown_as == "json":
        assert comparable(output) == comparable(shown)
    else:
        assert output == shown


@pytest.mark.parametrize("document", ["README.md", "docs/api.md"])
def test_the_shell_examples_answer_what_is_shown(server: Server, document: str) -> None:
    blocks = [block for block in examples(document) if block[0] == "sh"]
    script = "\nprintf '\\1'\n".join(code for _, code, _, _ in blocks)
    script = script.replace("http://127.0.0.1:8000", server.url)
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    outputs = done.stdout.split("\1")
    assert len(outputs) == len(blocks) > 0
    for output, (_, code, shown_as, shown) in zip(outputs, blocks, strict=True):
        assert bool(output) == bool(shown), code
        if shown:
            assert_shows(output, shown_as, shown)


def test_the_python_examples_print_what_is_shown(server: Server) -> None:
    blocks = [block for block in examples("README.md") if block[0] == "python"]
    assert len(blocks) == 2, "a session, and a run"
    for _, code, shown_as, shown in blocks:
        code = code.replace("http://127.0.0.1:8000", server.url)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
        assert_shows(done.stdout, shown_as, shown)


def rows(document: str, first: str) -> list[list[str]]:
    """The rows of the table whose first column is headed `first`: cells, backticks kept."""
    lines = text_of(document).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    table = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


def code_of(cell: str) -> str:
    """What stands in its first backticks."""
    match = re.search(r"`([^`]*)`", cell)
    assert match, f"no code in {cell!r}"
    return match[1]


def assert_means_the_default(name: str, shown: str) -> None:
    """A default that is not a value of its own must show one that leads to the same server."""
    default, read = settings(), settings(**{name: shown})
    if getattr(default, name) is not None:
        assert getattr(read, name) == getattr(default, name)
    for derived in (key for key, value in vars(Settings).items() if isinstance(value, property)):
        assert getattr(read, derived) == getattr(default, derived), f"{name}={shown}: {derived}"


def range_of(name: str) -> str:
    field = Settings.model_fields[name]
    low = next((f"{m.ge}" for m in field.metadata if isinstance(m, Ge)), "")
    low = next((f"over {m.gt}" for m in field.metadata if isinstance(m, Gt)), low)
    high = next((f" to {m.le}" for m in field.metadata if isinstance(m, Le)), "")
    choices = getattr(field.annotation, "__args__", ()) if field.annotation is not None else ()
    if low or not choices or str not in map(type, choices):
        return low + high
    return ", ".join(map(str, choices))


def test_the_readme_lists_each_setting_with_its_default_and_range(quiet: None) -> None:
    table = rows("README.md", "setting")
    assert {code_of(row[0]) for row in table} == {name.upper() for name in Settings.model_fields}
    for setting, prefixed, default, span, _ in table:
        name = code_of(setting).lower()
        assert code_of(prefixed) == f"PYRUNNER_{name.upper()}"
        assert_means_the_default(name, code_of(default))
        assert span in (range_of(name), "true, false"), name


def test_env_example_lists_each_setting_with_its_default(quiet: None) -> None:
    lines = re.findall(r"^# PYRUNNER_(\w+)=(.*)$", text_of(".env.example"), re.MULTILINE)
    assert sorted(name.lower() for name, _ in lines) == sorted(Settings.model_fields)
    for name, shown in lines:
        assert_means_the_default(name.lower(), shown)
    assert not re.findall(r"^[^#\n]", text_of(".env.example"), re.MULTILINE), "all of it is commented out"


@pytest.mark.parametrize("document", ["README.md", "docs/api.md"])
def test_the_keys_of_request_and_answer_are_all_there(document: str) -> None:
    cells = [row[0] for row in (line.strip("|").split("|") for line in text_of(document).splitlines() if "|" in line)]
    named = {name for cell in cells for name in re.findall(r"`([^`]*)`", cell)}
    for model in (ExecuteRequest, ExecuteAnswer, RunRequest, RunAnswer, SubmitRequest, SubmitAnswer):
        assert {field.alias or name for name, field in model.model_fields.items()} <= named


def test_the_interface_lists_what_the_policy_says_with_its_reasons() -> None:
    for first, told in (
        ("modules", policy.MODULES),
        ("refused functions", policy.BUILTINS),
        ("allowed functions", policy.HARMLESS_BUILTINS),
        ("refused attributes", policy.ATTRIBUTES),
    ):
        shown = [(" ".join(re.findall(r"`([^`]*)`", names)), why) for names, why in rows("docs/api.md", first)]
        assert shown == [(row.names, row.why) for row in told], first
    for module, row in policy.MEMBERS.items():
        for name in row.names.split():
            assert f"`{module}.{name}`" in text_of("docs/api.md")


def test_the_interface_names_each_key_of_the_health() -> None:
    named = set(re.findall(r"`(\w+)`", text_of("docs/api.md").partition("## GET /\n")[2]))
    for model in (Health, Capabilities, SessionFigures, LimitFigures, RunFigures, SubmissionFigures):
        assert {*model.model_fields} <= named, model


def log_lines() -> Iterator[str]:
    """What is logged as a warning or worse, as the source has it."""
    for folder in ("server", "cluster", "sessions", "judge", "sandbox"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and re.match(
                    r"log\.(log|warning|error|exception|critical)$", ast.unparse(node.func)
                ):
                    texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
                    yield from texts[:1]


def test_operations_explains_each_line_of_the_log() -> None:
    known = text_of("docs/operations.md")
    for line in set(log_lines()):
        parts = [re.escape(part) for part in line.split("%s")]
        assert re.search("[^`\n]*".join(parts), known), f"nothing about {line!r}"


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_to_files_lead_somewhere(document: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(document)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = ((ROOT / document).parent / path) if path else ROOT / document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_exist(document: str) -> None:
    folders = "|".join(path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] != ".")
    for name in re.findall(rf"`((?:{folders})/[\w./-]*)`", text_of(document)):
        assert (ROOT / name).exists(), name


def tracked() -> list[str]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    listed = subprocess.run(
        [git, "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_nothing_names_the_machine_that_it_was_made_on() -> None:
    place = re.compile(rf"(?<![\w.$~/}}\])…-])/(?:{'|'.join(PLACES)})(?![\w.-])")
    found = []
    for name in tracked():
        if name.startswith(("server/static/swagger-ui/", *NAMES_PLACES)):
            continue
        try:
            text = text_of(name)
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if place.search(line) or any(host in line for host in REGISTRIES):
                found.append(f"{name}:{number}: {line.strip()[:100]}")
    assert found == []


def test_the_notebook_example_meets_each_error(server: Server, tmp_path: Path) -> None:
    png = tmp_path / "plot.png"
    done = subprocess.run(
        [sys.executable, EXAMPLE, server.url, png], capture_output=True, text=True, timeout=60, check=True
    )
    for expected in (
        "the highest point is 0.933",
        "is a PNG: True",
        "an exception is no error: ZeroDivisionError: division by zero",
        "TimeoutError: execution timeout: interrupted after ",
        "MemoryError: memory limit exceeded: ",
        "Refused: 422: tiemout: ",
        "InterruptedError: execution interrupted: ",
        "the variables are still there: 200",
        "SessionLost: session crashed: exit status 3",
        "SessionLost: session not found: ",
    ):
        assert expected in done.stdout, done.stdout
    assert png.read_bytes().startswith(b"\x89PNG")


def test_the_shell_example_runs(server: Server, tmp_path: Path) -> None:
    png = tmp_path / "plot.png"
    done = subprocess.run(
        ["bash", EXAMPLE.with_suffix(".sh"), server.url, png], capture_output=True, text=True, timeout=60, check=True
    )
    assert "the highest point is 0.933" in done.stdout
    assert "division by zero" in done.stdout and "the session is lost" in done.stdout
    assert "session crashed: exit status 3" in done.stderr and "session not found" in done.stderr
    assert png.read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def notebook_steps() -> ModuleType:
    spec = importlib.util.spec_from_file_location("notebook_steps", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_notebook_example_waits_for_a_session(
    start_server: Callable[..., Server], notebook_steps: ModuleType
) -> None:
    full = start_server(MAX_SESSIONS=1, SESSION_LIBRARIES="plain")
    book = notebook_steps.Notebook(full.url)
    leaver = threading.Timer(0.2, requests.delete, [f"{full.url}/sessions/{full.execute('1')['id']}"], {"timeout": 10})
    leaver.start()
    assert book.run("6 * 7")["result"] == "42"
    leaver.join()
    book.close()
    assert full.health()["sessions"]["open"] == 0
