"""Submissions that attack: the verdicts, the report of valgrind, other submissions, the host."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from judge.judge import Judge
from judge.submission import Report, Submission, Verdict
from tests.conftest import until

Judged = Callable[..., Report]

RECORD = """
#include <unistd.h>
struct record { unsigned long token; unsigned kind, number; unsigned long offset, time; };
static void forge(int fd, unsigned long token)
{
    for (unsigned n = 1; n <= 2; n++) {
        struct record r = {token, 2, n, 0, 0};
        write(fd, &r, sizeof r);
        r.kind = 3;
        write(fd, &r, sizeof r);
    }
    struct record done = {token, 6, 0, 0, 0};
    write(fd, &done, sizeof done);
}
"""
FORGERIES = {
    "by a constructor that is the first": """
__attribute__((constructor(1))) static void early(void)
{
    unsigned long token = 0;
    if (pread(3, &token, sizeof token, 0) != sizeof token) return;
    forge(4, token);
    _exit(0);
}
int f(void) { return 0; }
""",
    "by a function before all constructors": """
static void early(void)
{
    unsigned long token = 0;
    if (pread(3, &token, sizeof token, 0) != sizeof token) return;
    forge(4, token);
    _exit(0);
}
__attribute__((section(".preinit_array"), used)) static void (*first)(void) = early;
int f(void) { return 0; }
""",
    "by trying each word of its memory": """
static char mark[64];
int f(void)
{
    unsigned long *words = (unsigned long *)((unsigned long)mark & -4096UL);
    for (int n = 0; n < 512; n++)
        for (int fd = 3; words[n] && fd < 64; fd++)
            forge(fd, words[n]);
    _exit(0);
}
""",
    "without the token": "int f(void) { for (int fd = 3; fd < 64; fd++) forge(fd, 0); _exit(0); }",
}


@pytest.mark.parametrize("how", FORGERIES)
def test_a_verdict_is_not_forged(judged: Judged, how: str) -> None:
    report = judged(RECORD + FORGERIES[how], "assert(f() == 1);\nassert(f() == 2);", valgrind=False, per_test_s=2.0)
    assert Verdict.PASSED not in {test.verdict for test in report.tests}, report
    assert report.failed_tests == (1, 2)


def test_rubbish_in_the_report_costs_no_other_test_its_verdict(judged: Judged) -> None:
    code = '#include <unistd.h>\nint f(int n) { if (n == 2) for (int fd = 3; fd < 64; fd++) write(fd, "rubbish", 7); return n; }'
    report = judged(code, "assert(f(1) == 1); assert(f(2) == 2); assert(f(3) == 3);", valgrind=False)
    verdicts = [test.verdict for test in report.tests]
    assert verdicts[0] is verdicts[2] is Verdict.PASSED
    assert verdicts[1] is not Verdict.NOT_RUN


SPOILED_XML = {
    "ended": 'write(fd, "</valgrindoutput>\\n", 18);',
    "put into a comment": 'write(fd, "<!-- ", 5);',
    "closed": "close(fd);",
    "overwritten": "lseek(fd, 0, 0);",
    "with entities": 'write(fd, "<!DOCTYPE l [<!ENTITY a \\"aaaaaaaa\\">]>&a;", 40);',
}


@pytest.mark.parametrize("how", SPOILED_XML)
def test_a_leak_is_found_though_the_report_of_valgrind_is_spoiled(judged: Judged, how: str) -> None:
    code = f"""#include <stdlib.h>
