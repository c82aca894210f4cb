"""Files are written, made, removed, renamed, or their marks changed."""

from tests.escapes.row import Row


def _row(name: str, code: str, effect: str = "changed", **more: object) -> Row:
    return Row(name, "file write", effect, code, **more)  # type: ignore[arg-type]


_MODE = "os.O_WRONLY | os.O_CREAT"

ROWS = (
    _row("the function behind open()", "real(open)(FOLDER + '/made', 'w').close()"),
    _row("_io.FileIO", "_io.FileIO(CANARY, 'a').write(b'x')"),
    _row("posix.open makes a file", f"posix.open(FOLDER + '/made', {_MODE})"),
    _row("posix.open cuts a file", "posix.open(CANARY, os.O_WRONLY | os.O_TRUNC)"),
    _row("a file is cut while it is opened to read", "posix.open(CANARY, os.O_RDONLY | os.O_TRUNC)"),
    _row("a file is made while it is opened to read", "posix.open(FOLDER + '/made', os.O_RDONLY | os.O_CREAT)"),
    _row("creat() of the C library", "libc.creat(FOLDER.encode() + b'/made', 0o600)"),
    _row("fopen() of the C library", "libc.fopen(FOLDER.encode() + b'/made', b'w')"),
    _row("the system call openat2", "call('openat2', -100, FOLDER + '/made', struct.pack('3Q', 0o101, 0o600, 0), 24)"),
    _row("posix.truncate", "posix.truncate(CANARY, 1)"),
    _row("posix.rename", "posix.rename(CANARY, CANARY + '2')"),
    _row("renameat2 that exchanges", "call('renameat2', -100, CANARY, -100, FOLDER + '/sized', 2)"),
    _row("posix.unlink", "posix.unlink(CANARY)"),
    _row("posix.mkdir", "posix.mkdir(FOLDER + '/made')"),
    _row("posix.rmdir", "posix.rmdir(FOLDER + '/empty')"),
    _row("posix.link", "posix.link(CANARY, FOLDER + '/made')"),
    _row("posix.symlink", "posix.symlink('x', FOLDER + '/made')"),
    _row("posix.mkfifo", "posix.mkfifo(FOLDER + '/made')"),
    _row("posix.mknod", "posix.mknod(FOLDER + '/made')"),
    _row("posix.chmod", "posix.chmod(CANARY, 0o777)"),
    _row("fchmod of a file opened to read", "posix.fchmod(posix.open(CANARY, os.O_RDONLY), 0o777)"),
    _row("fchmodat by its number", "call('fchmodat', -100, CANARY, 0o777)"),
    _row("posix.chown", "posix.chown(CANARY, 4321, 4321)", ordinary_stopped_by="the kernel wants CAP_CHOWN"),
    _row("posix.utime", "posix.utime(CANARY, (1, 1))"),
    _row("an attribute", "posix.setxattr(CANARY, 'user.secret', b'x')"),
    _row(
        "a nameless file (O_TMPFILE) that gets a name",
        """
fd = posix.open(FOLDER, os.O_TMPFILE | os.O_WRONLY)
call("linkat", -100, f"/proc/self/fd/{fd}", -100, FOLDER + "/made", 0x400)
""",
    ),
    _row(
        "opened to read, and again to write",
        """
fd = posix.open(CANARY, os.O_RDONLY)
posix.write(posix.open(f"/proc/self/fd/{fd}", os.O_WRONLY), b"x")
""",
    ),
    _row(
        "a shared map",
        "ctypes.memset(memory(4096, 3, SHARED, posix.open(CANARY, os.O_RDWR)), 120, 1)",
    ),
    _row("fallocate", "libc.fallocate(posix.open(CANARY, os.O_RDWR), 0, 0, 9999)"),
    _row("/tmp", f"posix.open('/tmp/' + MARK, {_MODE})"),
    _row("/var/tmp", f"posix.open('/var/tmp/' + MARK, {_MODE})"),
    _row("/dev/shm", f"posix.open('/dev/shm/' + MARK, {_MODE})"),
    _row(
        "a database",
        """
import sqlite3
database = sqlite3.connect(FOLDER + "/database")
database.execute("create table made (x)")
database.commit()
""",
    ),
    _row(
        "a file of the own process in /proc",
        "posix.write(posix.open('/proc/self/oom_score_adj', os.O_WRONLY), b'500')",
        effect="privileged",
    ),
)
