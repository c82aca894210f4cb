"""How much memory a worker's code uses, read inside the worker; the bounds are enforced elsewhere.

Counted are pages of the worker's own (anonymous ones). Libraries that all workers share are file pages, or were
there at birth.
"""

import mmap
import os
import posix
from resource import RUSAGE_SELF, getrusage  # bound here: user code may patch resource

from sandbox.confine.descriptors import park

_WORTH_A_RESET = 2**20  # resetting the kernel's peak costs more than a wrong megabyte of it


class MemoryMeter:
    """Reads growth over the worker's birth. It keeps its files open, for /proc may be closed later."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._statm = park(posix.open("/proc/self/statm", os.O_RDONLY))
        self._reset = park(posix.open("/proc/self/clear_refs", os.O_WRONLY))
        self.begin()

    def begin(self) -> None:
        """Count growth from now on."""
        posix.write(self._reset, b"5")  # the peak begins anew: see proc(5)
        self._birth_bytes = self._read()[0]
        self._most_data_bytes = self._data() + self._limit_bytes

    def headroom(self) -> int:
        """How many bytes can still be allocated before the ceiling, about."""
        return self._most_data_bytes - self._data()

    def peak(self) -> int:
        """The largest growth in bytes since the last call; at least what there is now."""
        own, shared = self._read()
        peak = getrusage(RUSAGE_SELF).ru_maxrss * 1024 - shared
        if peak - own > _WORTH_A_RESET:
            posix.write(self._reset, b"5")
        return max(0, max(own, peak) - self._birth_bytes)

    def _read(self) -> tuple[int, int]:
        """Resident bytes of its own, and those that are shared or of files."""
        fields = posix.pread(self._statm, 256, 0).split()
        resident, shared = int(fields[1]), int(fields[2])
        return (resident - shared) * mmap.PAGESIZE, shared * mmap.PAGESIZE

    def _data(self) -> int:
        return int(posix.pread(self._statm, 256, 0).split()[5]) * mmap.PAGESIZE
