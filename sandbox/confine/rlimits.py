"""What the kernel counts for a worker: memory, files, processes, processor time.

RLIMIT_DATA counts private writable memory. Set to what the worker holds at birth plus its limit, it makes an
allocation past that fail in the code that makes it, as a MemoryError. What it cannot see (shared mappings, page
tables) the other fences and the watchdog do.
"""

import os
import posix
import re
import resource

_GIB = 2**30
_ADDRESS_SLACK = 3 * _GIB  # over the limit: read-only maps of libraries; it bounds what page tables can cost
_PROCESSES = 128  # threads of one worker, where it is counted apart
_STACK = 8 * 2**20
_CPU_S = 4 * 3600  # of a whole life: a backstop for a worker that nobody watches any more


def set_limits(memory_bytes: int, file_bytes: int, *, counted_apart: bool) -> str:
    """Let this process grow by `memory_bytes` from now on, and have no file longer than `file_bytes`.

    `counted_apart`: it is the only worker of its user or user namespace, so that its threads can be bounded.
    """
    held = _status("VmData"), _status("VmSize")
    bounds = {
        resource.RLIMIT_DATA: held[0] + memory_bytes,
        resource.RLIMIT_AS: held[1] + memory_bytes + _ADDRESS_SLACK,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_STACK: _STACK,
        resource.RLIMIT_CPU: _CPU_S,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: 64,
    }
    if counted_apart:
        bounds[resource.RLIMIT_NPROC] = _PROCESSES
    _set(bounds)
    return f"{len(bounds)} kinds" + ("" if counted_apart else ", threads not bounded")


def set_program_limits(
    data_bytes: int, file_bytes: int, cpu_s: int, processes: int, *, address_space: bool, counted_apart: bool
) -> str:
    """The limits of a program that this process is about to become: it begins with nothing, so they are absolute.

    `address_space`: bound that as well, and with it what page tables cost; a sanitizer's shadow needs terabytes.
    """
    bounds = {
        resource.RLIMIT_DATA: data_bytes,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_STACK: _STACK,
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: 64,
    }
    if address_space:
        bounds[resource.RLIMIT_AS] = data_bytes + _ADDRESS_SLACK
    if counted_apart:
        bounds[resource.RLIMIT_NPROC] = processes
    _set(bounds)
    return f"{len(bounds)} kinds" + ("" if counted_apart else ", threads not bounded")


def _set(bounds: dict[int, int]) -> None:
    for kind, bound in bounds.items():
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            bound = min(bound, hard)
        resource.setrlimit(kind, (bound, bound))


def _status(name: str) -> int:
    """A size in /proc/self/status, in bytes."""
    fd = posix.open("/proc/self/status", os.O_RDONLY)
    try:
        found = re.search(rb"^%s:\s*(\d+) kB$" % name.encode(), posix.read(fd, 8192), re.MULTILINE)
    finally:
        posix.close(fd)
    if found is None:
        raise OSError(f"/proc/self/status has no {name}: no ceiling can be placed")
    return int(found[1]) * 1024
