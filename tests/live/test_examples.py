"""The example of runs does what it shows, against a live server."""

import importlib.util
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import requests

from tests.conftest import Server, until

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "runs.py"


@pytest.fixture
def runs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("runs", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_of_runs_prints_statistics_symbols_a_figure_and_each_status(server: Server, tmp_path: Path) -> None:
    png = tmp_path / "figure.png"
    done = subprocess.run(
        [sys.executable, EXAMPLE, server.url, png], capture_output=True, text=True, timeout=60, check=True
    )
    assert re.match(r"Mean: -?\d\.\d{3}\nStd: \d\.\d{3}\nCount: 100\n", done.stdout), done.stdout
    for expected in (
        "Solutions: [1, 3]\nDerivative: 3*x**2 - 4*x + 1\n",
        "is a PNG: True",
        "error: NameError on line 1; it had printed ''",
        "error: Security violation: import of 'os' is not allowed (line 1); it had printed ''",
        "timeout: Time limit of 1 s exceeded; it had printed 'so far\\n'",
        "memory_exceeded: Memory limit of 64 MiB exceeded; it had printed ''",
        "Refused: 422: timeout: ",
    ):
        assert expected in done.stdout, done.stdout
    assert png.read_bytes().startswith(b"\x89PNG")


def test_the_example_of_runs_waits_while_the_queue_is_full(
    start_server: Callable[..., Server], runs: ModuleType
) -> None:
    full = start_server(RUN_CONCURRENCY=1, RUN_QUEUE_SIZE=0, RUN_LIBRARIES="plain", SESSION_LIBRARIES="plain")
    slow = {"code": "while True: pass", "timeout": 1}
    runner = threading.Thread(target=requests.post, args=[f"{full.url}/run"], kwargs={"json": slow, "timeout": 30})
    runner.start()
    until(lambda: full.health()["runs"]["active"])
    assert runs.printed(full.url, "print(6 * 7)") == "42\n"
    runner.join()


def test_the_example_of_runs_tells_how_a_program_failed(server: Server, runs: ModuleType) -> None:
    with pytest.raises(runs.Failed, match=r"error: ZeroDivisionError on line 1\nTraceback"):
        runs.printed(server.url, "1 / 0")
