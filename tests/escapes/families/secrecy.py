"""Secrets of the server's: its environment, its memory, other sessions'. A worker must not have inherited them."""

from tests.escapes.row import Row


def _row(name: str, code: str, stopped_by: str = "", **more: object) -> Row:
    held: dict[str, object] = {"open_without_wall": False, "stopped_by": stopped_by} if stopped_by else {}
    return Row(name, "server secrets", "told", code, **held | more)  # type: ignore[arg-type]


_SCRUBBED = "the zygote is started by exec, with an environment of its own"

ROWS = (
    _row("os.environ", "print(dict(os.environ), posix.environ)", _SCRUBBED),
    _row("/proc/self/environ", "print(_io.FileIO('/proc/self/environ').readall())", _SCRUBBED),
    _row(
        "the strings that the kernel put on the stack",
        "at = libc.getauxval(31)\nprint(ctypes.string_at(at - 8192, 8192), ctypes.string_at(at))",
        _SCRUBBED,
    ),
    _row("/proc/…/environ of the zygote", "print(_io.FileIO(f'/proc/{ZYGOTE}/environ').readall())", _SCRUBBED),
    _row("a search of the own memory", "print(search(rb'(?:server|other|canary)-[0-9a-f]{32}'))", _SCRUBBED),
    _row(
        "a search of all objects",
        "print([o for o in gc.get_objects() if isinstance(o, dict) and 'SECRET_TOKEN' in o])",
        _SCRUBBED,
    ),
    _row(
        "the descriptors that it has, each read and written",
        """
read, at_its_beginning = lambda fd: posix.read(fd, 9999), lambda fd: posix.pread(fd, 9999, 0)
def name(fd):
    return posix.readlink(f"/proc/self/fd/{fd}")
for fd in range(256):
    for ask in (read, at_its_beginning, name):
        try:
            posix.set_blocking(fd, False)
            print(fd, ask(fd))
        except OSError:
            pass
""",
        "the step descriptors: its own queue and tapes only",
    ),
    _row("/proc/…/environ of the server", "print(_io.FileIO(f'/proc/{SERVER}/environ').readall())"),
    _row(
        "/proc/…/mem of the server: the strings on its stack",
        """
for line in _io.FileIO(f"/proc/{SERVER}/maps").readall().decode().splitlines():
    if "[stack]" in line:
        low, high = (int(bound, 16) for bound in line.split()[0].split("-"))
        print(posix.pread(posix.open(f"/proc/{SERVER}/mem", os.O_RDONLY), 65536, high - 65536))
""",
    ),
)
