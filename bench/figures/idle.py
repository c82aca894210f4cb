"""What sessions cost that do nothing: memory and CPU of 40 of them."""

import time
from collections.abc import Iterator
from statistics import median

from bench import processes
from bench.context import Context
from bench.processes import Tree
from bench.results import Figure, Result
from bench.servers import MAX_SESSIONS, wait_warm

_MIB = 2**20
_SETTLE_S = 2.0  # by then idle sessions have been put to rest


def measure(context: Context) -> Iterator[Result]:
    """Each session has run one print. Of all workers, the warm ones included, the largest count."""
    with context.ours.connect() as http:
        for _ in range(MAX_SESSIONS):
            http.execute("print(1)")
        wait_warm(http)
    time.sleep(_SETTLE_S)
    tree = Tree.of(context.ours.pid)
    yield _cpu(tree, 3.0 if context.quick else 10.0)
    yield from _memory(tree)
    context.ours.clear()


def _cpu(tree: Tree, seconds: float) -> Figure:
    before, started = processes.effort(*tree.pids), time.monotonic()
    time.sleep(seconds)
    spent = processes.effort(*tree.pids) - before
    share = 100 * spent.cpu_s / (time.monotonic() - started)
    return Figure(f"{MAX_SESSIONS} idle sessions", share, "% of a core", at_most=1, note=f"{len(tree.pids)} processes")


def _memory(tree: Tree) -> Iterator[Figure]:
    name = "memory of an idle session"
    try:
        held = {pid: processes.memory(pid) for pid in tree.pids}
    except PermissionError as error:
        yield Figure(f"{name}, PSS", None, "MiB", at_most=8, note=f"not measured: {error}")
        return
    workers = [held[pid] for pid in tree.workers]
    largest = sorted((memory.pss for memory in workers), reverse=True)[:MAX_SESSIONS]
    yield Figure(f"{name}, PSS", median(largest) / _MIB, "MiB", at_most=8, note=f"largest {largest[0] / _MIB:.1f}")
    uss = sorted((memory.uss for memory in workers), reverse=True)[:MAX_SESSIONS]
    yield Figure(f"{name}, USS", median(uss) / _MIB, "MiB", note=f"largest {uss[0] / _MIB:.1f}")
    whole = sum(memory.pss for memory in held.values()) / _MIB
    yield Figure(f"the whole tree with {MAX_SESSIONS} sessions, PSS", whole, "MiB", note=f"{len(held)} processes")
    yield Figure("of it the server", held[tree.server].pss / _MIB, "MiB")
