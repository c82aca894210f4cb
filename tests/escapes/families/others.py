"""Other processes: signalled, traced, read, written to, robbed of descriptors."""

from tests.escapes.row import Row


def _signal(name: str, code: str, effect: str = "signalled", **more: object) -> Row:
    return Row(name, "signals", effect, code, **more)  # type: ignore[arg-type]


def _trace(name: str, code: str, effect: str = "told", **more: object) -> Row:
    return Row(name, "/proc and ptrace", effect, code, **more)  # type: ignore[arg-type]


_INFO = "struct.pack('iii', 10, 0, -1) + bytes(116)"  # a siginfo: SIGUSR1, SI_QUEUE
_AREA = "struct.pack('PN', ADDRESS, 64)"
_SEARCH = """
import re
memory_ = posix.open(f"/proc/{pid}/mem", os.O_RDONLY)
for line in _io.FileIO(f"/proc/{pid}/maps").readall().decode().splitlines():
    bounds, access = line.split()[:2]
    low, high = (int(bound, 16) for bound in bounds.split("-"))
    if access.startswith("rw"):
        for at in range(low, high, MIB):
            try:
                print(*set(re.findall(pattern + rb"-[0-9a-f]{32}", posix.pread(memory_, min(MIB, high - at), at))))
            except OSError:
                pass
"""

ROWS = (
    _signal("the server is killed", "posix.kill(SERVER, 9)", effect="killed"),
    _signal("the zygote is killed", "posix.kill(ZYGOTE, 9)", effect="killed"),
    _signal("another session is killed", "posix.kill(OTHER, 9)", effect="killed"),
    _signal(
        "another session is stopped",
        "posix.kill(OTHER, signal.SIGSTOP)",
        effect="killed",
        open_without_wall=None,
        stopped_by="the server, which wakes whom it asks, if it knew that the session rested",
    ),
    _signal("a process is killed", "posix.kill(VICTIM, 9)", effect="killed"),
    _signal("a process group is killed", "posix.killpg(VICTIM, 9)", effect="killed"),
    _signal("everybody is signalled", "posix.kill(-1, signal.SIGURG)", tried_without_wall=False),
    _signal(
        "its process group is signalled",
        "posix.kill(0, signal.SIGURG)",
        open_without_wall=False,
        stopped_by="the step session: the group is its own",
    ),
    _signal("kill() of the C library", "libc.kill(VICTIM, 10)"),
    _signal("tgkill", "call('tgkill', VICTIM, VICTIM, 10)"),
    _signal("tkill", "call('tkill', VICTIM, 10)"),
    _signal("rt_sigqueueinfo", f"call('rt_sigqueueinfo', VICTIM, 10, {_INFO})"),
    _signal("rt_tgsigqueueinfo", f"call('rt_tgsigqueueinfo', VICTIM, VICTIM, 10, {_INFO})"),
    _signal("pidfd_send_signal", "signal.pidfd_send_signal(call('pidfd_open', VICTIM, 0), 10)"),
    _signal(
        "the owner of a pipe (F_SETOWN, F_SETSIG)",
        """
import fcntl
r, w = posix.pipe()
fcntl.fcntl(r, 8, VICTIM)
fcntl.fcntl(r, 10, 10)
fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
posix.write(w, b"x")
""",
    ),
    _signal(
        "the owner of a pair of sockets (FIOSETOWN)",
        """
import array, fcntl
a, b = _socket.socketpair(1, 1)
fcntl.ioctl(a.fileno(), 0x8901, struct.pack("i", VICTIM))
fcntl.fcntl(a.fileno(), 10, 10)
fcntl.fcntl(a.fileno(), fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
b.send(b"x")
""",
    ),
    _signal(
        "the death of a worker's liveness (a signal of a child's end to the zygote)",
        "call('clone', 0x8000 | 9, 0, 0, 0, 0) or posix._exit(0)",
        effect="killed",
        open_without_wall=False,
        stopped_by="the kernel: a sibling ends with its parent's signal",
    ),
    _trace("ptrace attaches", "call('ptrace', 16, VICTIM, 0, 0)\ntime.sleep(0.2)", effect="traced"),
    _trace("ptrace seizes", "call('ptrace', 0x4206, VICTIM, 0, 0)\ntime.sleep(0.2)", effect="traced"),
    _trace("ptrace of the server", "call('ptrace', 0x4206, SERVER, 0, 0)\ntime.sleep(0.2)", effect="traced"),
    _trace(
        "process_vm_readv",
        f"""
text = ctypes.create_string_buffer(64)
call("process_vm_readv", VICTIM, struct.pack("PN", ctypes.addressof(text), 64), 1, {_AREA}, 1, 0)
print(text.value)
""",
    ),
    _trace(
        "process_vm_writev",
        f"""
text = ctypes.create_string_buffer(b"x" * 64)
call("process_vm_writev", VICTIM, struct.pack("PN", ctypes.addressof(text), 64), 1, {_AREA}, 1, 0)
""",
        effect="overwritten",
    ),
    _trace("/proc/…/mem is read", "print(posix.pread(posix.open(f'/proc/{VICTIM}/mem', os.O_RDONLY), 64, ADDRESS))"),
    _trace(
        "/proc/…/mem is written",
        "posix.pwrite(posix.open(f'/proc/{VICTIM}/mem', os.O_RDWR), b'x' * 64, ADDRESS)",
        effect="overwritten",
    ),
    _trace(
        "a descriptor is taken (pidfd_getfd)",
        "print(posix.pread(call('pidfd_getfd', call('pidfd_open', SERVER, 0), 0, 0), 99, 0))",
    ),
    _trace("the memory of the server", "pid, pattern = SERVER, b'server'" + _SEARCH),
    _trace(
        "/proc/…/fd of another session: its tape",
        "print(posix.pread(posix.open(f'/proc/{OTHER}/fd/1', os.O_RDONLY), 9999, 0))",
    ),
    _trace("the memory of another session", "pid, pattern = OTHER, b'other'" + _SEARCH),
)
