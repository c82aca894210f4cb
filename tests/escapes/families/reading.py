"""Files are read: the canary, the server's own, and what /proc shows of others."""

from tests.escapes.row import Row


def _row(name: str, code: str, effect: str = "told", **more: object) -> Row:
    return Row(name, "file read", effect, code, **more)  # type: ignore[arg-type]


ROWS = (
    _row("the function behind open()", "print(real(open)(CANARY).read())"),
    _row("_io.FileIO", "print(_io.FileIO(CANARY).readall())"),
    _row(
        "FileIO by way of object's subclasses",
        """
kinds = object.__subclasses__()
while not any(kind.__name__ == "FileIO" for kind in kinds):
    kinds = [below for kind in kinds if kind.__name__ in ("_IOBase", "_RawIOBase") for below in kind.__subclasses__()]
print(next(kind for kind in kinds if kind.__name__ == "FileIO")(CANARY).readall())
""",
    ),
    _row("posix.open", "print(posix.read(posix.open(CANARY, os.O_RDONLY), 99))"),
    _row(
        "open() of the C library",
        "fd = libc.open(CANARY.encode(), 0)\nprint(posix.read(fd, 99))",
    ),
    _row(
        "fopen() of the C library",
        """
libc.fopen.restype = ctypes.c_void_p
text = ctypes.create_string_buffer(99)
libc.fgets(text, 99, ctypes.c_void_p(libc.fopen(CANARY.encode(), b"r")))
print(text.value)
""",
    ),
    _row("the system call openat", "print(posix.read(call('openat', -100, CANARY, 0), 99))"),
    _row("the system call openat2", "print(posix.read(call('openat2', -100, CANARY, bytes(24), 24), 99))"),
    _row(
        "a map of the file",
        """
fd = posix.open(CANARY, os.O_RDONLY)
print(ctypes.string_at(memory(4096, 1, PRIVATE, fd), 60))
""",
    ),
    _row(
        "a file by its handle",
        """
handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136)
call("name_to_handle_at", -100, CANARY, handle, ctypes.byref(ctypes.c_int()), 0)
print(posix.read(call("open_by_handle_at", posix.open("/tmp", os.O_RDONLY), handle, 0), 99))
""",
        ordinary_stopped_by="the kernel wants CAP_DAC_READ_SEARCH",
    ),
    _row(
        "a path alone (O_PATH), opened again",
        "print(posix.read(posix.open(f'/proc/self/fd/{posix.open(CANARY, os.O_PATH)}', os.O_RDONLY), 99))",
    ),
    _row("past a folder that may be read", "print(_io.FileIO('/usr/lib/../..' + CANARY).readall())"),
    _row("/proc/self/root", "print(_io.FileIO('/proc/self/root' + CANARY).readall())"),
    _row("/proc/self/cwd", "print(_io.FileIO('/proc/self/cwd/..' + CANARY).readall())"),
    _row("/proc/self/task/…/root", "print(_io.FileIO(f'/proc/self/task/{posix.getpid()}/root{CANARY}').readall())"),
    _row("a folder is listed", "print(posix.listdir(FOLDER))"),
    _row("a link is read", "print(posix.readlink(FOLDER + '/link'))", step="root"),
    _row("the size of a file", "print(posix.stat(FOLDER + '/sized').st_size)", step="root"),
    _row("an attribute", "print(posix.getxattr(CANARY, 'user.secret'))"),
    _row(
        "a database",
        "import sqlite3\nprint(sqlite3.connect(FOLDER + '/database').execute('select * from t').fetchall())",
    ),
    _row("numpy.fromfile", "import numpy\nunmask()\nprint(numpy.fromfile(CANARY, 'u1').tobytes())", module="numpy"),
    _row(
        "a loader's get_data",
        """
from importlib.machinery import SourceFileLoader
unmask()
print(SourceFileLoader('x', CANARY).get_data(CANARY))
""",
    ),
    _row(
        "linecache",
        "import tokenize, linecache\ntokenize._builtin_open = real(open)\nprint(linecache.getline(CANARY, 1))",
    ),
    _row(
        "a traceback that shows a line of the file",
        "unmask()\nexec(compile('1 / 0', CANARY, 'exec'))",
    ),
    _row(
        "an import from a folder",
        "unmask()\nsys.path.insert(0, FOLDER)\nimport canary_module\nprint(canary_module.secret)",
    ),
    _row("a shared library is loaded", "ctypes.CDLL(FOLDER + '/library.so')\ntime.sleep(0.1)", effect="mapped"),
    _row("/proc/…/fd of the server: its standard input", "print(_io.FileIO(f'/proc/{SERVER}/fd/0').readall())"),
    _row("/proc/…/cwd of the server: its .env", "print(_io.FileIO(f'/proc/{SERVER}/cwd/.env').readall())"),
    _row("/proc/…/root of the server", "print(_io.FileIO(f'/proc/{SERVER}/root{CANARY}').readall())"),
    _row(
        "/proc/1/root",
        "print(_io.FileIO('/proc/1/root' + CANARY).readall())",
        open_without_wall=None,
        stopped_by="it is root's process, and on some hosts a better guarded one",
    ),
    _row("/proc/…/cmdline of another process", "print(_io.FileIO(f'/proc/{VICTIM}/cmdline').readall())"),
    _row("/proc/…/environ of another process", "print(_io.FileIO(f'/proc/{VICTIM}/environ').readall())"),
)
