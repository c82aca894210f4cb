"""The processes behind the sessions: they are there in time, they come back, and none outlives the server."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import requests

from server.settings import Settings
from tests.conftest import ROOT, Server, answer_on, until

Start = Callable[..., Server]
PLAIN = {"SESSION_LIBRARIES": "plain", "POOL_SIZE": 1, "RUN_POOL_SIZE": 0}
IN_C = "sum(iter(int, 1))"


def zygotes(server: Server) -> list[psutil.Process]:
    """The server's children that fork workers; a worker whose zygote has died is its child, too, and is niced."""
    own = psutil.Process(server.process.pid)
    return [child for child in own.children() if b"zygote" in command(child) and child.nice() == own.nice()]


def command(process: psutil.Process) -> bytes:
    try:
        return " ".join(process.cmdline()).encode()
    except psutil.Error:
        return b""


def pid_of(server: Server, id: str) -> int:
    return int(server.execute("import os\nos.getpid()", id)["result"])


def at_least(number: int, server: Server) -> list[psutil.Process] | None:
    """The server's processes, once there are so many."""
    processes = server.descendants()
    return processes if len(processes) >= number else None


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


# The zygote dies


def test_a_zygote_that_was_killed_is_started_again_and_sessions_go_on(start_server: Start) -> None:
    server = start_server(**PLAIN).wait_ready("plain")
    idle = server.execute("x = 'idle'")["id"]
    busy = server.execute("x = 'busy'")["id"]
    worker = pid_of(server, idle)
    running = server.ask("import time\ntime.sleep(0.5)\nx", busy)
    (zygote,) = zygotes(server)
    zygote.kill()
    until(lambda: not zygote.is_running())
    assert server.execute("x", idle)["result"] == "'idle'"
    assert answer_on(running)["result"] == "'busy'"
    until(lambda: zygotes(server))
    new = server.execute("x = 'new'\nx")
    assert (new["error"], new["result"]) == (None, "'new'")
    assert pid_of(server, idle) == worker
    assert [server.execute("x", id)["result"] for id in (idle, busy, new["id"])] == ["'idle'", "'busy'", "'new'"]
    assert server.health()["status"] == "healthy"
    assert "died" in server.log.read_text()


def test_sessions_of_a_dead_zygote_are_limited_interrupted_and_closed_as_ever(start_server: Start) -> None:
    server = start_server(**PLAIN, TIMEOUT_SECONDS=0.3).wait_ready("plain")
    ids = [server.execute("x = 1")["id"] for _ in range(4)]
    (zygote,) = zygotes(server)
    zygote.kill()
    until(lambda: not zygote.is_running())
    assert server.execute("import time\ntime.sleep(9)", ids[0])["detail"] == "interrupted after 0.3 s"
    assert server.execute("x", ids[0])["result"] == "1"
    assert server.execute(IN_C, ids[1])["state"] == "lost"
    crashed = server.execute("import os\nos._exit(3)", ids[2])
    assert (crashed["error"], crashed["state"]) == ("session crashed", "lost")
    assert crashed["detail"]
    server.close(ids[3])
    until(lambda: server.health()["sessions"]["open"] == 1)
    assert server.execute("x", ids[0])["result"] == "1"


def test_a_zygote_that_dies_again_and_again_comes_back_again_and_again(start_server: Start) -> None:
    server = start_server(**PLAIN).wait_ready("plain")
    id = server.execute("x = 1")["id"]
    for _ in range(3):
        (zygote,) = until(lambda: zygotes(server))
        zygote.kill()
        until(lambda gone=zygote: not gone.is_running())
        new = server.execute("6 * 7")
        assert new["result"] == "42"
        server.close(new["id"])
    assert server.execute("x", id)["result"] == "1"


def test_a_dead_worker_leaves_no_zombie(start_server: Start) -> None:
    server = start_server(**PLAIN).wait_ready("plain")
    for _ in range(3):
        server.execute("import os\nos._exit(1)")
    until(lambda: server.health()["sessions"]["warm"] == 1)
    until(lambda: not [p for p in server.descendants() if p.status() == psutil.STATUS_ZOMBIE])


# The start


def test_a_session_is_served_while_libraries_still_load(start_server: Start) -> None:
    server = start_server(POOL_SIZE=1)
    assert server.health()["service"] == "PyRunner", "it answers at once"
    answer = server.execute("x = 6 * 7\nx")
    assert answer["result"] == "42"
    assert server.health()["workers"]["all"] == "loading"
    server.wait_ready("all")
    assert server.execute("x", answer["id"])["result"] == "42"
    loaded = server.execute("import sys\n'pandas' in sys.modules, 'sklearn' in sys.modules")
    assert loaded["result"] == "(True, True)"
    assert set(server.health()["capabilities"]["libraries"]) >= {"numpy", "pandas", "sympy", "scipy", "matplotlib"}


