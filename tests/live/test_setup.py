"""A fresh clone starts: by `python run.py`, with a `.env` made of the example, and make does what the README says."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).resolve().parents[2]
GIT = shutil.which("git")

pytestmark = pytest.mark.skipif(GIT is None or not (ROOT / ".git").exists(), reason="this is no clone of a repository")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fresh") / "pyrunner"
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True, capture_output=True, timeout=60)
    return folder


@pytest.fixture
def started(clone: Path) -> Iterator[subprocess.Popen[str]]:
    """`python run.py` as one types it in the clone, with nothing set but what `.env` says."""
    example = (clone / ".env.example").read_text()
    (clone / ".env").write_text(example.replace("# PYRUNNER_PORT=8000", "PYRUNNER_PORT=0"))
    names = [name for name in os.environ if name.startswith("PYRUNNER_") or name in ("HOST", "PORT")]
    process = subprocess.Popen(
        [sys.executable, "run.py"],
        cwd=clone,
        env={name: value for name, value in os.environ.items() if name not in names},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.kill()


def test_python_run_py_serves_and_stops_on_sigterm(started: subprocess.Popen[str]) -> None:
    assert started.stdout is not None
    banner = re.fullmatch(r"PyRunner: try it at (\S+)/docs \(Ctrl-C stops it\)\n", started.stdout.readline())
    assert banner, "the banner that the README shows"
    assert not banner[1].endswith(":8000"), "`.env` was read"
    answer = requests.post(f"{banner[1]}/execute", json={"code": "print('Hello')\n6 * 7"}, timeout=30)
    assert answer.status_code == 200
    assert (answer.json()["stdout"], answer.json()["result"]) == ("Hello\n", "42")
    assert requests.get(f"{banner[1]}/docs", timeout=10).status_code == 200
    started.terminate()
    assert started.wait(20) == 0


def test_a_start_leaves_nothing_behind_that_git_would_see(clone: Path) -> None:
    status = ["git", "status", "--porcelain"]
    assert subprocess.run(status, cwd=clone, capture_output=True, text=True, check=True).stdout == ""


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("target", "commands"),
    [
        ("run", ("-m venv .venv", "install", "-r requirements.txt", ".venv/bin/python run.py")),
        (
            "test",
            (
                "-m venv .venv",
                "-r requirements-dev.txt",
                "tests/system-packages",
                "-m pytest --numprocesses 2 --dist loadfile tests",
            ),
        ),
    ],
)
def test_make_does_it_all_from_nothing(clone: Path, target: str, commands: tuple[str, ...]) -> None:
    told = subprocess.run(["make", "-n", target], cwd=clone, capture_output=True, text=True, check=True, timeout=20)
    places = [told.stdout.find(command) for command in commands]
    assert -1 not in places and places == sorted(places), told.stdout
