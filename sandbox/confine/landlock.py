"""Landlock: files may be read under a list of roots, and nothing else; no TCP, no signals or sockets outwards.

The kernel tells which version it has (its ABI), and later ones restrict more. Numbers: linux/landlock.h.
"""

import os
import posix
import stat
import struct
from collections.abc import Iterable

from sandbox.confine.libc import call

_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_FS_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}  # refer, truncate, ioctl of devices
_BIND_AND_CONNECT_TCP = 3  # from ABI 4
_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 3  # from ABI 6
_LOG_NOTHING = 1  # from ABI 7: refusals of strangers' code would flood the audit log


def abi() -> int:
    """The version that the kernel has. Raises OSError (ENOSYS, EOPNOTSUPP) when it has none or it is off."""
    return call("landlock_create_ruleset", None, 0, _VERSION)


class Landlock:
    """What may be read. Each worker makes a ruleset of it and of its own /proc/self. Raises OSError as abi()."""

    def __init__(self, roots: Iterable[str]) -> None:
        self.abi = abi()
        self._roots = [root for root in dict.fromkeys(map(os.path.realpath, roots)) if os.path.exists(root)]

    def enter(self) -> str:
        """Restrict this process, and all that it may ever start."""
        ruleset = self._ruleset()
        for root in (*self._roots, "/proc/self"):
            fd = posix.open(root, os.O_PATH | os.O_CLOEXEC)  # may not be for this user to see: its name is in the error
            rule = struct.pack("=Qi", _rights_on(fd), fd)
            call("landlock_add_rule", ruleset, _PATH_BENEATH, rule, 0)
            posix.close(fd)
        call("landlock_restrict_self", ruleset, _LOG_NOTHING if self.abi >= 7 else 0)
        posix.close(ruleset)
        return f"ABI {self.abi}"

    def _ruleset(self) -> int:
        handled = [sum(rights for since, rights in _FS_RIGHTS.items() if since <= self.abi)]
        if self.abi >= 4:
            handled.append(_BIND_AND_CONNECT_TCP)
        if self.abi >= 6:
            handled.append(_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS)
        attributes = struct.pack(f"={len(handled)}Q", *handled)
        return call("landlock_create_ruleset", attributes, len(attributes), 0)


def _rights_on(fd: int) -> int:
    return _READ_FILE | _READ_DIR if stat.S_ISDIR(posix.fstat(fd).st_mode) else _READ_FILE
