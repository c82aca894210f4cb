"""What the client's README says is so, and the package can be installed alone."""

import ast
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pyrunner_client
import pytest
from pyrunner_client import errors

from tests.conftest import Server

CLIENT = Path(__file__).resolve().parents[2] / "client"
README = (CLIENT / "README.md").read_text()
SOURCES = sorted((CLIENT / "src").rglob("*.py"))
EXAMPLES = re.findall(r"^```python\n(.*?)^```\n```text\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("code", "shown"), EXAMPLES)
def test_the_examples_print_what_is_shown(server: Server, code: str, shown: str) -> None:
    code = code.replace("http://127.0.0.1:8000", server.url)
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(CLIENT / "src")}, capture_output=True)
    assert (done.stdout.decode(), done.stderr.decode()) == (shown, "")


def test_the_tree_of_errors_is_the_one_that_is_drawn() -> None:
    for drawing in (errors.__doc__ or "", README):
        stack: list[type[BaseException]] = []
        drawn = set()
        for indent, name in re.findall(r"^([│ ]*)[├└]── (\w+)", drawing, re.MULTILINE):
            kind = getattr(errors, name)
            depth = len(indent) // 4
            assert kind.__base__ is (stack[depth - 1] if depth else errors.PyRunnerError)
            stack[depth:] = [kind]
            drawn.add(name)
        assert drawn == {name for name in errors.__dict__ if name in pyrunner_client.__all__} - {"PyRunnerError"} - {
            "Printed",
            "Result",
        }


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_client_knows_nothing_of_the_server(source: Path) -> None:
    nodes = list(ast.walk(ast.parse(source.read_text(), feature_version=(3, 9))))
    known = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    known |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    allowed = {*sys.stdlib_module_names, "requests", "urllib3", "pyrunner_client"}
    assert {name.partition(".")[0] for name in known} <= allowed


def test_it_installs_alone(server: Server, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, CLIENT]
    subprocess.run(build, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("pyrunner_client-*.whl")
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([*pip, "--python", python, "install", "--no-deps", wheel], check=True, timeout=60)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    installed = {path.name for path in (packages / "pyrunner_client").iterdir()}
    assert {"py.typed", *(path.name for path in SOURCES)} <= installed
    (packages / "requests.pth").write_text(sysconfig.get_path("purelib"))  # what `--no-deps` has left out
    console = [python, "-m", "pyrunner_client", server.url]
    done = subprocess.run(console, input="print(6 * 7)", cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr, done.returncode) == ("42\n", "", 0)
