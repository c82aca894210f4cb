"""Every setting, read here and nowhere else: from the environment and from `.env`, with or without PYRUNNER_."""

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

from pydantic import AliasChoices, AliasGenerator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from sandbox.confine.jail import STEPS, Plan
from sandbox.limits import MIB, Limits
from sandbox.policy import DEFAULT_MODULES
from sandbox.tiers import TIERS
from server.keys import Keys, KeysError, Quota

VERSION = "0.1.0"


_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))


_DEFAULT = "default"
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


_DEFAULT_AND_MOST = (
    ("timeout_seconds", "max_timeout_seconds"),
    ("run_timeout_seconds", "run_max_timeout_seconds"),
    ("run_memory_limit_mb", "run_max_memory_limit_mb"),
    ("submit_timeout_seconds", "submit_max_timeout_seconds"),
    ("submit_memory_limit_mb", "submit_max_memory_limit_mb"),
)


class SettingsError(Exception):
    """A setting has a value that cannot be used. Its text names the setting."""


def _setting(default: Any, description: str, **bounds: Any) -> Any:
    return Field(default, description=description, **bounds)


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_file=".env",
        extra="ignore",
        frozen=True,
        alias_generator=AliasGenerator(
            validation_alias=lambda name: AliasChoices(f"PYRUNNER_{name.upper()}", name.upper())
        ),
        populate_by_name=True,
    )

    host: str = _setting("127.0.0.1", "address to listen on; 0.0.0.0 for all of this machine's")
    port: int = _setting(8000, "port to listen on; 0 takes a free one", ge=0, le=65535)
    role: Literal["all", "gateway", "node"] = _setting(
        "all",
        "gateway: HTTP only, the work is done by nodes; node: does it, and is reached through NATS; all: both in one",
    )
    nats_url: str = _setting("nats://127.0.0.1:4222", "where gateways and nodes meet; several with commas", repr=False)
    drain_seconds: float | None = _setting(
        None,
        "how long what runs may go on when the server is stopped; by default 4, on a node as long as its longest run",
        ge=0,
        le=3600,
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting("info", "least grave messages that are logged")
    log_format: Literal["text", "json"] = _setting(
        "text", "text: the log goes to stderr, for people; json: to stdout, a JSON object a line, for what collects it"
    )
    audit_log: bool | None = _setting(
        None,
        "whether what was executed, run and submitted is logged; by default with LOG_FORMAT=json or with keys",
    )
    timeout_seconds: float = _setting(2.0, "time limit of an execution", gt=0, le=3600)
    max_timeout_seconds: float = _setting(30.0, "highest `timeout` that a request may ask for", gt=0, le=3600)
    memory_limit_mb: int = _setting(100, "MiB that a session may use over what it holds at birth", ge=16, le=65536)
    output_limit_kb: int = _setting(1024, "KiB kept of stdout and of stderr each", ge=4, le=16384)
    max_sessions: int = _setting(40, "sessions open at once", ge=1, le=2000)
    idle_timeout_seconds: float = _setting(60.0, "a session idle for so long is closed", gt=0)
    pool_size: int = _setting(8, "workers kept warm for new sessions", ge=0, le=100)
    session_libraries: Literal["all", "numpy", "plain"] = _setting(
        "all", "libraries that sessions find loaded: the scientific ones, numpy, or only Python's own"
    )
    run_timeout_seconds: int = _setting(30, "time limit of a run that asks for none", ge=1, le=3600)
    run_max_timeout_seconds: int = _setting(300, "highest `timeout` that a run may ask for", ge=1, le=3600)
    run_memory_limit_mb: int = _setting(
        512, "MiB that a run may use if it asks for no limit of its own", ge=64, le=65536
    )
    run_max_memory_limit_mb: int = _setting(2048, "highest `memory_limit` that a run may ask for", ge=64, le=65536)
    run_modules: str = _setting(
        _DEFAULT,
        "modules that a run may import, with all below them; `default` stands for those that docs/api.md lists",
    )
    run_libraries: Literal["all", "numpy", "plain"] = _setting(
        "all", "libraries that runs find loaded, if they import them"
    )
    run_concurrency: int = _setting(0, "runs at the same time; 0 for one per core", ge=0, le=1000)
    run_queue_size: int = _setting(100, "runs that may wait for their turn", ge=0, le=10000)
    run_pool_size: int = _setting(2, "workers kept warm for runs, of each tier of libraries", ge=0, le=100)
    submit_timeout_seconds: int = _setting(15, "time limit of a submission that asks for none", ge=1, le=3600)
    submit_max_timeout_seconds: int = _setting(60, "highest `timeout` that a submission may ask for", ge=1, le=3600)
    submit_test_timeout_seconds: int = _setting(5, "time limit of each test of a submission", ge=1, le=3600)
    submit_memory_limit_mb: int = _setting(
        256, "MiB that a submission's program may use if it asks for no limit of its own", ge=16, le=65536
    )
    submit_max_memory_limit_mb: int = _setting(
        1024, "highest `memory_limit` that a submission may ask for", ge=16, le=65536
    )
    submit_concurrency: int = _setting(0, "submissions at the same time; 0 for one per core", ge=0, le=1000)
    submit_queue_size: int = _setting(100, "submissions that may wait for their turn", ge=0, le=10000)
    submit_cache_mb: int = _setting(64, "MiB of compiled submissions that are kept", ge=0, le=65536)
    allowed_hosts: str | None = _setting(
        None, "names that a Host header may have, or *; by default any, but on loopback only this machine's own"
    )
    sandbox_steps: str = _setting(
        ",".join(STEPS), "steps of the wall around workers, in their order; docs/threat-model.md says what each does"
    )
    sandbox_required: str = _setting(
        ",".join(step for step in STEPS if step in Plan().required),
        "steps without which the server does not start",
    )
    allow_stubs_only: bool = _setting(
        False, "start although required steps are missing: workers are then held by good manners only"
    )
    list_sessions: bool | None = _setting(
        None, "whether GET /sessions lists ids, with which anyone may use a session; by default only on loopback"
    )

    api_keys: str = _setting(
        "", "keys of those who may use this server, separated by commas, as run.py --new-key makes them", repr=False
    )
    api_keys_file: str = _setting("", "file with such keys, one a line; read again on SIGHUP")
    key_max_sessions: int = _setting(0, "sessions that a key may have open; 0: no limit", ge=0, le=1_000_000)
    key_requests_per_minute: int = _setting(0, "requests of a key in a minute; 0: no limit", ge=0, le=1_000_000)
    key_cpu_seconds_per_minute: int = _setting(
        0, "CPU seconds that a key's code may use in a minute; 0: no limit", ge=0, le=1_000_000
    )

    @property
    def plan(self) -> Plan:
        """How workers are confined. Raises SettingsError for a step that does not exist."""
        steps, required = _steps("SANDBOX_STEPS", self.sandbox_steps), _steps("SANDBOX_REQUIRED", self.sandbox_required)
        if self.allow_stubs_only:
            required = ()
        elif missing := set(required) - set(steps):
            raise SettingsError(f"SANDBOX_REQUIRED: {', '.join(sorted(missing))} is not in SANDBOX_STEPS")
        return Plan(steps, frozenset(required))

    @property
    def modules(self) -> tuple[str, ...]:
        """Dotted names that a run may import. Raises SettingsError for what is no such name."""
        named = [part.strip() for part in self.run_modules.split(",") if part.strip()]
        if wrong := [name for name in named if not _MODULE.fullmatch(name)]:
            raise SettingsError(f"RUN_MODULES: {wrong[0]!r} is not the name of a module")
        given = ((DEFAULT_MODULES if name == _DEFAULT else (name,)) for name in named)
        return tuple(dict.fromkeys(name for names in given for name in names))

    @property
    def run_tiers(self) -> tuple[str, ...]:
        """The tiers that runs come from, the smallest first."""
        tiers = tuple(TIERS)
        return tiers[: tiers.index(self.run_libraries) + 1]

    @property
    def tiers(self) -> tuple[str, ...]:
        """All tiers that are kept, the smallest first; the plain one is there at once."""
        wanted = {"plain", self.session_libraries, *self.run_tiers}
        return tuple(tier for tier in TIERS if tier in wanted)

    @property
    def runs_at_once(self) -> int:
        return self.run_concurrency or len(os.sched_getaffinity(0))

    @property
    def submissions_at_once(self) -> int:
        return self.submit_concurrency or len(os.sched_getaffinity(0))

    @property
    def drain_s(self) -> float:
        """How long what runs may go on after SIGTERM."""
        if self.drain_seconds is not None:
            return self.drain_seconds
        longest = max(self.max_timeout_seconds, self.run_max_timeout_seconds, self.submit_max_timeout_seconds)
        return float(longest + 5) if self.role == "node" else 4.0

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return self.host in _LOOPBACK or self.host.startswith("127.")

    @property
    def hosts(self) -> frozenset[str] | None:
        """The names in a Host header that are answered; None for all."""
        if self.allowed_hosts:
            named = frozenset(name.strip().lower() for name in self.allowed_hosts.split(",") if name.strip())
            return None if "*" in named else named
        return _LOOPBACK | {self.host} if self.is_local else None

    @property
    def quota(self) -> Quota:
        """What a key may use that has no quota of its own."""
        return Quota(self.key_max_sessions, self.key_requests_per_minute, self.key_cpu_seconds_per_minute)

    @property
    def has_keys(self) -> bool:
        return bool(self.api_keys or self.api_keys_file)

    def read_keys(self) -> Keys | None:
        """The keys that there are now, for their file may change; None: nobody needs one. Raises SettingsError."""
        try:
            return Keys.read(self.api_keys, self.api_keys_file, self.quota)
        except KeysError as error:
            raise SettingsError(str(error)) from None

    @property
    def audits(self) -> bool:
        """Whether there is an audit log."""
        return (self.log_format == "json" or self.has_keys) if self.audit_log is None else self.audit_log

    @property
    def lists_sessions(self) -> bool:
        return self.is_local if self.list_sessions is None else self.list_sessions

    @property
    def limits(self) -> Limits:
        return Limits(
            wall_s=self.timeout_seconds,
            memory_bytes=self.memory_limit_mb * MIB,
            output_bytes=self.output_limit_kb * 1024,
        )

    @property
    def run_limits(self) -> Limits:
        """The most that a run may ask for."""
        memory_bytes = self.run_max_memory_limit_mb * MIB
        return replace(self.limits, wall_s=float(self.run_max_timeout_seconds), memory_bytes=memory_bytes)


def _steps(name: str, value: str) -> tuple[str, ...]:
    steps = tuple(part.strip() for part in value.split(",") if part.strip())
    if unknown := set(steps) - set(STEPS):
        raise SettingsError(f"{name}: there is no step {', '.join(sorted(unknown))}; there are {', '.join(STEPS)}")
    return steps


def unknown_settings(environment: Iterable[str]) -> list[str]:
    """Names in the environment that look like a setting of this program, and are none."""
    known = {f"PYRUNNER_{name.upper()}" for name in Settings.model_fields}
    return sorted(name for name in environment if name.startswith("PYRUNNER_") and name not in known)


def read_settings(**given: Any) -> Settings:
    """The settings of the environment and `.env`; `given` ones (None is not given) go before.

    Raises SettingsError naming each setting that is wrong.
    """
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        wrong = (f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        raise SettingsError("; ".join(wrong)) from None
    for default, most in _DEFAULT_AND_MOST:
        if getattr(settings, default) > getattr(settings, most):
            raise SettingsError(f"{default.upper()}: it is higher than {most.upper()}")
    _ = settings.plan, settings.modules, settings.read_keys()  # they say what is wrong with them
    return settings
