"""The steps are taken as the settings say; one that is required and missing stops the start with its name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.confine.jail import STEPS
from tests.conftest import ROOT


def start(tmp_path: Path, *wrapper: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {f"PYRUNNER_{name}": value for name, value in settings.items()}
    command = [*wrapper, sys.executable, str(ROOT / "run.py"), "--port", "0"]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30)


def test_every_step_is_told_at_the_health_answer(server) -> None:
    told = server.http.get(server.url, timeout=10).json()["sandbox"]
    assert set(told) == set(STEPS)
    assert told["landlock"].startswith("ABI ")
    assert told["no_new_privs"] == "set"


def test_a_required_step_that_is_missing_stops_the_start_with_its_name(tmp_path: Path) -> None:
    # Inside a user namespace that may not make another one, the step "user" of an ordinary user cannot be taken;
    # with a root that has no capability to change its user id, that of root cannot.
    try:
        done = start(
            tmp_path,
            "setpriv",
            "--bounding-set=-setuid,-setgid",
            "--inh-caps=-setuid,-setgid",
            SANDBOX_REQUIRED="user",
        )
    except FileNotFoundError:
        pytest.skip("setpriv (util-linux) is not installed")
    if os.geteuid() != 0:
        pytest.skip("only root can give up the capability that this step needs")
    assert done.returncode == 1
    assert "cannot be confined here: user: " in done.stderr


def test_a_step_that_does_not_exist_is_named(tmp_path: Path) -> None:
    done = start(tmp_path, SANDBOX_STEPS="landlok")
    assert done.returncode == 2
    assert "there is no step landlok" in done.stderr


def test_a_required_step_must_be_taken(tmp_path: Path) -> None:
    done = start(tmp_path, SANDBOX_STEPS="session,descriptors", SANDBOX_REQUIRED="seccomp")
    assert done.returncode == 2
    assert "seccomp is not in SANDBOX_STEPS" in done.stderr


def test_without_required_steps_the_server_starts_only_when_told_to(start_server) -> None:
    bare = start_server(SANDBOX_STEPS="session,descriptors,parent", ALLOW_STUBS_ONLY="true", SESSION_LIBRARIES="plain")
    assert set(bare.http.get(bare.url, timeout=10).json()["sandbox"]) == {"session", "descriptors", "parent"}
    assert bare.execute("6 * 7")["result"] == "42"
