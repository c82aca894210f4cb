"""Settings: both names of each, `.env`, which one wins, and what is said of a wrong one."""

import os
from pathlib import Path
from typing import Any

import pytest

from sandbox.confine.jail import STEPS, Plan
from sandbox.policy import DEFAULT_MODULES
from server.keys import Quota
from server.settings import Settings, SettingsError, read_settings

REQUIRED = ",".join(step for step in STEPS if step in Plan().required)
A_KEY = f"ada:{'0f' * 32}"
# For each setting a value that is not its default, as it is written and as it is read.
OTHER: dict[str, tuple[str, Any]] = {
    "host": ("0.0.0.0", "0.0.0.0"),
    "port": ("9000", 9000),
    "role": ("node", "node"),
    "nats_url": ("nats://example.org:4222", "nats://example.org:4222"),
    "drain_seconds": ("30", 30.0),
    "log_level": ("debug", "debug"),
    "log_format": ("json", "json"),
    "audit_log": ("true", True),
    "timeout_seconds": ("1.5", 1.5),
    "max_timeout_seconds": ("60", 60.0),
    "memory_limit_mb": ("256", 256),
    "output_limit_kb": ("64", 64),
    "max_sessions": ("7", 7),
    "idle_timeout_seconds": ("0.5", 0.5),
    "pool_size": ("0", 0),
    "session_libraries": ("numpy", "numpy"),
    "run_timeout_seconds": ("10", 10),
    "run_max_timeout_seconds": ("60", 60),
    "run_memory_limit_mb": ("256", 256),
    "run_max_memory_limit_mb": ("1024", 1024),
    "run_modules": ("math, numpy.linalg", "math, numpy.linalg"),
    "run_libraries": ("numpy", "numpy"),
    "run_concurrency": ("3", 3),
    "run_queue_size": ("0", 0),
    "run_pool_size": ("0", 0),
    "submit_timeout_seconds": ("20", 20),
    "submit_max_timeout_seconds": ("120", 120),
    "submit_test_timeout_seconds": ("3", 3),
    "submit_memory_limit_mb": ("64", 64),
    "submit_max_memory_limit_mb": ("512", 512),
    "submit_concurrency": ("3", 3),
    "submit_queue_size": ("0", 0),
    "submit_cache_mb": ("0", 0),
    "sandbox_steps": (REQUIRED, REQUIRED),
    "sandbox_required": ("seccomp", "seccomp"),
    "allow_stubs_only": ("true", True),
    "list_sessions": ("false", False),
    "allowed_hosts": ("example.org,other", "example.org,other"),
    "api_keys": (A_KEY, A_KEY),
    "api_keys_file": ("keys.txt", "keys.txt"),
    "key_max_sessions": ("3", 3),
    "key_requests_per_minute": ("600", 600),
    "key_cpu_seconds_per_minute": ("30", 30),
}
DEFAULTS = {
    "host": "127.0.0.1",
    "port": 8000,
    "timeout_seconds": 2.0,
    "memory_limit_mb": 100,
    "max_sessions": 40,
    "idle_timeout_seconds": 60.0,
    "output_limit_kb": 1024,
    "run_timeout_seconds": 30,
    "run_max_timeout_seconds": 300,
    "run_memory_limit_mb": 512,
    "run_max_memory_limit_mb": 2048,
    "modules": DEFAULT_MODULES,
    "runs_at_once": len(os.sched_getaffinity(0)),
}
WRONG = {
    "host": [],
    "port": ["-1", "65536", "http", "", "8000.5"],
    "role": ["nodes", ""],
    "nats_url": [],
    "drain_seconds": ["-1", "3601", "long"],
    "log_level": ["loud", "", "DEBUG "],
    "log_format": ["xml", "", "JSON"],
    "audit_log": ["perhaps"],
    "timeout_seconds": ["0", "-1", "soon", "", "nan", "inf", "3601"],
    "max_timeout_seconds": ["0", "-1", "nan", "inf"],
    "memory_limit_mb": ["0", "15", "1e9", "100MB", ""],
    "output_limit_kb": ["0", "-1", "16385"],
    "max_sessions": ["0", "-1", "many", "2001"],
    "idle_timeout_seconds": ["0", "-1", "never", "nan"],
    "pool_size": ["-1", "101"],
    "session_libraries": ["some", ""],
    "run_timeout_seconds": ["0", "-1", "1.5", "soon", "", "3601", "301"],
    "run_max_timeout_seconds": ["0", "-1", "inf", "3601", "29"],
    "run_memory_limit_mb": ["0", "63", "1e9", "512MB", "", "2049"],
    "run_max_memory_limit_mb": ["0", "63", "65537", "511"],
    "run_modules": ["os/path", "os path", "1x", "math..x", ".math", "math.", "*", "math,-"],
    "run_libraries": ["some", "", "pandas"],
    "run_concurrency": ["-1", "1001", "many"],
    "run_queue_size": ["-1", "10001", ""],
    "run_pool_size": ["-1", "101"],
    "submit_timeout_seconds": ["0", "-1", "1.5", "61", ""],
    "submit_max_timeout_seconds": ["0", "3601", "14"],
    "submit_test_timeout_seconds": ["0", "-1", "soon"],
    "submit_memory_limit_mb": ["0", "15", "1025", "64MB"],
    "submit_max_memory_limit_mb": ["0", "15", "255"],
    "submit_concurrency": ["-1", "1001"],
    "submit_queue_size": ["-1", "10001"],
    "submit_cache_mb": ["-1", "some"],
    "sandbox_steps": ["walls", "seccomp,walls"],
    "sandbox_required": ["walls"],
    "allow_stubs_only": ["perhaps"],
    "list_sessions": ["perhaps"],
    "allowed_hosts": [],
    "api_keys": ["ada", "ada:secret", f"{A_KEY},{A_KEY}", ","],
    "api_keys_file": ["absent.txt", "/"],
    "key_max_sessions": ["-1", "many", ""],
    "key_requests_per_minute": ["-1", "1.5", "inf"],
    "key_cpu_seconds_per_minute": ["-1", "1.5", "nan"],
}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No setting of the developer's: neither in the environment nor in a `.env`."""
    for name in Settings.model_fields:
        for variable in (name.upper(), f"PYRUNNER_{name.upper()}"):
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys.txt").write_text(f"{A_KEY}\n")
    return tmp_path


