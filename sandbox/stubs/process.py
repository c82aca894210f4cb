"""Processes: none is started, and only the own one is signalled."""

import _posixsubprocess
import os
from collections.abc import Sequence
from typing import Any

from sandbox.stubs.refusal import denied, guarded, refuse

_STARTS = (
    "fork forkpty system posix_spawn posix_spawnp execv execve execl execle execlp execlpe execvp execvpe "
    "spawnv spawnve spawnl spawnle spawnlp spawnlpe spawnvp spawnvpe popen"
)
_REACHES_OTHERS = (
    "killpg pidfd_open setpgid setsid tcsetpgrp setuid seteuid setreuid setresuid setgid setegid setregid setresgid "
    "setgroups initgroups setpriority sched_setaffinity sched_setscheduler sched_setparam unshare setns"
)


def install() -> None:
    """Put the stand-ins in place in `os` and where `subprocess` and `multiprocessing` start programs."""

    def kills(pid: int, signum: int, /) -> BaseException | None:
        return None if pid == os.getpid() else denied()

    def starts(command: Sequence[Any] | None, *args: object) -> BaseException:
        return denied(os.fsdecode(command[0]) if command else None)

    os.kill = guarded("kill", os.kill, kills)
    refuse(os, _STARTS + " " + _REACHES_OTHERS)
    _posixsubprocess.fork_exec = guarded("fork_exec", _posixsubprocess.fork_exec, starts)
