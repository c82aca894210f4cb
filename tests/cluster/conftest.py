"""Fleets: a shared one for tests that break nothing, and new ones for those that do."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cluster.fleet import NATS_SERVER, Fleet, Nats

Start = Callable[..., Fleet]


@pytest.fixture
def nats(tmp_path: Path, needs_nats: None) -> Iterator[Nats]:
    """A nats-server of the test's own."""
    nats = Nats(tmp_path)
    yield nats
    nats.kill()


@pytest.fixture
def start(tmp_path: Path, nats: Nats) -> Iterator[Start]:
    """A function that starts a fleet on it: `start(gateways=1, nodes=2, SETTING=value)`."""
    fleet = Fleet(tmp_path, nats)
    yield fleet.start
    fleet.stop()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, needs_nats: None) -> Iterator[Fleet]:
    """A fleet of two gateways and two nodes for all tests that leave nothing behind but sessions of their own."""
    folder = tmp_path_factory.mktemp("fleet")
    with ExitStack() as stack:
        nats = Nats(folder)
        stack.callback(nats.kill)
        fleet = Fleet(folder, nats)
        stack.callback(fleet.stop)
        yield fleet.start(gateways=2, nodes=2)


@pytest.fixture(scope="session")
def needs_nats() -> None:
    """Skips what cannot be tested here."""
    if not Path(NATS_SERVER).exists():
        pytest.skip("nats-server is not installed: tests/system-packages does that")
