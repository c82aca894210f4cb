"""What /proc tells of a process: CPU time, context switches, memory, descriptors, children."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import psutil

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Effort:
    """What processes have used so far. Subtract two to get what they used in between."""

    cpu_s: float = 0.0
    switches: int = 0  # context switches: the process waited, or was made to

    def __add__(self, other: "Effort") -> "Effort":
        return Effort(self.cpu_s + other.cpu_s, self.switches + other.switches)

    def __sub__(self, other: "Effort") -> "Effort":
        return Effort(self.cpu_s - other.cpu_s, self.switches - other.switches)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. PSS counts a page shared by n processes as 1/n of it, USS counts only pages of its own."""

    pss: int = 0
    uss: int = 0


@dataclass(frozen=True, slots=True)
class Tree:
    """A PyRunner server and the processes below it."""

    server: int
    zygotes: tuple[int, ...]
    workers: tuple[int, ...]

    @classmethod
    def of(cls, server: int) -> "Tree":
        """The tree as it is now. Zygotes are the server's children but for the launcher, workers are theirs."""
        children = psutil.Process(server).children()
        zygotes = [child for child in children if "sandbox.launch" not in " ".join(child.cmdline())]
        workers = [worker.pid for zygote in zygotes for worker in zygote.children(recursive=True)]
        return cls(server, tuple(zygote.pid for zygote in zygotes), tuple(workers))

    @property
    def pids(self) -> tuple[int, ...]:
        return (self.server, *self.zygotes, *self.workers)


def effort(*pids: int) -> Effort:
    """What processes have used so far, all their threads together. One that is gone has used nothing."""
    total = Effort()
    for pid in pids:
        for task in _tasks(pid):
            total += _effort_of(task)
    return total


def memory(pid: int) -> Memory:
    """A process's memory. Raises PermissionError where the kernel does not show it to us."""
    rollup = (_PROC / str(pid) / "smaps_rollup").read_text()
    sizes = {name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+):\s*(\d+) kB$", rollup, re.MULTILINE)}
    return Memory(sizes["Pss"], sizes["Private_Clean"] + sizes["Private_Dirty"])


def anonymous_bytes(pid: int) -> int:
    """Memory that the process wrote itself, shared with its forks or not: what a leak grows."""
    return int(_field(_PROC / str(pid) / "status", "RssAnon")) * 1024


def descriptors(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(_PROC / str(pid) / "fd"))


def alive(pid: int) -> bool:
    """Whether a process is there, zombies included."""
    return (_PROC / str(pid)).exists()


def _tasks(pid: int) -> list[Path]:
    try:
        return list((_PROC / str(pid) / "task").iterdir())
    except FileNotFoundError:
        return []


def _effort_of(task: Path) -> Effort:
    try:
        cpu_ns = int((task / "schedstat").read_text().split()[0])
        switches = sum(int(_field(task / "status", f"{kind}_ctxt_switches")) for kind in ("voluntary", "nonvoluntary"))
    except (FileNotFoundError, ProcessLookupError):
        return Effort()
    return Effort(cpu_ns / 1e9, switches)


def _field(status: Path, name: str) -> str:
    match = re.search(rf"^{name}:\s*(\d+)", status.read_text(), re.MULTILINE)
    if match is None:
        raise LookupError(f"{status} has no {name}")
    return match[1]
