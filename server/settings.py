"""Every setting, read here and nowhere else: from the environment and from `.env`, with or without PYRUNNER_."""

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import AliasChoices, AliasGenerator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from sandbox.confine.jail import STEPS, Plan
from sandbox.limits import MIB, Limits

VERSION = "0.1.0"


_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))


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
    log_level: Literal["debug", "info", "warning", "error"] = _setting("info", "least grave messages that are logged")
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
    def lists_sessions(self) -> bool:
        return self.is_local if self.list_sessions is None else self.list_sessions

    @property
    def limits(self) -> Limits:
        return Limits(
            wall_s=self.timeout_seconds,
            memory_bytes=self.memory_limit_mb * MIB,
            output_bytes=self.output_limit_kb * 1024,
        )


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
    if settings.timeout_seconds > settings.max_timeout_seconds:
        raise SettingsError("TIMEOUT_SECONDS: it is higher than MAX_TIMEOUT_SECONDS")
    _ = settings.plan  # says what is wrong with it
    return settings
