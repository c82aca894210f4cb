"""The audit log: one line for each execution, run and submission that ended. Of code it tells hash and length only."""

import hashlib
import json
import logging
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from cluster.context import REQUEST
from sandbox.limits import MIB
from server import logs

log = logging.getLogger("audit")

_dumps = json.JSONEncoder().encode


class Used(NamedTuple):
    """What it used that ended. None where nobody has measured it."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_bytes: int | None = 0
    output_bytes: int = 0


class Entry(NamedTuple):
    """One line."""

    event: str  # execution, run or submission
    outcome: str
    key: str | None  # whose API key it came with
    session: str | None
    code: str
    used: Used
    status: int | None  # of the answer; None when its client had left before
    tests: str | None = None  # of a submission: they are code as well


class Audit:
    """Writes lines, each of which is out when write() returns: what was answered is in the log."""

    def __init__(self, form: logs.Form, role: str) -> None:
        self._format: Callable[[Entry], str] = self._text
        self._role = role
        log.setLevel(logging.INFO)  # whatever the level of the log
        if form == "json":
            self._format = self._json
            handler = logging.StreamHandler(sys.stdout)  # with no formatter: the line is whole, and built faster here
            log.addHandler(handler)
            log.propagate = False

    def write(self, entry: Entry) -> None:
        """Write a line."""
        log.info(self._format(entry))

    def _json(self, entry: Entry) -> str:
        head = {
            "time": logs.rfc3339(time.time()),
            "level": "INFO",
            "logger": log.name,
            "message": f"{entry.event}: {entry.outcome}",
            "role": self._role,
        }
        return _dumps(head | _fields(entry))

    def _text(self, entry: Entry) -> str:
        fields = _fields(entry)
        return " ".join(f"{name}={'-' if value is None else value}" for name, value in fields.items())


def _fields(entry: Entry) -> dict[str, str | float | None]:
    used = entry.used
    return {
        "event": entry.event,
        "outcome": entry.outcome,
        "status": entry.status,
        "key": entry.key,
        "request": REQUEST.get(),
        "session": entry.session,
        "code_sha256": _sha256(entry.code),
        "tests_sha256": None if entry.tests is None else _sha256(entry.tests),
        "code_chars": len(entry.code),
        "wall_s": round(used.wall_s, 6),
        "cpu_s": round(used.cpu_s, 6),
        "memory_mib": None if used.memory_bytes is None else round(used.memory_bytes / MIB, 3),
        "output_bytes": used.output_bytes,
    }


def _sha256(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()
