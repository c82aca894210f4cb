"""Which system calls a worker may make: the policy of the seccomp filter, a reason on each row.

A call that no row names gets ENOSYS, so that libraries fall back on what they did before it existed. A refusal is
EPERM or EACCES, so that Python raises PermissionError. Nothing is killed for a refusal: many libraries only probe.
"""

from dataclasses import dataclass, field
from errno import EACCES, ENOSYS, ENOTTY, EPERM

OWN_PID = -1  # in a condition: the process id of the worker that the filter is for


@dataclass(frozen=True, slots=True)
class Row:
    """System calls by name, and why they are allowed or refused."""

    calls: str
    reason: str


@dataclass(frozen=True, slots=True)
class Test:
    """Looks at one argument: `mask` picks its bits, `among` is what they may be; `upper` wants the high half zero."""

    argument: int
    among: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    upper: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    """A call that is half safe: allowed when every test holds, else the error `refusal`."""

    call: str
    tests: tuple[Test, ...]
    reason: str
    refusal: int = EPERM


@dataclass(frozen=True, slots=True)
class Forbidden:
    """A call that is allowed unless one argument has all bits of one of `masks` set."""

    call: str
    argument: int
    masks: tuple[int, ...]
    reason: str
    refusal: int = EPERM


@dataclass(frozen=True, slots=True)
class Policy:
    checked: tuple[Checked | Forbidden, ...]
    allowed: tuple[Row, ...]
    refused: dict[int, tuple[Row, ...]] = field(default_factory=dict)

    def widened(self, *rows: Row | Checked) -> "Policy":
        """The same, but for the calls that `rows` name: these hold instead of what was said of them."""
        named = {name for row in rows for name in (row.call if isinstance(row, Checked) else row.calls).split()}
        kept = tuple(row for row in self.checked if row.call not in named)
        checked = tuple(row for row in rows if isinstance(row, Checked))
        allowed = tuple(row for row in rows if isinstance(row, Row))
        return Policy(checked + kept, allowed + self.allowed, self.refused)  # the first that names a call holds


_O_CHANGES = 0o1 | 0o2 | 0o100 | 0o1000 | 0o2000 | 0o20000000  # WRONLY RDWR CREAT TRUNC APPEND __O_TMPFILE
_MAP_SHARED_ANONYMOUS, _MAP_GROWSDOWN = 0x01 | 0x20, 0x100
_CLONE_THREAD, _CLONE_NAMESPACES = 0x00010000 | 0x00000400, 0x7E020000  # a thread that shares the descriptors, too
_AF_UNIX, _SOCK_STREAM, _SOCK_TYPE = 1, 1, 0xF
_PRCTL = (3, 15, 16, 23, 39, 0x53564D41)  # GET_DUMPABLE, SET_NAME, GET_NAME, CAPBSET_READ, GET_NO_NEW_PRIVS, SET_VMA
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIO(N)CLEX
_FCNTL = (0, 1, 2, 3, 4, 1030, 1032, 1034)  # DUPFD, GETFD, SETFD, GETFL, SETFL, DUPFD_CLOEXEC, GETPIPE_SZ, GET_SEALS

_RLIMIT_DATA = 2