def test_a_library_can_be_imported_while_it_is_still_loaded_elsewhere(start_server: Start) -> None:
    server = start_server(POOL_SIZE=1)
    answer = server.execute("import numpy\nint(numpy.arange(4).sum())", timeout=20)
    assert (answer["error"], answer["result"]) == (None, "6")


def test_health_says_starting_until_a_worker_can_be_had(start_server: Start) -> None:
    server = start_server(**PLAIN)
    statuses = [server.health()["status"]]
    until(lambda: statuses.append(server.health()["status"]) or statuses[-1] == "healthy")
    assert set(statuses) <= {"starting", "healthy"}
    assert server.health()["workers"] == {"plain": "ready"}


def test_many_sessions_asked_for_at_the_start_are_all_served(start_server: Start) -> None:
    server = start_server(**PLAIN, MAX_SESSIONS=12)
    asked = [server.ask(f"{number}") for number in range(12)]
    assert [answer_on(connection)["result"] for connection in asked] == [str(number) for number in range(12)]


# The end


def test_a_zygote_whose_server_is_killed_while_it_loads_ends_without_a_traceback(start_server: Start) -> None:
    server = start_server(POOL_SIZE=0, SESSION_LIBRARIES="all", RUN_LIBRARIES="all")
    zygotes = until(lambda: server.zygotes() if len(server.zygotes()) == 3 else None)
    assert "loading" in server.health()["workers"].values()
    server.process.kill()
    server.process.wait(10)
    until(lambda: not alive(zygotes), 30)  # the fixture then looks into the log


@pytest.mark.parametrize("code", [IN_C, "import time\ntime.sleep(60)", "import ctypes\nctypes.PyDLL(None).sleep(60)"])
def test_no_process_outlives_a_server_that_is_killed(start_server: Start, code: str) -> None:
    server = start_server(POOL_SIZE=2, SESSION_LIBRARIES="plain", MAX_TIMEOUT_SECONDS=60).wait_ready("plain")
    server.execute("x = 'idle'")
    connection = server.ask(code, timeout=60)
    until(lambda: [p for p in server.http.get(f"{server.url}/sessions").json()["sessions"] if p["state"] == "busy"])
    processes = until(lambda: at_least(4, server))  # the zygote, two sessions and a warm worker
    server.process.kill()
    server.process.wait(10)
    until(lambda: not alive(processes), 5)
    connection.close()


def test_a_worker_whose_zygote_was_replaced_dies_with_the_server_as_well(start_server: Start) -> None:
    server = start_server(**PLAIN).wait_ready("plain")
    worker = psutil.Process(int(server.execute("import os\nos.getpid()")["result"]))
    (zygote,) = zygotes(server)
    zygote.kill()
    until(lambda: not zygote.is_running() and zygotes(server))
    assert alive([worker])
    server.process.kill()
    server.process.wait(10)
    until(lambda: not alive([worker]), 5)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly_and_leaves_no_process(start_server: Start, signum: int) -> None:
    server = start_server(POOL_SIZE=2, SESSION_LIBRARIES="plain").wait_ready("plain")
    server.execute("x = 1")
    stopped = server.execute("import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()")
    assert stopped["error"] is None
    processes = until(lambda: at_least(4, server))
    assert server.stop(signum) == 0
    until(lambda: not alive(processes), 5)


def test_it_stops_cleanly_at_any_moment_after_its_banner(start_server: Start) -> None:
    for at in range(6):
        server = start_server(**PLAIN)
        if at:
            assert server.health()["service"] == "PyRunner"
        assert server.stop(signal.SIGINT if at % 2 else signal.SIGTERM) == 0


def test_it_stops_cleanly_while_libraries_load(start_server: Start) -> None:
    server = start_server()
    processes = until(server.descendants)
    assert server.stop() == 0
    until(lambda: not alive(processes), 5)


def test_what_runs_when_it_stops_is_answered(start_server: Start) -> None:
    server = start_server(**PLAIN, MAX_TIMEOUT_SECONDS=60).wait_ready("plain")
    connection = server.ask("print('before', flush=True)\nimport time\ntime.sleep(1)\nprint('after')", timeout=60)
    server.process.send_signal(signal.SIGTERM)
    answer = answer_on(connection)
    assert answer["stdout"] == "before\nafter\n"
    assert server.stop() == 0


def test_what_does_not_end_when_it_stops_is_interrupted_and_answered(start_server: Start) -> None:
    server = start_server(**PLAIN, MAX_TIMEOUT_SECONDS=60).wait_ready("plain")
    asked = [server.ask(code, timeout=60) for code in ("import time\ntime.sleep(60)", IN_C)]
    processes = server.descendants()
    server.process.send_signal(signal.SIGTERM)
    for connection in asked:
        answer = answer_on(connection)
        assert answer["error"] == "execution interrupted"
    assert server.stop() == 0
    until(lambda: not alive(processes), 5)


