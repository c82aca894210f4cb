"""What the kernel counts for a worker: memory, files, processes, processor time.

RLIMIT_DATA counts private writable memory. Set to what the worker holds at birth plus its limit, it makes an
allocation past that fail in the code that makes it, as a MemoryError. What it cannot see (shared mappings, page
tables) the other fences and the watchdog do.
"""

import mmap
import os
import posix
import resource
import struct

from sandbox.confine.libc import call

_GIB = 2**30
_ADDRESS_SLACK = 3 * _GIB  # over the limit: read-only maps of libraries; it bounds what page tables can cost
_PROCESSES = 128  # threads of one worker, where it is counted apart
_STACK = 8 * 2**20
_CPU_S = 4 * 3600  # of a whole life: a backstop for a worker that nobody watches any more


def set_limits(memory_bytes: int, file_bytes: int, *, counted_apart: bool) -> str:
    """Let this process grow by `memory_bytes` from now on, and have no file longer than `file_bytes`.

    `counted_apart`: it is the only worker of its user or user namespace, so that its threads can be bounded.
    """
    data_bytes, all_bytes = _held()
    bounds = {
        resource.RLIMIT_DATA: data_bytes + memory_bytes,
        resource.RLIMIT_AS: all_bytes + memory_bytes + _ADDRESS_SLACK,
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


def lower_memory(memory_bytes: int) -> None:
    """Let this process grow by less than set_limits() has allowed; possible in confinement, too."""
    bound = min(resource.getrlimit(resource.RLIMIT_DATA)[0], _held()[0] + memory_bytes)
    call("setrlimit", resource.RLIMIT_DATA, struct.pack("=QQ", bound, bound))


def _held() -> tuple[int, int]:
    """Bytes of private writable memory with the stack, and of all that is mapped: see proc(5), statm."""
    fd = posix.open("/proc/self/statm", os.O_RDONLY)
    try:
        fields = posix.read(fd, 256).split()
    finally:
        posix.close(fd)
    return int(fields[5]) * mmap.PAGESIZE, int(fields[0]) * mmap.PAGESIZE
