"""The states of a session, and the only ways from one to another."""

from enum import StrEnum

from sessions.errors import IllegalTransition


class State(StrEnum):
    STARTING = "starting"  # it has its id, and waits for a worker
    IDLE = "idle"
    BUSY = "busy"  # exactly one execution is in the worker
    CLOSING = "closing"  # its worker has been killed and is not yet reaped
    DEAD = "dead"


class Cause(StrEnum):
    """Why a worker ended that did not end of itself when its work was done."""

    TIMEOUT = "timeout"  # killed: it did not end at its limit
    MEMORY = "memory"  # killed: it used more than its limit
    CRASH = "crash"  # nobody killed it
    IDLE = "idle"  # its session was closed by the reaper
    CLOSED = "closed"  # its session was closed by a request
    ABANDONED = "abandoned"  # nobody waited for it any more
    DRAIN = "drain"  # the server stopped


class Event(StrEnum):
    READY = "ready"  # a worker has been handed over
    ASK = "ask"
    ANSWER = "answer"
    CLOSE = "close"  # by the reaper, a limit, a request, or the end of the server
    DEATH = "death"  # the worker is gone


TRANSITIONS = {
    (State.STARTING, Event.READY): State.IDLE,
    (State.STARTING, Event.CLOSE): State.DEAD,
    (State.IDLE, Event.ASK): State.BUSY,
    (State.IDLE, Event.CLOSE): State.CLOSING,
    (State.IDLE, Event.DEATH): State.DEAD,
    (State.BUSY, Event.ANSWER): State.IDLE,
    (State.BUSY, Event.CLOSE): State.CLOSING,
    (State.BUSY, Event.DEATH): State.DEAD,
    (State.CLOSING, Event.DEATH): State.DEAD,
}


def after(state: State, event: Event) -> State:
    """The state that follows. Raises IllegalTransition where the table has no row."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"{event.name} in state {state.name}") from None