#include <unistd.h>
int f(void) {{
    for (int fd = 3; fd < 2000; fd++) if (fd != 40) {{ {SPOILED_XML[how]} }}
    char *volatile p = malloc(10);
    p = 0;
    return p == 0;
}}"""
    report = judged(code, "assert(f());")
    assert ("Leak_DefinitelyLost", 5) in {(finding.kind, finding.line) for finding in report.memory}, report


def test_valgrinds_report_cannot_be_silenced_into_a_clean_one(judged: Judged) -> None:
    code = "#include <signal.h>\n#include <stdlib.h>\nint f(void) { char *p = malloc(4); p[4] = 1; return raise(SIGKILL); }"
    report = judged(code, "assert(f());")
    assert "InvalidWrite" in {finding.kind for finding in report.memory}


async def _beside_a_sleeper(judge: Judge, code: str, tests: str) -> Report:
    sleeper = (
        '#include <unistd.h>\nconst char secret[] = "the secret of another"; int f(void) { return sleep(1) == 0; }'
    )
    sleeping = asyncio.create_task(judge.judge(Submission(sleeper, "assert(f());", valgrind=False)))
    try:
        return await judge.judge(Submission(code, tests, valgrind=False))
    finally:
        assert (await sleeping).ran


def test_a_program_reads_nothing_of_another_submissions(runner: asyncio.Runner, judge: Judge) -> None:
    code = r"""
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static char own[300];
static int look(const char *path) { int fd = open(path, O_RDONLY); if (fd >= 0) close(fd); return fd >= 0; }
int f(void)
{
    char path[100];
    int read = 0;
    getcwd(own, sizeof own);
    int mine = atoi(strrchr(own, '/') + 1);
    for (int n = 0; n < 5000; n++) {
        if (n != mine && (sprintf(path, "../%d/submission", n), look(path))) read++;
        if (n != getpid() && (sprintf(path, "/proc/%d/mem", n), look(path))) read++;
        if (n != getpid() && (sprintf(path, "/proc/%d/environ", n), look(path))) read++;
    }
    return read;
}"""
    report = runner.run(
        _beside_a_sleeper(judge, code.replace("<fcntl.h>", "<fcntl.h>\n#include <stdlib.h>"), "assert(f() == 0);")
    )
    assert [test.verdict for test in report.tests] == [Verdict.PASSED], report


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "/etc/hostname", "/proc/self/environ", "/proc/1/environ", "/proc/self/maps", "/proc/mounts", "/root/.bashrc", "/dev/mem", "/dev/shm", "/proc/self/fd/0", "/dev/stdin"],
)  # fmt: skip
@pytest.mark.parametrize("how", ["include", "incbin", "macro"])
def test_the_compiler_reads_nothing_of_the_host(judged: Judged, path: str, how: str) -> None:
    code = {
        "include": f'#include "{path}"\n',
        "incbin": f'__asm__(".data\\n.incbin \\"{path}\\"\\n");\n',
        "macro": f'#define PATH "{path}"\n#include PATH\n',
    }[how]
    report = judged(code, "assert(1);", valgrind=False, timeout_s=10)
    assert report.built and not report.compiled
    assert not any(secret in repr(report) for secret in ("root:", "HOME=", "PATH=/", "/lib/x86"))


CRUEL = {
    "stops itself": "#include <signal.h>\nint f(void) { return raise(SIGSTOP); }",
    "never ends at exit": "#include <stdlib.h>\nstatic void g(void) { for (;;) ; } int f(void) { return atexit(g) == 0; }",
    "aborts at exit": "#include <stdlib.h>\n__attribute__((destructor)) static void g(void) { abort(); } int f(void) { return 1; }",
    "leaves a thread": "#include <pthread.h>\nstatic void *g(void *a) { for (;;) ; return a; } int f(void) { pthread_t t; return pthread_create(&t, 0, g, 0) == 0; }",
    "closes everything": "#include <unistd.h>\nint f(void) { for (int fd = 0; fd < 64; fd++) close(fd); return 1; }",
    "fills its descriptors": "#include <unistd.h>\nstatic char b[65536]; int f(void) { for (int fd = 0; fd < 3; fd++) for (int n = 0; n < 1000; n++) write(fd, b, sizeof b); return 1; }",
    "fills pipes": "#include <unistd.h>\n#include <fcntl.h>\nstatic char b[65536]; int f(void) { int p[2]; while (pipe(p) == 0) { fcntl(p[1], F_SETFL, O_NONBLOCK); write(p[1], b, sizeof b); } return 1; }",
    "makes a hole in a file": '#include <unistd.h>\nint f(void) { for (int fd = 0; fd < 5; fd++) { lseek(fd, 1L << 40, 0); write(fd, "x", 1); } return 1; }',
    "does not start": "__attribute__((constructor)) static void g(void) { for (;;) ; } int f(void) { return 1; }",
}


@pytest.mark.parametrize("what", CRUEL)
def test_a_cruel_program_leaves_nothing_and_the_next_one_is_judged(judge: Judge, judged: Judged, what: str) -> None:
    report = judged(CRUEL[what], "assert(1); assert(f()); assert(2);", valgrind=False, per_test_s=0.5, timeout_s=5)
    assert report.compiled and len(report.tests) == 3
    assert judge.launcher_pid is not None
    assert [
        child.name()
        for child in psutil.Process(judge.launcher_pid).children(recursive=True)
        if child.name() == "submission"
    ] == []
    assert judged("int f(void) { return 1; }", "assert(f());", valgrind=False).tests[0].verdict is Verdict.PASSED


def test_a_submission_that_is_cancelled_leaves_nothing(runner: asyncio.Runner, judge: Judge) -> None:
    async def cancelled() -> None:
        code = f"/* {os.urandom(8).hex()} */ int f(void) {{ for (;;) ; }}"
        judging = asyncio.create_task(judge.judge(Submission(code, "assert(f());", timeout_s=60, per_test_s=60)))
        while not _running(judge):
            await asyncio.sleep(0.01)
        judging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await judging
        while _running(judge):
            await asyncio.sleep(0.01)

    runner.run(asyncio.wait_for(cancelled(), 30))


def _running(judge: Judge) -> list[Any]:
    assert judge.launcher_pid is not None
    children = psutil.Process(judge.launcher_pid).children(recursive=True)
    return [child for child in children if child.name().startswith(("submission", "memcheck"))]


def test_many_at_once_are_all_judged_and_leave_nothing(runner: asyncio.Runner, judge: Judge) -> None:
    def submission(number: int) -> Submission:
        code = f"#include <stdlib.h>\nint f(void) {{ return {number}; }} void g(void) {{ abort(); }}"
        return Submission(
            code, f"assert(f() == {number}); g(); assert(f() == 0);", valgrind=number % 4 == 0, timeout_s=60
        )

    async def all_of_them() -> list[Report]:
        return await asyncio.gather(*(judge.judge(submission(number)) for number in range(1, 21)))

    before = len(os.listdir("/proc/self/fd"))
    for report in runner.run(all_of_them()):
        assert report.tests[0].verdict is Verdict.PASSED
        assert report.failed_tests == (2,)
    assert len(os.listdir("/proc/self/fd")) <= before + 1
    until(lambda: not list(Path("/dev/shm").glob("pyrunner-scratch-*/[0-9]*")))  # where it is not in a namespace
