"""What a worker may read: Python, the installed packages, shared libraries, time zones, fonts, and a few figures."""

import os
import sys

# Figures of the machine that libraries read; those of the process itself are in /proc/self.
PROC_FILES = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/loadavg", "/proc/uptime")
_DATA = ("/usr/share/zoneinfo", "/etc/localtime", "/usr/share/fonts", "/usr/local/share/fonts", "/etc/fonts")
_SYSTEM = (
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/sys/devices/system/cpu",  # how many processors there are
    "/dev/null",
    "/dev/zero",
    "/dev/urandom",
)


def libraries() -> tuple[str, ...]:
    """Folders and files of Python itself, the installed packages, time zones and fonts, as they are named."""
    own = os.path.dirname(os.__file__)
    prefixes = (os.path.join(prefix, "lib") for prefix in (sys.prefix, sys.base_prefix))
    return tuple(dict.fromkeys(path for path in (*sys.path, own, *prefixes, *_DATA) if os.path.isabs(path)))


def everything() -> tuple[str, ...]:
    """All that the kernel lets a worker read, but for its own /proc/self."""
    return (*libraries(), *_SYSTEM, *PROC_FILES)
