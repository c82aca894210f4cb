"""A worker keeps its own queue and tapes, and nothing else that its parent had open."""

import fcntl
import os
import posix
import resource
from collections.abc import Sequence

NOFILE = 64  # bounds what pipes can hold, too
_FIRST_KEPT = 48  # low numbers stay free for the code's own, as in a fresh process
_PARKING = 256  # above all of these


def keep_only(descriptors: Sequence[int]) -> list[int]:
    """Close all but `descriptors`; 0, 1 and 2 become /dev/null. Returns the kept ones' new numbers, in order."""
    null = posix.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        posix.dup2(null, standard)
    parked = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _PARKING) for fd in descriptors]
    posix.closerange(3, _PARKING)
    kept = [posix.dup2(fd, number, inheritable=False) for number, fd in enumerate(parked, _FIRST_KEPT)]
    posix.closerange(_PARKING, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (NOFILE, NOFILE))
    return kept


def park(fd: int) -> int:
    """Move a descriptor of ours up to where the code's own do not come. Returns its new number."""
    parked = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_KEPT)
    posix.close(fd)
    return parked


def place(standard: Sequence[int], *others: tuple[int, int]) -> None:
    """Make `standard` the descriptors 0, 1, 2 and so on, each of `others` (from, to) what it says, and close the rest.

    The standard ones outlive an exec, the others do not.
    """
    parked = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _PARKING) for fd in (*standard, *(fd for fd, _ in others))]
    posix.closerange(0, _PARKING)
    for number, fd in enumerate(parked[: len(standard)]):
        posix.dup2(fd, number, inheritable=True)
    for (_, number), fd in zip(others, parked[len(standard) :], strict=True):
        posix.dup2(fd, number, inheritable=False)
    posix.closerange(_PARKING, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (NOFILE, NOFILE))
