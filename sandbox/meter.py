"""How much memory a worker's code uses, read inside the worker; the bounds are enforced elsewhere.

Counted are pages of the worker's own (anonymous ones). Libraries that all workers share are file pages, or were
there at birth.
"""

import mmap
import os
import posix
from resource import RUSAGE_SELF, getrusage  # bound here: user code may patch resource

from sandbox.confine.descriptors import park

_WORTH_A_RESET = 2**20 // mmap.PAGESIZE  # resetting the kernel's peak costs more than a wrong megabyte of it

_MOST_COPIES = 2**20 // mmap.PAGESIZE


class MemoryMeter:
    """Reads growth over the worker's birth. It keeps its files open, for /proc may be closed later."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._statm = park(posix.open("/proc/self/statm", os.O_RDONLY))
        self._reset = park(posix.open("/proc/self/clear_refs", os.O_WRONLY))
        self.begin()

    @property
    def limit_bytes(self) -> int:
        return self._limit_bytes

    def begin(self, limit_bytes: int | None = None) -> None:
        """Count growth from now on, towards another limit if one is given."""
        if limit_bytes is not None:
            self._limit_bytes = limit_bytes
        posix.write(self._reset, b"5")  # the peak begins anew: see proc(5)
        self._birth_pages, _, data = self._pages()
        self._most_data_pages = data + self._limit_bytes // mmap.PAGESIZE
        self._birth_faults = getrusage(RUSAGE_SELF).ru_minflt

    def read(self) -> tuple[int, int]:
        """Two counts of bytes: the largest growth since the last call, and what can still be allocated, about."""
        own, shared, data = self._pages()
        peak = getrusage(RUSAGE_SELF).ru_maxrss * 1024 // mmap.PAGESIZE - shared
        if peak - own > _WORTH_A_RESET:
            posix.write(self._reset, b"5")
        growth = max(0, max(own, peak) - self._birth_pages)
        return growth * mmap.PAGESIZE, (self._most_data_pages - data) * mmap.PAGESIZE

    def read_copied(self) -> int:
        """Bytes of pages that were copied for the code since begin(), for writing to what all workers share.

        The kernel does not count them as growth. It does count faults, of which each copy is one; many others are of
        pages that come and go, so that only the first few are taken for copies.
        """
        faults = getrusage(RUSAGE_SELF).ru_minflt - self._birth_faults
        return min(faults, _MOST_COPIES) * mmap.PAGESIZE

    def _pages(self) -> tuple[int, int, int]:
        """Resident pages of its own; those that are shared or of files; mapped ones that it may write."""
        fields = posix.pread(self._statm, 256, 0).split()
        shared = int(fields[2])
        return int(fields[1]) - shared, shared, int(fields[5])