POLICY = Policy(
    checked=(
        Forbidden(
            "mmap",
            3,
            (_MAP_SHARED_ANONYMOUS, _MAP_GROWSDOWN),
            "neither shared memory nor stacks count towards the memory ceiling",
        ),
        Checked("close_range", (Test(2, (0, 4)),), "a thread with a table of its own would have 64 of its own"),
        Checked("preadv2", (Test(5, (0,)),), "RWF_NOWAIT tells what others have read"),
        Checked("sched_getparam", (Test(0, (0, OWN_PID)),), "the own one"),
        Checked("sched_getscheduler", (Test(0, (0, OWN_PID)),), "the own one"),
        Checked("openat", (Test(2, (0,), _O_CHANGES),), "files are read; none is written, made or cut", EACCES),
        Checked("open", (Test(1, (0,), _O_CHANGES),), "as openat", EACCES),
        Checked(
            "clone",
            (Test(0, (_CLONE_THREAD,), _CLONE_THREAD | _CLONE_NAMESPACES),),
            "threads are made, processes and namespaces are not",
        ),
        Checked("fcntl", (Test(1, _FCNTL),), "no owners, leases, locks or larger pipes"),
        Checked("ioctl", (Test(1, _IOCTL),), "no terminals (TIOCSTI types into them) and no devices", ENOTTY),
        Checked("kill", (Test(0, (OWN_PID,)),), "the own process only"),
        Checked("tgkill", (Test(0, (OWN_PID,)),), "the own threads only"),
        Checked("prlimit64", (Test(0, (0, OWN_PID)), Test(2, (0,), upper=True)), "limits are read, not set"),
        Checked("setrlimit", (Test(0, (_RLIMIT_DATA,)),), "a run lowers its own ceiling; nobody raises one"),
        Checked("prctl", (Test(0, _PRCTL),), "names of threads, and questions"),
        Checked(
            "socketpair",
            (Test(0, (_AF_UNIX,)), Test(1, (_SOCK_STREAM,), _SOCK_TYPE)),
            "event loops wake themselves by a stream pair; a datagram pair could be pointed at any socket",
        ),
        Checked("sendto", (Test(4, (0,), upper=True),), "to the other end only, never to an address"),
        Checked("getpriority", (Test(0, (0,)), Test(1, (0, OWN_PID))), "the own one"),
        Checked("sched_getaffinity", (Test(0, (0, OWN_PID)),), "os.cpu_count and thread pools ask for the own one"),
        Checked("getpgid", (Test(0, (0, OWN_PID)),), "the own one"),
        Checked("getsid", (Test(0, (0, OWN_PID)),), "the own one"),
    ),
    allowed=(
        Row("read readv pread64 preadv lseek getdents getdents64", "descriptors that are open already"),
        Row("write writev pwrite64 pwritev pwritev2", "only the queue, the tapes and pipes of its own are writable"),
        Row("close dup dup2 dup3 fsync fdatasync", "its own descriptors"),
        Row(
            "fstat stat lstat newfstatat statx access faccessat faccessat2", "imports look; Landlock cannot hide these"
        ),
        Row("readlink readlinkat getcwd", "realpath and imports"),
        Row("munmap mprotect mremap brk madvise msync", "the allocator; the ceiling counts"),
        Row("exit exit_group restart_syscall pause", "ending and resuming"),
        Row("rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait sigaltstack", "own"),
        Row("alarm setitimer getitimer", "signals to itself"),
        Row("getpid getppid gettid getuid geteuid getgid getegid getresuid getresgid getgroups getpgrp", "questions"),
        Row("getrlimit getrusage times sysinfo uname getcpu umask", "questions about itself and the machine"),
        Row("getrandom", "random numbers"),
        Row("futex futex_waitv futex_wake futex_wait futex_requeue set_robust_list set_tid_address rseq", "threads"),
        Row("sched_yield sched_get_priority_max sched_get_priority_min", "threads"),
        Row("time gettimeofday clock_gettime clock_getres clock_nanosleep nanosleep", "clocks are read"),
        Row("timerfd_create timerfd_settime timerfd_gettime", "waiting"),
        Row("poll ppoll select pselect6 eventfd eventfd2 pipe pipe2", "event loops"),
        Row("epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2", "event loops"),
        Row("recvfrom shutdown getsockname getpeername getsockopt", "the stream pair"),
    ),
    refused={
        ENOSYS: (
            Row("clone3 openat2", "their arguments are in memory, where a filter cannot look; libc falls back"),
            Row("arch_prctl membarrier", "libc asks and does without"),
        ),
        EACCES: (
            Row("creat truncate ftruncate fallocate", "nothing is written"),
            Row("unlink unlinkat rename renameat renameat2 mkdir mkdirat rmdir", "nothing is changed"),
            Row("link linkat symlink symlinkat mknod mknodat", "nothing is made"),
            Row("chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat", "nothing changes hands"),
            Row("utime utimes utimensat futimesat", "no time is changed: Landlock does not cover these"),
            Row("setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr", "nor attributes"),
            Row("getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr", "nor read"),
            Row("chdir fchdir chroot", "the folder is shared by what is confined"),
            Row("socket connect bind listen accept accept4", "no network, and no sockets of this host"),
            Row("sendmsg sendmmsg recvmsg recvmmsg setsockopt", "no descriptors in messages, no socket filters"),
        ),
        EPERM: (
            Row("fork vfork execve execveat", "no process, no program"),
            Row("wait4 waitid", "there are no children"),
            Row("tkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal", "no other way to signal"),
            Row("pidfd_open pidfd_getfd ptrace process_vm_readv process_vm_writev kcmp", "no other process is seen"),
            Row("process_madvise process_mrelease move_pages migrate_pages", "nor its memory touched"),
            Row("memfd_create memfd_secret shmget shmat shmdt shmctl remap_file_pages", "memory past the ceiling"),
            Row("semget semop semtimedop semctl msgget msgsnd msgrcv msgctl", "channels between sessions"),
            Row("mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr", "channels between sessions"),
            Row("flock", "a channel between sessions, by locks on the same library"),
            Row("mincore cachestat fadvise64 readahead", "tells what others have read, or makes it forgotten"),
            Row(
                "inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_init fanotify_mark", "watching"
            ),
            Row("mlock mlock2 mlockall munlock munlockall", "memory that others need"),
            Row("mbind get_mempolicy set_mempolicy set_mempolicy_home_node", "placement of memory"),
            Row("pkey_alloc pkey_free pkey_mprotect map_shadow_stack mseal", "not needed, and a kernel surface"),
            Row("io_uring_setup io_uring_enter io_uring_register", "calls that no filter sees"),
            Row("io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents", "not needed"),
            Row("userfaultfd bpf perf_event_open keyctl add_key request_key", "kernel surfaces with a history"),
            Row(
                "mount umount2 move_mount fsopen fsconfig fsmount fspick open_tree mount_setattr pivot_root", "the root"
            ),
            Row("setns unshare statmount listmount quotactl quotactl_fd swapon swapoff", "namespaces and mounts"),
            Row(
                "setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset capget",
                "who it is",
            ),
            Row("setsid setpgid setpriority ioprio_set ioprio_get", "limits and groups stay"),
            Row(
                "sched_setaffinity sched_setparam sched_setscheduler sched_setattr sched_getattr sched_rr_get_interval",
                "its share stays",
            ),
            Row(
                "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self personality", "the wall stays"
            ),
            Row("sendfile splice tee vmsplice copy_file_range sync_file_range", "not needed, and a kernel surface"),
            Row("timer_create timer_settime timer_gettime timer_getoverrun timer_delete", "not needed"),
            Row("signalfd signalfd4 get_robust_list", "not needed"),
            Row("name_to_handle_at open_by_handle_at", "files by number, past their folders"),
            Row("settimeofday adjtimex clock_settime clock_adjtime sethostname setdomainname", "the machine"),
            Row("reboot kexec_load kexec_file_load init_module finit_module delete_module syslog acct", "the machine"),
            Row("iopl ioperm modify_ldt vhangup lookup_dcookie uselib nfsservctl sync syncfs", "the machine"),
            Row("lsm_get_self_attr lsm_set_self_attr lsm_list_modules statfs fstatfs", "what the host is like"),
        ),
    },
)
