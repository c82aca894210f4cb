"""A real judge, with real gcc and valgrind, for the tests of this folder."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from judge.judge import Judge
from judge.submission import Report, Submission

needs_tools = pytest.mark.skipif(
    not (shutil.which("gcc") and shutil.which("valgrind")), reason="gcc and valgrind are not installed"
)


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="session")
def judge(runner: asyncio.Runner) -> Iterator[Judge]:
    """One judge for all tests that leave it as it is."""
    if not (shutil.which("gcc") and shutil.which("valgrind")):
        pytest.skip("gcc and valgrind are not installed")

    async def start() -> Judge:
        return await Judge().__aenter__()

    judge = runner.run(start())
    yield judge
    runner.run(judge.__aexit__())


@pytest.fixture
def judged(runner: asyncio.Runner, judge: Judge) -> Callable[..., Report]:
    """A function that judges a submission: `judged(code, tests, valgrind=False)`."""

    def run(code: str, tests: str | None = None, **fields: Any) -> Report:
        return runner.run(judge.judge(Submission(code, tests, **fields)))

    return run
