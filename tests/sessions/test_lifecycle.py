"""The table of states: each pair of state and event is either a row of it or refused."""

from itertools import product

import pytest

from sessions.errors import IllegalTransition
from sessions.lifecycle import Event, State, after

# Written out again rather than imported: a row that slips into the table by mistake fails here.
LEGAL = {
    (State.STARTING, Event.READY): State.IDLE,
    (State.STARTING, Event.CLOSE): State.DEAD,  # it has no worker whose end were to be awaited
    (State.IDLE, Event.ASK): State.BUSY,
    (State.IDLE, Event.CLOSE): State.CLOSING,
    (State.IDLE, Event.DEATH): State.DEAD,
    (State.BUSY, Event.ANSWER): State.IDLE,
    (State.BUSY, Event.CLOSE): State.CLOSING,
    (State.BUSY, Event.DEATH): State.DEAD,
    (State.CLOSING, Event.DEATH): State.DEAD,
}
PAIRS = list(product(State, Event))


@pytest.mark.parametrize(("state", "event"), [pair for pair in PAIRS if pair in LEGAL])
def test_a_legal_event_leads_to_its_state(state: State, event: Event) -> None:
    assert after(state, event) is LEGAL[state, event]


@pytest.mark.parametrize(("state", "event"), [pair for pair in PAIRS if pair not in LEGAL])
def test_an_illegal_event_is_refused_by_name(state: State, event: Event) -> None:
    with pytest.raises(IllegalTransition, match=f"^{event.name} in state {state.name}$"):
        after(state, event)


def test_every_state_but_dead_can_end_and_dead_is_the_end() -> None:
    ways = {state: {end for (start, _), end in LEGAL.items() if start is state} for state in State}
    assert ways.pop(State.DEAD) == set()
    assert all(ends & {State.CLOSING, State.DEAD} for ends in ways.values())
