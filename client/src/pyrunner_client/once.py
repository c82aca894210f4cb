"""A program that runs once, by the rules of `POST /run`."""

from __future__ import annotations

from pyrunner_client.answers import RunResult
from pyrunner_client.transport import Transport


def run_once(
    url: str,
    code: str,
    *,
    timeout: int | None = None,
    memory_limit: int | None = None,
    patience: float = 10.0,
    key: str | None = None,
) -> RunResult:
    """Run a program in an interpreter of its own, with only the imports that the server allows.

    `timeout` in seconds, `memory_limit` in MiB. Raises as `Session.run` does, but knows of no session.
    """
    body = {"code": code, "timeout": timeout, "memory_limit": memory_limit}
    transport = Transport(url, patience, key)
    try:
        return transport.ask(RunResult.of, "POST", "/run", body, within=None)
    finally:
        transport.close()
