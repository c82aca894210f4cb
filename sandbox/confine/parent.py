"""No worker outlives the server, not even one that never comes back from a C function.

The server alone holds the writing end of a pipe. Its death closes it, and the kernel then sends every worker the
signal that it asked for. The death signal of prctl will not do: it follows the zygote, which may be replaced
while its workers go on.
"""

import fcntl
import os
import posix
import select
import signal

_F_SETSIG = 10  # Linux; the fcntl module does not name it


def die_with(liveness: int) -> str:
    """Have the kernel kill this process when the last writer of the pipe `liveness` is gone."""
    # Opened anew: the owner belongs to the open file, and the inherited one is everybody's.
    own = posix.open(f"/proc/self/fd/{liveness}", os.O_RDONLY | os.O_NONBLOCK)
    posix.dup2(own, liveness, inheritable=False)
    posix.close(own)
    fcntl.fcntl(liveness, fcntl.F_SETOWN, posix.getpid())
    fcntl.fcntl(liveness, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(liveness, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    if select.select([liveness], [], [], 0)[0]:  # it was gone before we asked
        posix._exit(1)
    return "dies with the server"
