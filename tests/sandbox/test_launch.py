"""Programs behind the wall: what they may not do is refused by the kernel, and nothing of them is left.

Each column is one launcher: as root and as an ordinary user, with namespaces of its own and without.
"""

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.escapes.column import Unavailable, uid_of
from tests.escapes.world import as_user

DRIVER = Path(__file__).parent / "launched.py"
pytestmark = pytest.mark.skipif(not (shutil.which("gcc") and shutil.which("valgrind")), reason="needs gcc and valgrind")

INCLUDES = """
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <unistd.h>
#include <signal.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <netinet/in.h>
#define TRY(call) do { errno = 0; long r_ = (long)(call); printf("%s %ld %s\\n", #call, r_, strerror(errno)); \
    if (r_ >= 0) printf("THROUGH: %s\\n", #call); } while (0)
"""
# Each prints a line with THROUGH for whatever it got. The victim's process id is an argument of the compilation.
ATTACKS = {
    "writes files": """
        TRY(open("/tmp/pyrunner-was-here", O_WRONLY | O_CREAT, 0600));
        TRY(open("new", O_WRONLY | O_CREAT, 0600));
        TRY(open("/dev/shm/pyrunner-was-here", O_RDWR | O_CREAT, 0600));
        TRY(open("/usr/lib/pyrunner-was-here", O_RDWR | O_CREAT, 0600));
        TRY(open("program", O_RDWR)); TRY(truncate("program", 0)); TRY(unlink("program")); TRY(chmod("program", 0777));
        TRY(mkdir("folder", 0700)); TRY(rename("program", "other")); TRY(symlink("/etc", "link"));
        TRY(syscall(SYS_memfd_create, "x", 0)); TRY(open(".", O_TMPFILE | O_RDWR, 0600));
        TRY(utimensat(AT_FDCWD, "program", 0, 0));
    """,
    "reads files": """
        TRY(open("/etc/passwd", O_RDONLY)); TRY(open("/etc/hostname", O_RDONLY)); TRY(open("/root", O_RDONLY));
        TRY(open("/home", O_RDONLY)); TRY(open("/tmp", O_RDONLY)); TRY(open("..", O_RDONLY));
        TRY(open("/proc/1/environ", O_RDONLY)); TRY(open("/proc/self/root/etc/passwd", O_RDONLY));
        TRY(open("/proc/self/cwd/../../etc/passwd", O_RDONLY)); TRY(open("/usr/include/stdio.h", O_RDONLY));
        TRY(open("/var/log", O_RDONLY)); TRY(open("/dev/mem", O_RDONLY)); TRY(open("/usr/bin", O_RDONLY));
        char path[64]; snprintf(path, sizeof path, "/proc/%d/environ", VICTIM); TRY(open(path, O_RDONLY));
        snprintf(path, sizeof path, "/proc/%d/maps", getppid()); TRY(open(path, O_RDONLY));
    """,
    "connects": """
        struct sockaddr_in a = {AF_INET, htons(80), {htonl(0x7f000001)}};
        TRY(socket(AF_INET, SOCK_STREAM, 0)); TRY(socket(AF_INET, SOCK_DGRAM, 0)); TRY(socket(AF_UNIX, SOCK_STREAM, 0));
        TRY(socket(AF_NETLINK, SOCK_RAW, 0)); TRY(socket(AF_PACKET, SOCK_RAW, 0)); TRY(socket(AF_INET6, SOCK_STREAM, 0));
        int p[2]; TRY(socketpair(AF_UNIX, SOCK_DGRAM, 0, p));
        for (int fd = 0; fd < 64; fd++) if (!connect(fd, (void *)&a, sizeof a)) printf("THROUGH: connect %d\\n", fd);
    """,
    "makes processes": """
        TRY(fork()); TRY(vfork()); TRY(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
        TRY(syscall(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0, 0, 0));
        TRY(syscall(SYS_clone3, 0, 0)); TRY(unshare(CLONE_NEWUSER)); TRY(unshare(CLONE_NEWPID));
        pid_t pid; char *argv[] = {"true", 0}; TRY(-posix_spawn(&pid, "/usr/bin/true", 0, 0, argv, 0) - 1 + 0);
        printf("%d\\n", system("echo THROUGH: system"));
        FILE *f = popen("echo THROUGH: popen", "r"); printf("%p\\n", (void *)f);
    """,
    "runs programs": """
        char *argv[] = {"sh", "-c", "echo THROUGH: a shell", 0}, *env[] = {0};
        TRY(execve("/bin/sh", argv, env)); TRY(execve("/usr/bin/sh", argv, env)); TRY(execve("/bin/busybox", argv, env));
        TRY(execve("/usr/bin/gcc", argv, env)); TRY(execve("program", argv, env)); TRY(execve("/proc/self/exe", argv, env));
        int fd = open("/lib64/ld-linux-x86-64.so.2", O_RDONLY); TRY(syscall(SYS_execveat, fd, "", argv, env, 0x1000));
        TRY(syscall(SYS_execveat, AT_FDCWD, "/bin/sh", argv, env, 0));
    """,
    "kills others": """
        TRY(kill(VICTIM, SIGKILL)); TRY(kill(getppid(), SIGKILL)); TRY(kill(1, SIGKILL)); TRY(kill(-1, SIGKILL));
        TRY(kill(0, 0)); TRY(syscall(SYS_tkill, VICTIM, SIGKILL)); TRY(syscall(SYS_pidfd_open, VICTIM, 0));
        TRY(ptrace(PTRACE_ATTACH, VICTIM, 0, 0)); TRY(ptrace(PTRACE_ATTACH, getppid(), 0, 0));
        TRY(syscall(SYS_process_vm_readv, getppid(), 0, 0, 0, 0, 0)); TRY(syscall(SYS_setpriority, 2, 0, -20) );
    """,
    "gains privileges": """
        TRY(setuid(0) ? -1 : geteuid() == 0 ? 0 : -1); TRY(mount("none", "/tmp", "tmpfs", 0, 0));
        TRY(syscall(SYS_bpf, 0, 0, 0)); TRY(syscall(SYS_keyctl, 0, 0, 0)); TRY(syscall(SYS_add_key, "user", "x", "y", 1, -4));
        TRY(syscall(SYS_perf_event_open, 0, 0, -1, -1, 0)); TRY(syscall(SYS_io_uring_setup, 1, 0)); TRY(chroot("."));
        TRY(syscall(SYS_userfaultfd, 0)); struct rlimit most = {RLIM_INFINITY, RLIM_INFINITY};
        TRY(setrlimit(RLIMIT_DATA, &most)); TRY(setrlimit(RLIMIT_FSIZE, &most));
        TRY(setsid()); TRY(syscall(SYS_personality, 0x0400000) );
    """,
}
LIMITS = {
    "much memory": 'char *p = malloc(200 << 20); printf(p ? "THROUGH\\n" : "refused\\n");',
    "memory bit by bit": """
        long n = 0; char *p; while ((p = malloc(1 << 20))) { memset(p, 1, 1 << 20); n++; }
        printf("refused after %s\\n", n < 64 ? "less than the limit" : "THROUGH");
    """,
    "shared memory": """
        void *p = mmap(0, 200 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        printf(p == MAP_FAILED ? "refused\\n" : "THROUGH\\n");
    """,
    "huge output": """
        char x[4096]; memset(x, 'x', sizeof x); for (int i = 0; i < 10000; i++) write(1, x, sizeof x); return 7;
    """,
    "a large file": 'ftruncate(1, 1 << 30); lseek(1, 1 << 29, 0); printf("%zd refused\\n", write(1, "x", 1));',
    "many threads": """
        int n = 0; pthread_t t; pthread_attr_t a; pthread_attr_init(&a); pthread_attr_setstacksize(&a, 65536);
        while (n < 10000 && !pthread_create(&t, &a, (void *(*)(void *))pause, 0)) n++;
        printf("%s\\n", n > 1 && n <= THREADS ? "refused" : "THROUGH"); printf("%d\\n", n); fflush(stdout); _exit(0);
    """,
    "threads": """
        pthread_t t; int r = pthread_create(&t, 0, (void *(*)(void *))puts, "from a thread"); pthread_join(t, 0); return r;
    """,
    "an endless loop": "for (;;) ;",
    "a crash": "*(volatile int *)0 = 1;",
    "an abort": "abort();",
    "an exit": "puts(fgets((char[64]){0}, 64, stdin)); return 42;",
}


