"""The queue in front of runs: so many at once, so many waiting, first in first out, whoever leaves or fails."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cluster.turns import QueueFull, Turns


class Floor:
    """Work that has its turn until it is told to end; `begun` names it in the order of the turns."""

    def __init__(self, at_once: int, most_waiting: int) -> None:
        self.turns = Turns("runs", at_once, most_waiting)
        self.begun: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, *names: str) -> None:
        for name in names:
            self._ends[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._work(name))
            await settle()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self._tasks[name]
        await settle()

    async def leave(self, name: str) -> None:
        self._tasks[name].cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._tasks[name]
        await settle()

    def figures(self) -> tuple[int, int]:
        return self.turns.active, self.turns.waiting

    async def _work(self, name: str) -> None:
        async with self.turns.turn():
            self.begun.append(name)
            await self._ends[name].wait()


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def on_a_floor(at_once: int, most_waiting: int) -> Callable[[Callable[[Floor], Awaitable[None]]], Callable[[], None]]:
    def decorate(test: Callable[[Floor], Awaitable[None]]) -> Callable[[], None]:
        def run() -> None:
            async def story() -> None:
                await test(Floor(at_once, most_waiting))

            asyncio.run(story())

        return run

    return decorate


@on_a_floor(at_once=2, most_waiting=3)
async def test_turns_come_in_the_order_of_arrival(floor: Floor) -> None:
    await floor.come(*"abcde")
    assert (floor.begun, floor.figures()) == (["a", "b"], (2, 3))
    for name in "badce":
        await floor.end(name)
    assert (floor.begun, floor.figures()) == (list("abcde"), (0, 0))


@on_a_floor(at_once=1, most_waiting=2)
async def test_who_finds_no_place_is_refused_at_once_and_takes_none(floor: Floor) -> None:
    await floor.come(*"abc")
    for _ in range(3):
        with pytest.raises(QueueFull, match="2 runs are waiting"):
            async with floor.turns.turn():
                raise AssertionError
    assert floor.figures() == (1, 2)
    await floor.end("a")
    await floor.come("d")
    for name in "bcd":
        await floor.end(name)
    assert floor.begun == list("abcd")


@on_a_floor(at_once=1, most_waiting=0)
async def test_without_places_only_who_need_not_wait_is_taken(floor: Floor) -> None:
    await floor.come("a")
    with pytest.raises(QueueFull):
        async with floor.turns.turn():
            raise AssertionError
    await floor.end("a")
    await floor.come("b")
    await floor.end("b")
    assert floor.begun == ["a", "b"]


@on_a_floor(at_once=1, most_waiting=3)
async def test_who_leaves_while_it_waits_frees_its_place_and_keeps_the_order(floor: Floor) -> None:
    await floor.come(*"abcd")
    await floor.leave("c")
    assert floor.figures() == (1, 2)
    await floor.come("e")
    for name in "abde":
        await floor.end(name)
    assert (floor.begun, floor.figures()) == (list("abde"), (0, 0))


@on_a_floor(at_once=1, most_waiting=3)
async def test_who_leaves_while_it_has_its_turn_passes_it_on(floor: Floor) -> None:
    await floor.come(*"ab")
    await floor.leave("a")
    assert (floor.begun, floor.figures()) == (["a", "b"], (1, 0))
    await floor.end("b")


@on_a_floor(at_once=1, most_waiting=3)
async def test_who_leaves_in_the_moment_of_its_turn_loses_no_turn(floor: Floor) -> None:
    await floor.come(*"abc")
    floor._ends["a"].set()
    await floor._tasks["a"]  # b has been woken, and has not run yet
    await floor.leave("b")
    assert floor.begun[-1] == "c"
    await floor.end("c")
    assert floor.figures() == (0, 0)


@on_a_floor(at_once=1, most_waiting=3)
async def test_a_fault_ends_a_turn_too(floor: Floor) -> None:
    with pytest.raises(ZeroDivisionError):
        async with floor.turns.turn():
            raise ZeroDivisionError
    assert floor.figures() == (0, 0)
    await floor.come("a")
    assert floor.begun == ["a"]
    await floor.end("a")