def test_each_setting_is_tested_here() -> None:
    assert OTHER.keys() == WRONG.keys() == Settings.model_fields.keys()


@pytest.mark.parametrize(("name", "value"), DEFAULTS.items())
def test_the_defaults_are_those_promised(name: str, value: object) -> None:
    assert getattr(read_settings(), name) == value


@pytest.mark.parametrize("prefix", ["", "PYRUNNER_"])
@pytest.mark.parametrize("name", OTHER)
def test_each_setting_is_read_from_the_environment_by_both_names(
    monkeypatch: pytest.MonkeyPatch, name: str, prefix: str
) -> None:
    written, read = OTHER[name]
    assert getattr(read_settings(), name) != read
    monkeypatch.setenv(prefix + name.upper(), written)
    assert getattr(read_settings(), name) == read


@pytest.mark.parametrize("prefix", ["", "PYRUNNER_"])
@pytest.mark.parametrize("name", OTHER)
def test_each_setting_is_read_from_dot_env_by_both_names(empty_folder: Path, name: str, prefix: str) -> None:
    written, read = OTHER[name]
    (empty_folder / ".env").write_text(f"# a comment\nOTHER_PROGRAM=1\n{prefix}{name.upper()}={written}\n")
    assert getattr(read_settings(), name) == read


def test_names_are_read_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("pyrunner_max_sessions", "7")
    assert read_settings().max_sessions == 7


# From the strongest to the weakest.
SOURCES = ("given", "PYRUNNER_PORT", "PORT", ".env PYRUNNER_PORT", ".env PORT")


@pytest.mark.parametrize(
    ("stronger", "weaker"),
    [pair for at, one in enumerate(SOURCES) for pair in ((one, other) for other in SOURCES[at + 1 :])],
)
def test_the_stronger_source_wins(empty_folder: Path, stronger: str, weaker: str) -> None:
    given: dict[str, int] = {}
    lines = []
    with pytest.MonkeyPatch.context() as patch:
        for source, port in ((stronger, 1001), (weaker, 1002)):
            if source == "given":
                given["port"] = port
            elif source.startswith(".env "):
                lines.append(f"{source.removeprefix('.env ')}={port}\n")
            else:
                patch.setenv(source, str(port))
        (empty_folder / ".env").write_text("".join(lines))
        assert read_settings(**given).port == 1001


def test_what_is_not_given_on_the_command_line_is_read_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9000")
    assert read_settings(port=None, host=None).port == 9000


@pytest.mark.parametrize("prefix", ["", "PYRUNNER_"])
@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value_is_refused_by_the_name_of_its_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, prefix: str
) -> None:
    monkeypatch.setenv(prefix + name.upper(), value)
    with pytest.raises(SettingsError) as refused:
        read_settings()
    assert name.upper() in str(refused.value)


def test_each_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "x")
    monkeypatch.setenv("PYRUNNER_MAX_SESSIONS", "y")
    with pytest.raises(SettingsError) as refused:
        read_settings(log_level="loud")
    for name in ("PORT", "MAX_SESSIONS", "LOG_LEVEL"):
        assert name in str(refused.value)


