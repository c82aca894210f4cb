"""The steps are taken as the settings say; one that is required and missing stops the start with its name."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE

import pytest
import requests

from sandbox.confine.jail import BIRTH_STEPS, STEPS, WORKER_STEPS, ZYGOTE_STEPS, Plan
from server.settings import SettingsError, read_settings
from tests.conftest import ROOT, until
from tests.escapes.column import Unavailable, interpreter_for, uid_of


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


def without_user_namespaces(home: Path) -> list[str]:
    """A command before which an ordinary user's server finds that the host lets it make no user namespace."""
    if shutil.which("unshare") is None or shutil.which("setpriv") is None:
        pytest.skip("unshare and setpriv (util-linux) are not installed")
    ordinary = uid_of("ordinary")
    who = ["setpriv", f"--reuid={ordinary}", f"--regid={ordinary}", "--clear-groups"] if os.geteuid() == 0 else []
    forbid = "echo 0 > /proc/sys/user/max_user_namespaces"
    command = [
        *who,
        "unshare",
        "--user",
        "--map-current-user",
        "--keep-caps",
        "sh",
        "-c",
        f'{forbid} && exec "$@"',
        "-",
    ]
    tried = subprocess.run([*command, "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"no user namespace can be made to forbid others in: {tried.stderr}")
    try:
        return [*command, interpreter_for(ordinary, home)]
    except Unavailable as why:
        pytest.skip(str(why))


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that other users can read."""
    with tempfile.TemporaryDirectory(prefix="jail-", dir="/tmp") as name:
        os.chmod(name, 0o755)
        yield Path(name)


def test_an_ordinary_user_is_told_which_required_step_the_host_forbids(home: Path) -> None:
    command = [*without_user_namespaces(home), str(ROOT / "run.py"), "--port", "0"]
    settings = {"PYRUNNER_SANDBOX_REQUIRED": "seccomp,namespaces"}
    done = subprocess.run(command, cwd=home, env=os.environ | settings, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "cannot be confined here: namespaces: " in done.stderr


def test_what_is_missing_and_not_required_is_in_the_log_and_in_the_health_answer(home: Path) -> None:
    command = [*without_user_namespaces(home), str(ROOT / "run.py"), "--port", "0"]
    settings = {"PYRUNNER_SESSION_LIBRARIES": "plain"}
    with (
        (home / "log").open("w") as log,
        subprocess.Popen(command, cwd=home, env=os.environ | settings, stdout=PIPE, stderr=log, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            banner = process.stdout.readline()
            url = banner.split()[4].removesuffix("/docs")
            told = until(lambda: requests.get(url, timeout=10).json())["sandbox"]
        finally:
            process.terminate()
    assert {step for step, how in told.items() if how.startswith("absent: ")} == {"namespaces", "root", "user"}
    for step in ("namespaces", "root", "user"):
        assert f"WARNING server.serving: wall: {step}: absent: " in (home / "log").read_text()


@pytest.mark.parametrize("order", [STEPS, tuple(reversed(STEPS))])
def test_steps_are_known_and_kept_as_they_are_given(order: tuple[str, ...]) -> None:
    assert read_settings(sandbox_steps=",".join(order)).plan.steps == order


@pytest.mark.parametrize("setting", ["sandbox_steps", "sandbox_required"])
def test_an_unknown_step_is_an_error_of_the_settings(setting: str) -> None:
    with pytest.raises(SettingsError, match=f"{setting.upper()}: there is no step nonsense; there are namespaces, "):
        read_settings(**{setting: "seccomp, nonsense"})


def test_the_steps_begin_apart_from_the_parent_and_end_with_the_filter() -> None:
    assert STEPS == (*ZYGOTE_STEPS, *BIRTH_STEPS, *WORKER_STEPS)
    assert STEPS[-1] == "seccomp", "each step before it needs calls that it refuses"
    assert STEPS.index("no_new_privs") < STEPS.index("landlock"), "the kernel wants it first"
    assert Plan().required == set(STEPS) - {"namespaces", "root", "user"}