def test_a_server_that_stops_takes_no_new_execution(start_server: Start) -> None:
    server = start_server(**PLAIN, MAX_TIMEOUT_SECONDS=60).wait_ready("plain")
    running = server.ask("import time\ntime.sleep(2)", timeout=60)
    kept = requests.Session()
    id = kept.post(f"{server.url}/execute", json={"code": "1"}, timeout=10).json()["id"]
    server.process.send_signal(signal.SIGTERM)

    def refused() -> bool:
        try:
            answer = kept.post(f"{server.url}/execute", json={"code": "1", "id": id}, timeout=10)
        except requests.ConnectionError:
            return True
        if answer.status_code == 200:
            return False
        assert answer.status_code == 503
        assert answer.json().keys() == {"error"}
        assert answer.headers["Retry-After"]
        return True

    until(refused)
    kept.close()
    assert answer_on(running)["error"] is None
    assert server.stop() == 0


# The command


def run_py(*arguments: str, folder: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    clean = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    return subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *arguments],
        cwd=folder,
        env=clean | env,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_second_server_on_the_same_port_says_so_and_exits_with_1(start_server: Start, tmp_path: Path) -> None:
    server = start_server(**PLAIN)
    port = server.url.rsplit(":", 1)[1]
    second = run_py("--port", port, folder=tmp_path)
    assert second.returncode == 1
    assert second.stderr.strip().splitlines()[-1] == (
        f"run.py: cannot listen on 127.0.0.1:{port}: Address already in use"
    )
    assert second.stdout == ""
    assert server.health()["service"] == "PyRunner"


def test_an_address_that_is_not_this_machines_is_told_and_exits_with_1(tmp_path: Path) -> None:
    done = run_py("--host", "192.0.2.1", "--port", "0", folder=tmp_path)
    assert done.returncode == 1
    assert "cannot listen on 192.0.2.1:0" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "env", "name"),
    [
        ((), {"TIMEOUT_SECONDS": "soon"}, "TIMEOUT_SECONDS"),
        ((), {"PYRUNNER_MAX_SESSIONS": "0"}, "MAX_SESSIONS"),
        ((), {"TIMEOUT_SECONDS": "50"}, "TIMEOUT_SECONDS"),
        ((), {"SANDBOX_STEPS": "walls"}, "SANDBOX_STEPS"),
        (("--port", "99999"), {}, "PORT"),
        (("--port", "http"), {}, "--port"),
        (("--nonsense",), {}, "--nonsense"),
    ],
)
def test_a_wrong_setting_is_named_and_exits_with_2(
    tmp_path: Path, arguments: tuple[str, ...], env: dict[str, str], name: str
) -> None:
    done = run_py(*arguments, folder=tmp_path, **env)
    assert done.returncode == 2
    assert name in done.stderr
    assert "run.py" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_wrong_setting_in_dot_env_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MEMORY_LIMIT_MB=much\n")
    done = run_py(folder=tmp_path)
    assert (done.returncode, "MEMORY_LIMIT_MB" in done.stderr) == (2, True)


def test_help_names_every_setting_and_its_default(tmp_path: Path) -> None:
    done = run_py("--help", folder=tmp_path)
    assert done.returncode == 0
    for name, field in Settings.model_fields.items():
        (line,) = [line for line in done.stdout.splitlines() if line.split()[:1] == [name.upper()]]
        assert field.description and field.description in line
        assert field.default is None or f"[{field.default}]" in line


def test_the_banner_names_an_address_that_can_be_opened(start_server: Start) -> None:
    server = start_server(**PLAIN, HOST="0.0.0.0")
    assert server.url.startswith("http://127.0.0.1:")
    assert requests.get(f"{server.url}/docs", timeout=10).status_code == 200


def test_the_command_line_goes_before_the_environment(start_server: Start) -> None:
    server = start_server(**PLAIN, PORT=1)
    assert not server.url.endswith(":1")


def test_on_ipv6_the_banner_has_brackets(start_server: Start) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    server = start_server(**PLAIN, HOST="::1")
    assert server.url.startswith("http://[::1]:")
    assert server.health()["service"] == "PyRunner"


def test_no_setting_or_secret_of_the_server_is_in_a_zygotes_environment(
    start_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "of the server")
    server = start_server(**PLAIN).wait_ready("plain")
    (zygote,) = zygotes(server)
    assert not [name for name in zygote.environ() if name.startswith("PYRUNNER") or name == "A_SECRET"]
    assert server.execute("import os\n[n for n in os.environ if 'SECRET' in n or 'PYRUNNER' in n]")["result"] == "[]"