def test_a_time_limit_above_the_highest_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMEOUT_SECONDS", "31")
    with pytest.raises(SettingsError, match="TIMEOUT_SECONDS"):
        read_settings()
    monkeypatch.setenv("MAX_TIMEOUT_SECONDS", "31")
    assert read_settings().timeout_seconds == 31


@pytest.mark.parametrize(
    ("host", "listed"),
    [("127.0.0.1", True), ("127.0.0.2", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("::", False)],
)
def test_ids_are_listed_by_default_on_loopback_only(host: str, listed: bool) -> None:
    assert read_settings(host=host).lists_sessions is listed
    assert read_settings(host=host, list_sessions=not listed).lists_sessions is not listed


@pytest.mark.parametrize(
    ("default", "most", "value"),
    [("RUN_TIMEOUT_SECONDS", "RUN_MAX_TIMEOUT_SECONDS", 301), ("RUN_MEMORY_LIMIT_MB", "RUN_MAX_MEMORY_LIMIT_MB", 2049)],
)
def test_a_run_s_limit_above_the_highest_is_refused(
    monkeypatch: pytest.MonkeyPatch, default: str, most: str, value: int
) -> None:
    monkeypatch.setenv(default, str(value))
    with pytest.raises(SettingsError, match=f"{default}: it is higher than {most}"):
        read_settings()
    monkeypatch.setenv(most, str(value))
    assert getattr(read_settings(), default.lower()) == value


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("default", DEFAULT_MODULES),
        ("default,default", DEFAULT_MODULES),
        (" default , os.path,os.path", (*DEFAULT_MODULES, "os.path")),
        ("os, default", ("os", *DEFAULT_MODULES)),
        ("math", ("math",)),
        ("math,,numpy.linalg,", ("math", "numpy.linalg")),
        ("été", ("été",)),
        ("", ()),
    ],
)
def test_the_modules_of_runs_are_a_list_in_which_default_stands_for_many(written: str, read: tuple[str, ...]) -> None:
    assert read_settings(run_modules=written).modules == read


@pytest.mark.parametrize(
    ("sessions", "runs", "of_runs", "all_of_them"),
    [
        ("all", "all", ("plain", "numpy", "all"), ("plain", "numpy", "all")),
        ("plain", "plain", ("plain",), ("plain",)),
        ("plain", "numpy", ("plain", "numpy"), ("plain", "numpy")),
        ("all", "plain", ("plain",), ("plain", "all")),
        ("numpy", "all", ("plain", "numpy", "all"), ("plain", "numpy", "all")),
    ],
)
def test_no_libraries_are_kept_that_neither_sessions_nor_runs_want(
    sessions: str, runs: str, of_runs: tuple[str, ...], all_of_them: tuple[str, ...]
) -> None:
    settings = read_settings(session_libraries=sessions, run_libraries=runs)
    assert (settings.run_tiers, settings.tiers) == (of_runs, all_of_them)


def test_the_most_that_a_run_may_have_is_that_of_the_settings() -> None:
    limits = read_settings(run_max_timeout_seconds=40, run_max_memory_limit_mb=600, output_limit_kb=8).run_limits
    assert (limits.wall_s, limits.memory_bytes, limits.output_bytes) == (40.0, 600 * 2**20, 8 * 2**10)
    assert read_settings(run_concurrency=7).runs_at_once == 7


def test_limits_are_those_of_the_settings() -> None:
    limits = read_settings(timeout_seconds=1.5, memory_limit_mb=64, output_limit_kb=8).limits
    assert (limits.wall_s, limits.memory_bytes, limits.output_bytes) == (1.5, 64 * 2**20, 8 * 2**10)


def test_a_key_without_limits_of_its_own_has_those_of_the_settings() -> None:
    settings = read_settings(
        api_keys=A_KEY, key_max_sessions=1, key_requests_per_minute=2, key_cpu_seconds_per_minute=3
    )
    keys = settings.read_keys()
    assert keys and [key.quota for key in keys] == [Quota(sessions=1, requests=2, cpu_s=3)]
    assert read_settings().read_keys() is None
    assert A_KEY not in repr(settings)


def test_there_is_an_audit_log_by_default_where_the_log_is_collected() -> None:
    assert not read_settings().audits
    assert read_settings(log_format="json").audits
    assert read_settings(audit_log=True).audits
    assert read_settings(api_keys=A_KEY).audits
    assert not read_settings(log_format="json", audit_log=False).audits


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read_settings().port = 1  # type: ignore[misc]


def test_no_setting_is_taken_from_a_variable_that_only_looks_like_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYRUNNER_PYRUNNER_PORT", "MY_PORT", "PORT_", "PYRUNNERPORT"):
        monkeypatch.setenv(name, "1")
    assert read_settings() == Settings()
    assert read_settings().port == 8000
