"""How much memory a worker's code uses, read inside the worker; the bounds are enforced elsewhere.

Counted are pages of the worker's own (anonymous ones). Libraries that all workers share are file pages, or were
there at birth.
"""

import mmap
import os
import posix
import resource

from sandbox.confine.descriptors import park

_WORTH_A_RESET = 2**20  # resetting the kernel's peak costs more than a wrong megabyte of it


class MemoryMeter:
    """Reads growth over the worker's birth. It keeps its files open, for /proc may be closed later."""

    def __init__(self) -> None:
        self._statm = park(posix.open("/proc/self/statm", os.O_RDONLY))
        self._reset = park(posix.open("/proc/self/clear_refs", os.O_WRONLY))
        self._birth_bytes = 0
        self._birth_bytes = self._own_and_shared()[0]
        posix.write(self._reset, b"5")  # the peak begins anew: see proc(5)

    def begin(self) -> None:
        """Count growth from now on."""
        posix.write(self._reset, b"5")  # the peak begins anew: see proc(5)
        self._birth_bytes = self._own_and_shared()[0]

    def peak(self) -> int:
        """The largest growth in bytes since the last call; at least what there is now."""
        own, shared = self._own_and_shared()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - shared
        if peak - own > _WORTH_A_RESET:
            posix.write(self._reset, b"5")
        return max(0, max(own, peak) - self._birth_bytes)

    def _own_and_shared(self) -> tuple[int, int]:
        fields = posix.pread(self._statm, 256, 0).split()
        resident, shared = int(fields[1]), int(fields[2])
        return (resident - shared) * mmap.PAGESIZE, shared * mmap.PAGESIZE
