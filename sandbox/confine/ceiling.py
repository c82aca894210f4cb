"""The kernel's ceiling on memory: an allocation past it fails in the code that makes it, as a MemoryError.

RLIMIT_DATA counts private writable memory, so the ceiling is what the worker holds at birth plus its limit.
What it cannot see (shared mappings) the watchdog does.
"""

import os
import posix
import re
import resource


def set_memory_ceiling(growth_bytes: int) -> None:
    """Let this process grow by `growth_bytes` from now on, and no further. Not to be raised again."""
    fd = posix.open("/proc/self/status", os.O_RDONLY)
    held = re.search(rb"^VmData:\s*(\d+) kB$", posix.read(fd, 4096), re.MULTILINE)
    posix.close(fd)
    if held is None:
        raise OSError("/proc/self/status has no VmData: the memory ceiling cannot be placed")
    ceiling = int(held[1]) * 1024 + growth_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (ceiling, ceiling))


def set_file_ceiling(most_bytes: int) -> None:
    """Let no file of this process, its tapes included, become longer than `most_bytes`; leave no core files."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
