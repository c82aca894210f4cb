"""Which system calls a program may make that is not a worker: the compiler, compiled code, and valgrind around it.

Each is the policy of workers, but for the rows given here. A process confines itself first and becomes the program
after that, so each policy lets one exec through.
"""

from errno import EACCES, EINVAL

from sandbox.confine.calls import POLICY, Checked, Policy, Row, Test

EXEC_FD = 63  # the program that is about to be run; no other one can be
_AT_EMPTY_PATH = 0x1000
_ARCH_SET_FS, _ARCH_GET_FS = 0x1002, 0x1003
_CLONE_NAMESPACES = 0x7E020000 | 0x80  # and NEWTIME
_CLONE_VM, _CLONE_THREAD, _CLONE_UNTRACED = 0x100, 0x10000, 0x800000
_KIND_OF_TASK = _CLONE_VM | _CLONE_THREAD | _CLONE_UNTRACED | _CLONE_NAMESPACES
_TASKS = (_CLONE_VM | _CLONE_THREAD, _CLONE_VM | _CLONE_UNTRACED)
_TEMPORARY = 0o2 | 0o100 | 0o200 | 0o1000  # RDWR CREAT EXCL TRUNC: how valgrind opens what only it reads
_O_ALL = 0o1 | 0o2 | 0o100 | 0o200 | 0o1000 | 0o2000 | 0o20000000

_LOADER = (
    Checked("execveat", (Test(0, (EXEC_FD,)), Test(4, (_AT_EMPTY_PATH,))), "itself, once: then the number is closed"),
    Checked("arch_prctl", (Test(0, (_ARCH_SET_FS, _ARCH_GET_FS)),), "the loader sets the thread register", EINVAL),
)

PROGRAM = POLICY.widened(*_LOADER)

# LeakSanitizer looks at the program from a task of its own, which shares its memory and traces it. Landlock keeps
# ptrace to processes that this one has made; RLIMIT_NPROC bounds them.
SANITIZED = PROGRAM.widened(
    Checked("clone", (Test(0, _TASKS, _KIND_OF_TASK),), "threads, and the task that looks for leaks"),
    Row("ptrace wait4", "how it stops the threads"),
    Checked("personality", (Test(0, (0xFFFFFFFF,)),), "whether addresses are random: a question"),
    Row("mlock munlock", "RLIMIT_MEMLOCK is 0"),
)

MEMCHECK = PROGRAM.widened(
    Checked("open", (Test(1, (0, _TEMPORARY), _O_ALL),), "its two files on the program", EACCES),
    Row("unlink unlinkat", "and away with them; Landlock keeps this to the scratch folder"),
)

COMPILER = POLICY.widened(
    Row("execve execveat", "gcc runs its passes; Landlock names them"),
    Row("fork vfork wait4 waitid", "and waits for them"),
    Checked("clone", (Test(0, (0,), _CLONE_NAMESPACES),), "no namespaces"),
    Row("openat open creat ftruncate unlink unlinkat rename renameat renameat2", "Landlock: in the scratch folder"),
    Row("chmod fchmod fchmodat", "the linker makes its output executable"),
    Row("arch_prctl", "the loader sets the thread register"),
    Row("flock statfs fstatfs fadvise64", "the linker asks"),
)

POLICIES: dict[str, Policy] = {
    "compiler": COMPILER,
    "program": PROGRAM,
    "sanitized": SANITIZED,
    "memcheck": MEMCHECK,
}
