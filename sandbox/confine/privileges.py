"""Who a worker is: nobody else's user, without capabilities, unseen by other processes, never to gain anything."""

import posix
import signal
import struct

from sandbox.confine.libc import call

UID_BASE = 1 << 28  # above all users and the ranges that distributions hand out; a process id is added
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CAPABILITY_VERSION_3 = 0x20080522
_CLONE_NEWUSER = 0x10000000


def become_nobody_else() -> str:
    """As root: take a user id of this worker's own. Else: a user namespace of its own, so that its threads and
    processes are counted apart.
    """
    if posix.geteuid() == 0:
        become(UID_BASE + posix.getpid())
        return "a user id of its own"
    call("unshare", _CLONE_NEWUSER)
    return "a user namespace of its own"


def become(uid: int) -> None:
    """As root: take a user and group id for good."""
    posix.setgroups([])
    posix.setresgid(uid, uid, uid)
    posix.setresuid(uid, uid, uid)


def drop_capabilities() -> str:
    """Give up every capability, those over the own user namespace too."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    call("capset", header, struct.pack("=6I", 0, 0, 0, 0, 0, 0))
    return "none"


def hide() -> str:
    """Let no process of the same user trace this one or read its memory."""
    call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)
    return "not dumpable"


def die_with_parent() -> str:
    """Have the kernel kill this process when its parent dies. A change of user id takes this back."""
    call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return "dies with its parent"


def gain_nothing() -> str:
    """No program run from here on gains privileges; the kernel demands it before Landlock and seccomp."""
    call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return "set"
