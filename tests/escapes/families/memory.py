"""More memory than the limit of 32 MiB, in the process or in the kernel."""

from tests.escapes.row import Row


def _row(name: str, code: str, open_without_wall: bool | None = True, **more: object) -> Row:
    more.setdefault("wall_s", 3.0)
    more.setdefault("stopped_by", "the watchdog, when it looks in time" if open_without_wall is None else "")
    return Row(name, "memory", "memory", code, open_without_wall, **more)  # type: ignore[arg-type]


_SIZE = "300 * MIB"
_FILE = f"""
for _ in range(300):
    posix.write(fd, bytes(MIB))
held({_SIZE})
"""

ROWS = (
    _row("one large object", f"x = bytearray({_SIZE})\nfill(id(x) + 64, len(x) - 4096)\nheld(len(x))", None),
    _row("many small ones", f"x = []\nwhile len(x) < 4 * MIB:\n    x.append(b'%064d' % len(x))\nheld({_SIZE})", None),
    _row(
        "caught, and tried again",
        f"""
x = []
for size in (200, 100, 50, 20, 10, 5, 2, 1) * 4:
    try:
        x.append(bytearray(size * MIB))
        fill(id(x[-1]) + 64, size * MIB - 65536)
    except MemoryError:
        pass
held({_SIZE})
""",
        None,
    ),
    _row("a private map", f"fill(memory({_SIZE}), {_SIZE})\nheld({_SIZE})", None),
    _row(
        "a map that becomes writable",
        f"""
at = memory({_SIZE}, 0)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
if libc.mprotect(at, {_SIZE}, 3):
    raise MemoryError
fill(at, {_SIZE})
held({_SIZE})
""",
        None,
    ),
    _row(
        "a map that grows (mremap)",
        f"""
at = call("mremap", memory(4096), 4096, {_SIZE}, 1, 0)
fill(at, {_SIZE})
held({_SIZE})
""",
        None,
    ),
    _row("a map that the kernel counts as a stack", f"fill(memory({_SIZE}, 3, 0x122), {_SIZE})\nheld({_SIZE})", None),
    _row(
        "the heap of the C library",
        f"""
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
at = libc.malloc({_SIZE})
if not at:
    raise MemoryError
fill(at + 4096 & -4096, {_SIZE} - 8192)
held({_SIZE})
""",
        None,
    ),
    _row("memory that is shared", f"fill(memory({_SIZE}, 3, 0x21), {_SIZE})\nheld({_SIZE})", None),
    _row(
        "memory that is shared, and unmapped again and again",
        f"""
at = memory({_SIZE}, 3, 0x21)
for offset in range(0, {_SIZE}, 10 * MIB):
    fill(at + offset, 10 * MIB)
    libc.madvise(at + offset, 10 * MIB, 4)
held({_SIZE})
""",
    ),
    _row(
        "/dev/zero, shared",
        f"""
at = memory({_SIZE}, 3, SHARED, posix.open("/dev/zero", os.O_RDWR))
for offset in range(0, {_SIZE}, 10 * MIB):
    fill(at + offset, 10 * MIB)
    libc.madvise(at + offset, 10 * MIB, 4)
held({_SIZE})
""",
    ),
    _row(
        "/dev/zero, shared and only read",
        f"""
at = memory({_SIZE}, 1, SHARED, posix.open('/dev/zero', os.O_RDONLY))
libc.madvise(at, {_SIZE}, 22)
held({_SIZE})
""",
        False,
        stopped_by="the kernel: a map that cannot be written has no memory of its own",
    ),
    _row("a file in memory", "fd = posix.memfd_create('x')" + _FILE),
    _row(
        "a file in /dev/shm",
        "fd = posix.open('/dev/shm/' + MARK, os.O_RDWR | os.O_CREAT)\nposix.unlink('/dev/shm/' + MARK)" + _FILE,
    ),
    _row("the tape of the own output", "fd = 1" + _FILE.replace("bytes(MIB)", "b'x' * MIB")),
    _row("the file of stdin", "fd = 0" + _FILE),
    _row(
        "System V memory",
        f"""
libc.shmat.restype = ctypes.c_void_p
segment = call("shmget", 0, {_SIZE}, 0o1600)
at = libc.shmat(segment, None, 0)
call("shmctl", segment, 0, None)
for offset in range(0, {_SIZE}, 10 * MIB):
    fill(at + offset, 10 * MIB)
    libc.madvise(at + offset, 10 * MIB, 4)
held({_SIZE})
""",
    ),
    _row(
        "page tables: a byte of each 2 MiB of a large map is read",
        """
size = 200 * 2**30
at = memory(size, 1, PRIVATE | ANONYMOUS | 0x4000)
libc.madvise(at, size, 15)
libc.memchr.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
for offset in range(0, size, 2 * MIB):
    libc.memchr(at + offset, 1, 1)
held(size // 512)
""",
    ),
    _row(
        "stacks of threads",
        """
threading.stack_size(4 * MIB)
for _ in range(75):
    area = "ctypes.memset(ctypes.addressof((ctypes.c_char * 0)()), 0, 0)"
    _thread.start_new_thread(time.sleep, (9,))
held(0)
""",
        False,
        stopped_by="nothing: what a stack reserves is not used until it is touched",
    ),
    _row(
        "buffers of sockets, in tables of descriptors of each thread's own",
        """
threading.stack_size(65536)
total, block, turn, rest = [0], bytes(65536), threading.Semaphore(0), threading.Event()
def fill_pairs():
    libc.syscall(NUMBERS["close_range"], 56, 2**32 - 1, 2)
    pairs = []
    try:
        while True:
            pairs.append(_socket.socketpair(1, 1))
            for end in pairs[-1]:
                end.setblocking(False)
                try:
                    while True:
                        total[0] += end.send(block)
                except BlockingIOError:
                    pass
    except OSError:
        turn.release()
        rest.wait()
for _ in range(40):
    _thread.start_new_thread(fill_pairs, ())
    turn.acquire()
held(total[0])
rest.set()
""",
    ),
    Row(
        "a thread with a table of descriptors of its own, by clone",
        "memory",
        "privileged",
        """
stack = memory(65536) + 65536 - 64
flags = 0x10000 | 0x800 | 0x200 | 0x100  # THREAD, SIGHAND, FS, VM; not FILES
run_native(
    "bf" + struct.pack("I", flags).hex() + "48be" + struct.pack("Q", stack).hex()
    + "31d24d31d24d31c0b8380000000f0585c07401c3b8220000000f05ebf7"
)
posix.pipe()
""",
        machine="x86_64",
    ),
    _row(
        "buffers of pipes",
        """
total = 0
try:
    while True:
        r, w = posix.pipe2(os.O_NONBLOCK)
        libc.fcntl(w, 1031, 2**20)
        try:
            while True:
                total += posix.write(w, bytes(65536))
        except BlockingIOError:
            pass
except OSError:
    held(total)
""",
        False,
        stopped_by="the step descriptors: 64 descriptors, and what the kernel lets one user have in pipes",
    ),
)
