"""Privileges and limits: regained, raised, or changed; kernel interfaces with a history."""

from tests.escapes.row import Row


def _row(name: str, code: str, effect: str = "privileged", **more: object) -> Row:
    return Row(name, "privileges", effect, code, **more)  # type: ignore[arg-type]


def _foreign(name: str, code: str, **more: object) -> Row:
    return Row(name, "wrong architecture", "changed", code, machine="x86_64", ends="SIGSYS", **more)  # type: ignore[arg-type]


_ROOT_ONLY = "the kernel: it has no capability for it"

ROWS = (
    _row("setuid(0)", "posix.setuid(0)", open_without_wall=False, stopped_by="it is root already, or may not be"),
    _row("setresuid to somebody", "posix.setresuid(4321, 4321, 4321)", ordinary_stopped_by=_ROOT_ONLY),
    _row("setgroups", "posix.setgroups([4321])", ordinary_stopped_by=_ROOT_ONLY),
    _row(
        "capset makes a capability inheritable",
        "call('capset', struct.pack('Ii', 0x20080522, 0), struct.pack('6I', 1, 1, 1, 0, 0, 0))",
        ordinary_stopped_by="it has none",
    ),
    _row("a user namespace", "call('unshare', 0x10000000)"),
    _row("a network namespace", "call('unshare', 0x40000000)", ordinary_stopped_by=_ROOT_ONLY),
    _row(
        "a namespace of the server's is entered",
        "call('setns', posix.open(f'/proc/{VICTIM}/ns/uts', os.O_RDONLY), 0) or call('unshare', 0x04000000)",
        ordinary_stopped_by=_ROOT_ONLY,
    ),
    _row(
        "a file system is mounted",
        "call('mount', 'none', FOLDER + '/empty', 'tmpfs', 0, None)",
        effect="changed",
        ordinary_stopped_by=_ROOT_ONLY,
    ),
    _row("chroot", "posix.chroot(FOLDER)", ordinary_stopped_by=_ROOT_ONLY),
    _row("the folder is changed", "posix.chdir('/usr')"),
    _row("it becomes dumpable", "call('prctl', 4, 1, 0, 0, 0)", open_without_wall=False, stopped_by="it is so already"),
    _row("securebits", "call('prctl', 28, 1, 0, 0, 0)\ncall('prctl', 24, 0, 0, 0, 0)", ordinary_stopped_by=_ROOT_ONLY),
    _row("no_new_privs by the code", "call('prctl', 38, 1, 0, 0, 0)"),
    _row(
        "a seccomp filter by the code",
        """
filter_ = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7FFF0000), 8)
call("prctl", 38, 1, 0, 0, 0)
call("seccomp", 1, 0, struct.pack("HP", 1, ctypes.addressof(filter_)))
""",
    ),
    _row("personality", "call('personality', 0x0040000)"),
    _row(
        "a limit is raised (setrlimit)",
        "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))",
        open_without_wall=None,
        stopped_by="hosts whose root has not CAP_SYS_RESOURCE",
    ),
    _row(
        "a limit is raised (prlimit64)",
        "call('prlimit64', 0, 7, struct.pack('QQ', 4096, 4096), None)",
        open_without_wall=None,
        stopped_by="hosts whose root has not CAP_SYS_RESOURCE",
    ),
    _row(
        "a limit is lowered",
        """
call('prlimit64', 0, 4, struct.pack('QQ', 0, 0), None)
call('prlimit64', 0, 7, struct.pack('QQ', 60, 60), None)
""",
    ),
    _row(
        "a limit of another process",
        "call('prlimit64', VICTIM, 7, struct.pack('QQ', 9, 9), None)",
        effect="overwritten",
    ),
    _row(
        "one processor only",
        "posix.sched_setaffinity(0, [max(posix.sched_getaffinity(0))])",
        step="",
        open_without_wall=None,
        stopped_by="a machine of one processor",
    ),
    _row("nice, backwards", "posix.nice(-20)", ordinary_stopped_by=_ROOT_ONLY),
    _row("a real-time class", "call('sched_setscheduler', 0, 1, struct.pack('i', 1))", ordinary_stopped_by=_ROOT_ONLY),
    _row("the idle class", "call('sched_setscheduler', 0, 5, struct.pack('i', 0))"),
    _row("memory is locked", "call('mlock', memory(4096), 4096)"),
    _row(
        "bpf",
        "m = call('bpf', 0, struct.pack('6I', 2, 4, 4, 1, 0, 0) + bytes(96), 120)",
        effect="holds",
        ordinary_stopped_by="a sysctl of most hosts",
    ),
    _row(
        "perf_event_open",
        "e = call('perf_event_open', struct.pack('IIQQQQQ', 1, 120, 0, 0, 0, 0, 0x61) + bytes(72), 0, -1, -1, 0)",
        effect="holds",
        open_without_wall=None,
        stopped_by="a sysctl of some hosts",
    ),
    _row(
        "userfaultfd",
        "u = call('userfaultfd', 1)",
        effect="holds",
        open_without_wall=None,
        stopped_by="kernels without it",
    ),
    _row("inotify", "i = call('inotify_init1', 0)", effect="holds"),
    _row(
        "fanotify",
        "i = call('fanotify_init', 0x200, 0)",
        effect="holds",
        open_without_wall=None,
        stopped_by="kernels without it",
    ),
    _row("signalfd", "s = call('signalfd4', -1, bytes(8), 8, 0)", effect="holds"),
    _row("a file in memory", "f = posix.memfd_create('x')", effect="holds"),
    _row("a process as a descriptor", "p = call('pidfd_open', VICTIM, 0)", effect="holds"),
    _row(
        "an instance of Landlock of its own",
        "r = call('landlock_create_ruleset', struct.pack('Q', 1), 8, 0)",
        effect="holds",
        open_without_wall=None,
        stopped_by="kernels without it",
    ),
    _foreign(
        "int 0x80: mkdir of i386",
        """
path = memory(4096, 3, PRIVATE | ANONYMOUS | 0x40)
ctypes.memmove(path, FOLDER.encode() + b"/made", len(FOLDER) + 6)
run_native("53bb" + struct.pack("I", path).hex() + "b9c0010000b827000000cd805bc3")
""",
        open_without_wall=None,
        stopped_by="kernels without programs of 32 bits",
    ),
    _foreign(
        "x32: mkdir by its number and 2**30",
        "libc.syscall(ctypes.c_long(0x40000000 + 83), FOLDER.encode() + b'/made', 0o700)",
        open_without_wall=None,
        stopped_by="most kernels: they have no x32",
    ),
)
