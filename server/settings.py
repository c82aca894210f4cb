"""Every setting, read here and nowhere else: from the environment and from `.env`, with or without PYRUNNER_."""

from typing import Any, Literal

from pydantic import AliasChoices, AliasGenerator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from sandbox.confine.jail import Plan
from sandbox.limits import MIB, Limits

VERSION = "0.1.0"


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
    list_sessions: bool | None = _setting(
        None, "whether GET /sessions lists ids, with which anyone may use a session; by default only on loopback"
    )

    @property
    def plan(self) -> Plan:
        return Plan()

    @property
    def lists_sessions(self) -> bool:
        if self.list_sessions is not None:
            return self.list_sessions
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    @property
    def limits(self) -> Limits:
        return Limits(
            wall_s=self.timeout_seconds,
            memory_bytes=self.memory_limit_mb * MIB,
            output_bytes=self.output_limit_kb * 1024,
        )


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
    return settings
