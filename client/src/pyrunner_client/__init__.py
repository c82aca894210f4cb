"""A client of PyRunner: Python sessions on a server.

    with Session("http://127.0.0.1:8000") as session:
        session.run("x = 1")
        print(session.run("x").result)

`python -m pyrunner_client URL` is an interactive console of the same.
"""

from pyrunner_client.answers import (
    Completion,
    Display,
    Done,
    Event,
    Inspection,
    Printed,
    Result,
    RunResult,
    SessionInfo,
    Stderr,
    Stdout,
)
from pyrunner_client.errors import (
    BadRequest,
    Busy,
    ExecutionFailed,
    MaxSessionsReached,
    PyRunnerError,
    ServerFault,
    ServerGone,
    ServerUnreachable,
    SessionLost,
    SessionNotFound,
    Unauthorized,
)
from pyrunner_client.once import run_once
from pyrunner_client.session import Session

__version__ = "0.1.0"

__all__ = [
    "BadRequest",
    "Busy",
    "Completion",
    "Display",
    "Done",
    "Event",
    "ExecutionFailed",
    "Inspection",
    "MaxSessionsReached",
    "Printed",
    "PyRunnerError",
    "Result",
    "RunResult",
    "ServerFault",
    "ServerGone",
    "ServerUnreachable",
    "Session",
    "SessionInfo",
    "SessionLost",
    "SessionNotFound",
    "Stderr",
    "Stdout",
    "Unauthorized",
    "run_once",
]
