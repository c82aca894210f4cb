"""overdue(): whom the reaper closes, as a function of the time it is given."""

import asyncio

import pytest

from sandbox.limits import Limits
from sessions.lifecycle import State
from sessions.reaper import overdue
from sessions.session import Session


def a_session(state: State, idle_since: float) -> Session:
    async def make() -> Session:
        return Session(f"{state.value} since {idle_since}", Limits(), lambda session: None)

    session = asyncio.run(make())
    session.state, session.idle_since = state, idle_since
    return session


def test_an_idle_session_is_overdue_at_its_deadline_and_not_before() -> None:
    session = a_session(State.IDLE, idle_since=100.0)
    assert overdue([session], now=159.9, idle_s=60.0) == []
    assert overdue([session], now=160.0, idle_s=60.0) == [session]
    assert overdue([session], now=1e9, idle_s=60.0) == [session]


@pytest.mark.parametrize("state", [state for state in State if state is not State.IDLE])
def test_only_an_idle_session_is_ever_overdue(state: State) -> None:
    assert overdue([a_session(state, idle_since=0.0)], now=1e9, idle_s=60.0) == []


def test_of_many_sessions_those_past_their_deadline_are_named_in_order() -> None:
    sessions = [a_session(State.IDLE, idle_since=since) for since in (0.0, 50.0, 10.0, 41.0)]
    assert overdue(sessions, now=100.0, idle_s=60.0) == [sessions[0], sessions[2]]


def test_without_sessions_none_is_overdue() -> None:
    assert overdue([], now=1e9, idle_s=0.001) == []
