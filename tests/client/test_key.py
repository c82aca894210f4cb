"""A server that wants a key."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyrunner_client import Busy, Session, Unauthorized, run_once

from server.keys import new_key
from tests.client.conftest import Rogue, answer
from tests.conftest import ROOT, Server, running

TOKEN, ENTRY = new_key("ada")
LIMITED_TOKEN, LIMITED_ENTRY = new_key("bob")


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("keyed") / "server.log"
    with running(log, API_KEYS=f"{ENTRY},{LIMITED_ENTRY}:requests=1", SESSION_LIBRARIES="plain", POOL_SIZE=1) as server:
        yield server.wait_ready("plain")


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """None of the developer's."""
    monkeypatch.delenv("PYRUNNER_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_a_session_has_its_key_in_each_call(keyed: Server) -> None:
    with Session(keyed.url, key=TOKEN) as session:
        assert session.run("x = 1; x").result == "1"
        assert session.complete("x.bit_c").names == ["bit_count"]
        assert session.inspect("len").name == "len"
        assert session.info().executions == 1
        assert session.interrupt() is False
        assert TOKEN not in repr(session)
    assert run_once(keyed.url, "print(1)", key=TOKEN).stdout == "1\n"


def test_the_key_is_read_from_the_environment(keyed: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRUNNER_KEY", f" {TOKEN}\n")
    with Session(keyed.url) as session:
        assert session.run("6 * 7").result == "42"
    with pytest.raises(Unauthorized):
        run_once(keyed.url, "1", key="another")


@pytest.mark.parametrize("key", [None, "", "x", TOKEN[:-1]], ids=["none", "empty", "x", "cut"])
def test_without_the_right_key_nothing_runs(keyed: Server, key: str | None) -> None:
    with pytest.raises(Unauthorized, match="Authorization: Bearer KEY"):
        Session(keyed.url, key=key).run("1")
    with pytest.raises(Unauthorized):
        run_once(keyed.url, "1", key=key)


@pytest.mark.parametrize("key", ["two words", "a\r\nX: y", "schlüssel", "\x7f"])
def test_what_can_be_no_key_is_refused_here_and_not_repeated(key: str) -> None:
    with pytest.raises(Unauthorized, match="can not be a key") as refused:
        Session("http://127.0.0.1:9", key=key)
    assert key not in str(refused.value)


def test_a_key_that_is_used_up_says_when_to_come_again(keyed: Server) -> None:
    run_once(keyed.url, "1", key=LIMITED_TOKEN)
    with pytest.raises(Busy, match="has used its 1 requests of a minute") as busy:
        run_once(keyed.url, "1", key=LIMITED_TOKEN)
    assert busy.value.retry_after is not None and 50 < busy.value.retry_after <= 60


def test_a_short_wait_is_waited_for(rogue: Callable[..., Rogue]) -> None:
    full = answer("429 Too Many", '{"error": "no room"}', "Retry-After: 0", "X-RateLimit-Remaining: 0")
    done = answer(
        "200 OK",
        '{"status": "success", "stdout": "1\\n", "stderr": "", "error": null, "execution_time": 0.1, '
        '"memory_used": 1.0, "truncated": false}',
    )
    server = rogue(full, full, done)
    assert run_once(server.url, "print(1)", key=TOKEN).stdout == "1\n"
    assert server.requests == 3


def test_a_password_that_netrc_has_does_not_take_its_place(keyed: Server, tmp_path: Path) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    netrc.chmod(0o600)
    assert run_once(keyed.url, "print(1)", key=TOKEN).stdout == "1\n"


def console(keyed: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pyrunner_client", keyed.url, *arguments]
    env = {"PYTHONPATH": str(ROOT / "client" / "src")}
    return subprocess.run(command, input="print(6 * 7)", env=env, capture_output=True, text=True, timeout=30)


def test_the_console_reads_the_key_from_a_file(keyed: Server, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{TOKEN}\n")
    done = console(keyed, "--key-file", str(file))
    assert (done.stdout, done.stderr, done.returncode) == ("42\n", "", 0)


@pytest.mark.parametrize(
    ("content", "said", "status"),
    [
        (None, "No such file", 2),
        ("schlüssel", "no key can be read", 2),
        ("a b", "can not be a key", 1),
        ("x", "not known", 1),
    ],
)
def test_the_console_tells_what_is_wrong_with_the_key(
    keyed: Server, tmp_path: Path, content: str | None, said: str, status: int
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    done = console(keyed, "--key-file", str(file))
    assert said in done.stderr and "Traceback" not in done.stderr
    assert (done.stdout, done.returncode) == ("", status)
