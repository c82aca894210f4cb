"""What gateways and nodes say to each other: a byte for the kind, then JSON."""

import json
from enum import Enum
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from cluster.context import REQUEST
from cluster.turns import QueueFull
from cluster.vitals import Vitals
from judge import errors as judge_errors
from judge.submission import Report
from sandbox.outcome import Outcome, RunOutcome
from sessions import errors
from sessions.session import Figures
from sessions.stream import News


class Kind(bytes, Enum):
    ERRAND = b"!"  # what is to be done
    WANT = b"?"  # who takes an errand? It follows
    TAKEN = b"t"  # it is being done, or may follow
    OPENED = b"o"  # the session counts
    SPENT = b"$"  # seconds of processor time: the execution has ended, though its news may not be read yet
    GO_ON = b"g"  # the news have arrived
    NEWS = b"n"
    ANSWER = b"a"
    REFUSED = b"x"
    LEFT = b"l"  # nobody waits for the answer any more
    PART = b"+"  # of a letter that is longer than NATS takes
    PROBE = b"p"  # are you there?
    PONG = b"q"
    GONE = b"0"  # this conversation is over, or never was


KINDS = {kind.value: kind for kind in Kind}


class Letter(NamedTuple):
    kind: Kind
    body: bytes


OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Outcome)
RUN_OUTCOME: TypeAdapter[RunOutcome] = TypeAdapter(RunOutcome)
REPORT: TypeAdapter[Report] = TypeAdapter(Report)
VITALS: TypeAdapter[Vitals] = TypeAdapter(Vitals)
FIGURES: TypeAdapter[Figures] = TypeAdapter(Figures)
SEVERAL_FIGURES: TypeAdapter[list[Figures]] = TypeAdapter(list[Figures])
NEWS: TypeAdapter[News] = TypeAdapter(News)

# Refusals and faults that travel. Whoever asked raises them again.
_ERRORS: dict[str, type[Exception]] = {
    f"{kind.__module__}.{kind.__name__}": kind
    for kind in (
        QueueFull,
        errors.SessionNotFound,
        errors.SessionBusy,
        errors.SessionRuns,
        errors.MaxSessionsReached,
        errors.Draining,
        errors.NoWorker,
        judge_errors.Unavailable,
        judge_errors.Draining,
        judge_errors.Fault,
    )
}
TRAVELLING = tuple(_ERRORS.values())


def errand(do: str, **fields: Any) -> bytes:
    """What is to be done, and for which request. Code may hold lone surrogates, so this is JSON in ASCII."""
    return json.dumps({"do": do, "request": REQUEST.get(), **fields}).encode()


def refusal(error: Exception) -> bytes:
    """An error as text. One that is not of TRAVELLING is told without its cause, which is in the node's log."""
    kind = next((name for name, known in _ERRORS.items() if isinstance(error, known)), None)
    if kind is None:
        return json.dumps({"kind": None}).encode()
    return json.dumps({"kind": kind, "text": str(error), "id": getattr(error, "session_id", "")}).encode()


def refused(body: bytes) -> Exception:
    """The error that `refusal` was made of."""
    told = json.loads(body)
    if told["kind"] is None:
        return RuntimeError("a node failed: its log has the cause")
    kind = _ERRORS[told["kind"]]
    error = kind.__new__(kind, told["text"])  # its text is whole: it is not made again
    if isinstance(error, errors.SessionNotFound):
        error.session_id = told["id"]
    return error
