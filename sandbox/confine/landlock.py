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
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_FILE, _MAKE_REG, _TRUNCATE = 1 << 5, 1 << 8, 1 << 14
_FS_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}  # refer, truncate, ioctl of devices
_BIND_AND_CONNECT_TCP = 3  # from ABI 4
_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 3  # from ABI 6
_LOG_NOTHING = 1  # from ABI 7: refusals of strangers' code would flood the audit log


def abi() -> int:
    """The version that the kernel has. Raises OSError (ENOSYS, EOPNOTSUPP) when it has none or it is off."""
    return call("landlock_create_ruleset", None, 0, _VERSION)


class Landlock:
    """What may be read, what may be run. Each process makes a ruleset of it and of its own /proc/self.

    Raises OSError as abi().
    """

    def __init__(self, readable: Iterable[str], executable: Iterable[str] = ()) -> None:
        self.abi = abi()
        self._readable = _existing(readable)
        self._executable = _existing(executable)

    def enter(self, *, own_proc: bool = True, writable: Iterable[str] = (), executable: Iterable[str] = ()) -> str:
        """Restrict this process, and all that it may ever start.

        `writable`: folders for its files; `executable`: programs, besides those that the whole profile names.
        """
        handled = self._handled()
        attributes = struct.pack(f"={len(handled)}Q", *handled)
        ruleset = call("landlock_create_ruleset", attributes, len(attributes), 0)
        for root in (*self._readable, *(["/proc/self"] if own_proc else [])):
            _allow(ruleset, root, _READ_FILE | _READ_DIR)
        for root in (*self._executable, *executable):
            _allow(ruleset, root, _EXECUTE | _READ_FILE | _READ_DIR)
        for root in writable:
            wanted = _READ_FILE | _READ_DIR | _WRITE_FILE | _REMOVE_FILE | _MAKE_REG | _TRUNCATE
            _allow(ruleset, root, wanted & handled[0])
        call("landlock_restrict_self", ruleset, _LOG_NOTHING if self.abi >= 7 else 0)
        posix.close(ruleset)
        return f"ABI {self.abi}"

    def _handled(self) -> list[int]:
        handled = [sum(rights for since, rights in _FS_RIGHTS.items() if since <= self.abi)]
        if self.abi >= 4:
            handled.append(_BIND_AND_CONNECT_TCP)
        if self.abi >= 6:
            handled.append(_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS)
        return handled


def _existing(roots: Iterable[str]) -> list[str]:
    return [root for root in dict.fromkeys(map(os.path.realpath, roots)) if os.path.exists(root)]


def _allow(ruleset: int, root: str, rights: int) -> None:
    fd = posix.open(root, os.O_PATH | os.O_CLOEXEC)  # may not be for this user to see: its name is in the error
    if not stat.S_ISDIR(posix.fstat(fd).st_mode):
        rights &= _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
    call("landlock_add_rule", ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, fd), 0)
    posix.close(fd)