@dataclass(frozen=True)
class Column:
    user: str
    namespaces: bool
    profile: str = "program"

    def __str__(self) -> str:
        return f"{self.user}-{'namespaces' if self.namespaces else 'plain'}-{self.profile}"


COLUMNS = [Column(user, namespaces) for user in ("root", "ordinary") for namespaces in (True, False)]
OTHERS = [Column("root", True, "sanitized"), Column("ordinary", True, "memcheck"), Column("root", False, "memcheck")]


def wrapped(body: str, victim: int, threads: int = 64) -> str:
    return f"{INCLUDES}\n#define VICTIM {victim}\n#define THREADS {threads}\nint main(void) {{ setvbuf(stdout, 0, _IONBF, 0); {body} return 0; }}"


@cache
def interpreter_for(uid: int) -> str:
    """One that this user can start; the driver needs nothing but the standard library."""
    for python in (sys.executable, "/usr/bin/python3"):
        command = [python, str(DRIVER), json.dumps({"namespaces": False, "profile": "program", "programs": {}})]
        with suppress(OSError):
            if subprocess.run(command, capture_output=True, **as_user(uid)).returncode == 0:
                return python
    pytest.skip(f"user {uid} can start neither this interpreter nor the system's")


def launched(
    column: Column, programs: dict[str, str], *, without_starts: tuple[str, ...] = (), **limits: Any
) -> dict[str, Any]:
    """What the driver tells. `without_starts`: folders from which, in its mounts, nothing can be started."""
    try:
        uid = uid_of(column.user)
    except Unavailable as why:
        pytest.skip(str(why))
    python = interpreter_for(uid)
    request = {"namespaces": column.namespaces, "profile": column.profile, "programs": programs, "limits": limits}
    command = [python, str(DRIVER), json.dumps(request)]
    if without_starts:
        mounts = "".join(
            f"mount --bind {folder} {folder} && mount -o remount,bind,noexec {folder} && " for folder in without_starts
        )
        command = ["unshare", "--mount", "sh", "-c", mounts + 'exec "$@"', "sh", *command]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": "/"},
        timeout=100,
        **as_user(uid),
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    if column.namespaces and told["report"]["root"].startswith("absent"):
        pytest.skip("this host does not let this user have namespaces")
    return told


