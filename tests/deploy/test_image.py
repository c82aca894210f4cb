"""The Dockerfile: what it copies is there, what it installs is pinned, and its health check knows sick from well."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable

from tests.conftest import ROOT, Server
from tests.deploy.manifests import dockerfile, health_command, told
from tests.live.test_readme import tracked


def copied() -> list[str]:
    """The sources of COPY from here."""
    return [source for rest in told("COPY") if "--from" not in rest for source in rest.split()[:-1]]


def needed() -> set[str]:
    """The folders of ours that run.py leads to."""
    found: set[str] = set()
    waiting = [ROOT / "run.py"]
    while waiting:
        for node in ast.walk(ast.parse(waiting.pop().read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for folder in {name.split(".")[0] for name in names} - found:
                if (ROOT / folder).is_dir() and folder:
                    found.add(folder)
                    waiting += (ROOT / folder).rglob("*.py")
    return found


def test_what_is_copied_is_in_the_repository() -> None:
    names = tracked()
    for source in copied():
        assert source in names or any(name.startswith(f"{source}/") for name in names), source


def test_everything_that_the_server_needs_is_copied() -> None:
    assert needed() | {"run.py", "requirements.txt"} == set(copied())


def test_nothing_else_reaches_the_build() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line[0] == "!"} == set(copied())


def test_the_packages_are_the_pinned_ones() -> None:
    installed = [rest for rest in told("RUN") if "pip install" in rest]
    assert len(installed) == 1
    named = re.search(r"pip install(.*?)(&&|$)", installed[0])
    assert named and [part for part in named[1].split() if part[0] != "-"] == ["requirements.txt"]
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        assert not line or line[0] == "#" or re.fullmatch(r"[\w.\[\]-]+==[\w.]+", line), line


def test_both_stages_have_the_same_base() -> None:
    assert told("FROM") == ["${BASE} AS packages", "${BASE}"]
    (base,) = told("ARG")
    assert re.fullmatch(r"BASE=python:3\.\d+-slim-\w+", base)


def test_the_server_is_no_root_and_gets_signals_itself() -> None:
    names = [name for name, _ in dockerfile()]
    uid, gid = map(int, told("USER")[-1].split(":"))
    assert uid > 0 and gid > 0 and names.index("USER") < names.index("CMD")
    (start,), (door,) = told("CMD"), told("ENTRYPOINT")
    assert json.loads(door) == ["tini", "--"] and json.loads(start) == ["venv/bin/python", "run.py"]


def test_submissions_find_what_they_need() -> None:
    (installed,) = [rest for rest in told("RUN") if "apt-get install" in rest]
    assert {"gcc", "libc6-dev", "valgrind", "tini"} <= set(installed.split())


def test_the_health_check_tells_a_server_from_none(start_server: Callable[..., Server]) -> None:
    server = start_server(SESSION_LIBRARIES="plain")
    program, *arguments = health_command()
    assert program == "venv/bin/python"

    def healthy() -> bool:
        env = {"PYRUNNER_PORT": server.url.rpartition(":")[2]}
        return subprocess.run([sys.executable, *arguments], env=env, capture_output=True, timeout=20).returncode == 0

    assert healthy()
    server.stop()
    assert not healthy()
