"""System calls that Python has no function for, by ctypes. Raises OSError as Python's own functions do."""

import ctypes
import os
import platform
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

# Numbers of the calls that confinement itself makes; those from 424 on are the same on all architectures.
_OWN = {
    "x86_64": {"prctl": 157, "capset": 126, "seccomp": 317, "pivot_root": 155, "umount2": 166, "mount": 165,
               "unshare": 272, "setresuid": 117, "setresgid": 119, "setrlimit": 160},
    "aarch64": {"prctl": 167, "capset": 91, "seccomp": 277, "pivot_root": 41, "umount2": 39, "mount": 40,
                "unshare": 97, "setresuid": 147, "setresgid": 149, "setrlimit": 164},
}  # fmt: skip
MACHINE = platform.machine()
_numbers = _OWN.get(MACHINE, {}) | {
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}


def call(name: str, *arguments: Any) -> int:
    """Make a system call; integers, bytes, None and ctypes pointers are taken as arguments.

    Raises OSError with its errno.
    """
    number = _numbers.get(name)
    if number is None:
        raise OSError(38, f"no system call numbers are known for {MACHINE}")
    words = (ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)
    result = int(_libc.syscall(ctypes.c_long(number), *words))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), name)
    return result