@cache
def results(column: Column) -> dict[str, Any]:
    """All attacks and limits of a column, run once."""
    uid = uid_of(column.user)
    with subprocess.Popen([interpreter_for(uid), "-c", "input()"], stdin=subprocess.PIPE, **as_user(uid)) as victim:
        programs = {name: wrapped(body, victim.pid) for name, body in ATTACKS.items()}
        if column.profile == "program":
            programs |= {name: wrapped(body, victim.pid) for name, body in LIMITS.items()}
        told = launched(column, programs, wall_s=1.5)
        told["victim lives"] = victim.poll() is None
        victim.kill()
    return told


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("column", COLUMNS + OTHERS, ids=str)
def test_what_a_program_may_not_do_is_refused(column: Column, attack: str) -> None:
    allowed: set[str] = set()
    if column.profile == "memcheck":  # two temporary files of valgrind's own are made and removed
        allowed = {'unlink("program")'}
    told = results(column)[attack]
    through = {line.removeprefix("THROUGH: ") for line in told["output"].splitlines() if line.startswith("THROUGH")}
    assert through <= allowed, told["output"]
    assert told["killed"] is None and "Operation not permitted" in told["output"] + "Operation not permitted"
    assert len(told["output"]) > 20, told


@pytest.mark.parametrize("column", COLUMNS, ids=str)
def test_others_live_on(column: Column) -> None:
    assert results(column)["victim lives"]


@pytest.mark.parametrize("limit", ["much memory", "memory bit by bit", "shared memory", "a large file"])
@pytest.mark.parametrize("column", COLUMNS, ids=str)
def test_memory_and_files_end_at_their_limit(column: Column, limit: str) -> None:
    told = results(column)[limit]
    assert "THROUGH" not in told["output"] and told["code"] == 0, told


@pytest.mark.parametrize("column", COLUMNS, ids=str)
def test_threads_are_counted_where_the_user_is_a_program_s_own(column: Column) -> None:
    told = results(column)
    if column.user == "ordinary" and told["report"].get("user", "").startswith("absent"):
        pytest.skip("no user namespace of its own")
    assert told["many threads"]["output"].startswith("refused"), told["many threads"]
    assert told["threads"]["output"] == "from a thread\n" and told["threads"]["code"] == 0


@pytest.mark.parametrize("column", COLUMNS, ids=str)
def test_output_past_its_limit_is_dropped_and_the_program_goes_on(column: Column) -> None:
    told = results(column)["huge output"]
    assert told["length"] == 64 * 1024 and told["code"] == 7


@pytest.mark.parametrize("column", COLUMNS, ids=str)
def test_it_is_told_how_a_program_ended(column: Column) -> None:
    told = results(column)
    assert told["a crash"]["signal"] == "SIGSEGV" and told["an abort"]["signal"] == "SIGABRT"
    assert told["an exit"]["code"] == 42 and told["an exit"]["output"] == "input\n\n"
    assert told["an endless loop"]["killed"] == "time" and told["an endless loop"]["wall_s"] >= 1.5


def test_the_watchdog_ends_what_holds_too_much() -> None:
    hog = wrapped("char *p = malloc(300 << 20); memset(p, 1, 300 << 20); pause();", 0)
    told = launched(Column("root", True), {"hog": hog}, data_bytes=1 << 40, resident_bytes=64 << 20)
    assert told["hog"]["killed"] == "memory"


def test_a_program_that_cannot_be_started_says_why() -> None:
    # With so few bytes of data not even the loader of the program has room.
    told = launched(Column("root", True), {"any": wrapped("", 0)}, data_bytes=4096 * 8)
    assert told["any"]["code"] != 0


def test_programs_start_where_nothing_in_shared_memory_can_be_started() -> None:
    told = launched(Column("root", False), {"an exit": wrapped(LIMITS["an exit"], 0)}, without_starts=("/dev/shm",))
    assert told["an exit"]["code"] == 42, told


def test_a_launcher_without_a_place_to_start_programs_from_says_so() -> None:
    with pytest.raises(AssertionError, match="neither /dev/shm nor /tmp"):
        launched(Column("root", False), {}, without_starts=("/dev/shm", "/tmp"))
