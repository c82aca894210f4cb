"""Shared memory, queues, keys and locks: what one session writes, another one reads.

The first session has SECRET, a number below 2**16; the second one prints what it finds.
"""

from tests.escapes.row import Row


def _row(name: str, family: str, code: str, receiver: str, **more: object) -> Row:
    return Row(name, family, "told", code, receiver=receiver, **more)  # type: ignore[arg-type]


_SHARED, _CROSS = "shared memory", "cross-session"
_KEY = "KEY"
_LIBRARY = "real(os.open)(os.__file__, os.O_RDONLY)"
_FILES = "sorted(name for name in posix.listdir(os.path.dirname(os.__file__)) if name.endswith('.py'))[:16]"
_OPENED = f"[posix.open(os.path.join(os.path.dirname(os.__file__), name), os.O_RDONLY) for name in {_FILES}]"

ROWS = (
    _row(
        "System V memory",
        _SHARED,
        """
segment = call("shmget", KEY, 4096, 0o1666)
libc.shmat.restype = ctypes.c_void_p
ctypes.memmove(libc.shmat(segment, None, 0), b"%d" % SECRET, 5)
""",
        """
libc.shmat.restype = ctypes.c_void_p
segment = call("shmget", KEY, 0, 0)
print(ctypes.string_at(libc.shmat(segment, None, 0)))
call("shmctl", segment, 0, None)
""",
    ),
    _row(
        "System V messages",
        _SHARED,
        "call('msgsnd', call('msgget', KEY, 0o1666), struct.pack('l', 1) + b'%d' % SECRET, 5, 0)",
        """
text = ctypes.create_string_buffer(64)
queue = call("msgget", KEY, 0)
call("msgrcv", queue, text, 5, 0, 0o4000)
print(text.raw[8:13])
call("msgctl", queue, 0, None)
""",
    ),
    _row(
        "System V semaphores",
        _SHARED,
        "call('semctl', call('semget', KEY, 1, 0o1666), 0, 16, SECRET // 2)",
        """
group = call("semget", KEY, 0, 0)
print(call("semctl", group, 0, 12, 0) * 2)
call("semctl", group, 0, 0, 0)
""",
    ),
    _row(
        "POSIX messages",
        _SHARED,
        """
queue = call("mq_open", MARK, 0o102, 0o666, struct.pack("8l", 0, 1, 64, *[0] * 5))
call("mq_timedsend", queue, b"%d" % SECRET, 5, 0, None)
""",
        """
text = ctypes.create_string_buffer(64)
call("mq_timedreceive", call("mq_open", MARK, 0o4000, 0, None), text, 64, None, None)
print(text.value)
call("mq_unlink", MARK)
""",
    ),
    _row(
        "a POSIX semaphore",
        _SHARED,
        "import _multiprocessing\ns = _multiprocessing.SemLock(1, SECRET, 2**31 - 1, '/' + MARK, False)",
        """
import _multiprocessing
print(_multiprocessing.SemLock._rebuild(0, 1, 2**31 - 1, "/" + MARK)._get_value())
_multiprocessing.sem_unlink("/" + MARK)
""",
    ),
    _row(
        "a file in /dev/shm",
        _SHARED,
        "posix.write(posix.open('/dev/shm/' + MARK, os.O_RDWR | os.O_CREAT), b'%d' % SECRET)",
        "print(posix.read(posix.open('/dev/shm/' + MARK, os.O_RDONLY), 9))\nposix.unlink('/dev/shm/' + MARK)",
    ),
    _row(
        "a key of the kernel's",
        _CROSS,
        "call('add_key', 'user', MARK, b'%d' % SECRET, 5, -4)",
        """
text = ctypes.create_string_buffer(64)
key = call("keyctl", 10, -4, "user", MARK, 0)
call("keyctl", 11, key, text, 64)
print(text.value)
call("keyctl", 9, key, -4)
""",
    ),
    _row(
        "locks of libraries (flock)",
        _CROSS,
        f"files = {_OPENED}\nfor bit, fd in enumerate(files):\n    if SECRET >> bit & 1:\n        call('flock', fd, 2)",
        f"""
number = 0
for bit, fd in enumerate({_OPENED}):
    try:
        call("flock", fd, 6)
    except BlockingIOError:
        number |= 1 << bit
print(number)
""",
    ),
    _row(
        "locks of a library's bytes (fcntl)",
        _CROSS,
        f"""
fd = {_LIBRARY}
for bit in range(16):
    if SECRET >> bit & 1:
        call("fcntl", fd, 37, struct.pack("hhqqi4x", 0, 0, bit, 1, 0))
""",
        f"""
fd, number = {_LIBRARY}, 0
for bit in range(16):
    asked = ctypes.create_string_buffer(struct.pack("hhqqi4x", 1, 0, bit, 1, 0), 32)
    call("fcntl", fd, 36, asked)
    number |= (struct.unpack_from("h", asked)[0] != 2) << bit
print(number)
""",
    ),
    _row(
        "leases of libraries",
        _CROSS,
        f"""
files = {_OPENED}
for bit, fd in enumerate(files):
    if SECRET >> bit & 1:
        call('fcntl', fd, 1024, 1)
""",
        f"print(sum((call('fcntl', fd, 1025, 0) == 1) << bit for bit, fd in enumerate({_OPENED})))",
        open_without_wall=False,
        stopped_by="the kernel: a lease belongs to the opened file",
    ),
    _row(
        "an abstract socket's name",
        _CROSS,
        "s = _socket.socket(1, 1)\ns.bind('\\0%s-%d' % (MARK, SECRET))",
        "print(_io.FileIO('/proc/self/net/unix').readall())",
    ),
    _row(
        "the memory of an earlier session",
        _CROSS,
        "kept = [b'%d' % SECRET * 1000 for _ in range(1000)]",
        "print(search(rb'(?:[0-9]{5}){1000}'))",
        open_without_wall=False,
        stopped_by="each session has a process of its own, and the kernel clears pages",
    ),
    _row(
        "a library that one session changes",
        _CROSS,
        "import json\njson.secret = SECRET",
        "import json\nprint(json.secret)",
        open_without_wall=False,
        stopped_by="each session has a process of its own",
    ),
)
