"""What a server at rest holds, and what thousands of sessions or runs have left behind."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from bench import processes
from bench.processes import Tree
from bench.results import Figure
from bench.servers import PyRunner, health, wait_warm

_SETTLE_S = 1.0
_MOST_GROWTH_MIB = 2.0  # what allocators keep differs by so much from one look to the next


@dataclass(frozen=True, slots=True)
class Held:
    """What a tree at rest holds. Memory: what server and zygotes have written, in bytes."""

    processes: int
    descriptors: int
    memory_bytes: int

    def growth_to(self, after: "Held", named: str) -> Iterator[Figure]:
        """The figures of what was left. `named`: after what."""
        grown_mib = (after.memory_bytes - self.memory_bytes) / 2**20
        yield Figure(f"processes left {named}", after.processes - self.processes, at_most=0)
        yield Figure(f"descriptors left {named}", after.descriptors - self.descriptors, at_most=0)
        yield Figure(f"memory growth of server and zygotes {named}", grown_mib, "MiB", at_most=_MOST_GROWTH_MIB)


def at_rest(server: PyRunner) -> Held:
    """What it holds once its pools are full. Raises RuntimeError when something is still open or under way."""
    with server.connect() as http:
        wait_warm(http)
        told = health(http)
        if told["sessions"]["open"]:
            raise RuntimeError("sessions are open that were deleted")
        if told["runs"]["active"] or told["runs"]["waiting"]:
            raise RuntimeError("runs are under way that were answered")
    time.sleep(_SETTLE_S)
    tree = Tree.of(server.pid)
    owners = (tree.server, *tree.zygotes)
    memory_bytes = sum(median(processes.anonymous_bytes(pid) for _ in range(3)) for pid in owners)
    return Held(len(tree.pids), sum(map(processes.descriptors, owners)), round(memory_bytes))
