"""Processes whose parent has died: who becomes their parent, and burying those that are dead."""

import posix
from collections.abc import Collection
from contextlib import suppress

from sandbox.confine.libc import call

_PR_SET_CHILD_SUBREAPER = 36


def adopt() -> None:
    """Have what the children of this process leave behind become its own children, so that it learns how they end."""
    call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def bury(but: Collection[int]) -> None:
    """Reap those that are dead, up to the first of `but`: children whose turn comes by a descriptor of theirs."""
    with suppress(ChildProcessError):
        while found := posix.waitid(posix.P_ALL, 0, posix.WEXITED | posix.WNOHANG | posix.WNOWAIT):
            if found.si_pid in but:
                return
            posix.waitpid(found.si_pid, 0)
