"""From a submission to its report, and that nothing is left of it."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from judge.errors import BadFlag, Draining, JudgeError, LauncherLost, Unavailable
from judge.judge import Judge
from judge.submission import CODE_FILE, Report, Submission, Verdict
from sandbox.confine.jail import Plan
from tests.conftest import until

Judged = Callable[..., Report]
ADD = "#include <stdio.h>\nint add(int a, int b) {\n    return a + b;\n}\n"
FIVE = "assert(add(1, 2) == 3);\nassert(add(2, 2) == 5);\nint x = add(2, 3);\nassert(x == 5);\nassert(add(0, 0) == 1);\nassert(add(-1, 1) == 0);"
HANGS = "int f(int n) {\n    while (n == 3)\n        ;\n    return n;\n}"


def verdicts(report: Report) -> str:
    """A letter for each test: p f c t n."""
    return "".join(test.verdict.value[0] for test in report.tests)


def programs_of(judge: Judge) -> list[psutil.Process]:
    """What the launcher runs: all but its own two processes."""
    assert judge.launcher_pid is not None
    launcher = psutil.Process(judge.launcher_pid)
    return launcher.children(recursive=True)[1:]


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def test_each_test_has_its_verdict(judged: Judged) -> None:
    report = judged(ADD, FIVE)
    assert report.built and report.compiled and report.ran
    assert verdicts(report) == "pfpfp"
    assert report.failed_tests == (2, 4)
    assert report.output.splitlines() == [
        "ASSERT PASSED!",
        "ASSERT FAILED: add(2, 2) == 5",
        "ASSERT PASSED!",
        "ASSERT FAILED: add(0, 0) == 1",
        "ASSERT PASSED!",
    ]
    assert report.tests[1].source == "assert(add(2, 2) == 5)"
    assert report.compilation_s > 0 and report.run_s > 0
    assert report.memory == () and "No memory errors" in report.valgrind


def test_the_same_again_is_not_compiled_again(judged: Judged) -> None:
    code = ADD + "/* once */"
    assert not judged(code, FIVE, valgrind=False).cached
    again = judged(code, FIVE, valgrind=False)
    assert again.cached and again.compilation_s == 0 and verdicts(again) == "pfpfp"
    assert not judged(code, FIVE, valgrind=False, flags=("-O2",)).cached
    assert not judged(code + " ", FIVE, valgrind=False).cached


def test_errors_are_cached_too(judged: Judged) -> None:
    assert not judged("int f(void) { return y; }").cached
    again = judged("int f(void) { return y; }")
    assert again.cached and not again.compiled and again.formatted_response[0][0] == 1


@pytest.mark.parametrize(
    ("body", "verdict", "signal_name"),
    [
        ("return *(volatile int *)0;", Verdict.CRASHED, "SIGSEGV"),
        ("abort();", Verdict.CRASHED, "SIGABRT"),
        ("volatile int zero = 0; return 7 / zero;", Verdict.CRASHED, "SIGFPE"),
        ("for (;;) ;", Verdict.TIMEOUT, None),
        ("exit(0);", Verdict.FAILED, None),
        ("exit(3);", Verdict.FAILED, None),
        ("raise(SIGKILL);", Verdict.CRASHED, "SIGKILL"),
    ],
)
def test_what_ends_the_program_in_a_test_costs_only_that_test(
    judged: Judged, body: str, verdict: Verdict, signal_name: str | None
) -> None:
    code = f"#include <stdlib.h>\n#include <signal.h>\nint f(int n) {{\n    if (n == 3) {{ {body} }}\n    return n;\n}}"
    tests = "".join(f"assert(f({n}) == {n if n != 4 else 5});\n" for n in range(1, 6))
    report = judged(code, tests, per_test_s=0.4, valgrind=False)
    assert verdicts(report) == f"pp{verdict.value[0]}fp"
    assert report.failed_tests == (3, 4)
    assert report.tests[2].signal == signal_name and report.tests[2].detail
    assert report.ran is (verdict is Verdict.FAILED)


def test_statements_between_tests_are_shared(judged: Judged) -> None:
    code = "static int total;\nint put(int n) { return total += n; }\nint get(void) { return total; }"
    tests = """
        put(1);
        assert(get() == 1);
        for (int i = 0; i < 3; i++) put(i);
        assert(get() == 4);
        int kept = get();
        if (kept == 4) { put(10); }
        assert(get() == 14 && kept == 4);
        { int inner = get(); assert(inner == 14); }
    """
    assert verdicts(judged(code, tests, valgrind=False)) == "pppp"


def test_a_crash_between_tests_is_told_at_the_next_one(judged: Judged) -> None:
    code = "int f(int n) { return n == 2 ? *(volatile int *)0 : n; }"
    tests = "assert(f(1) == 1);\nf(2);\nassert(f(3) == 3);\nassert(f(4) == 4);"
    report = judged(code, tests, valgrind=False)
    assert verdicts(report) == "pcp"
    assert report.tests[1].detail == "SIGSEGV, before the test began"


def test_what_a_crashed_declaration_makes_unreachable_is_told(judged: Judged) -> None:
    code = "int f(int n) { return n == 2 ? *(volatile int *)0 : n; }"
    report = judged(code, "assert(f(1) == 1);\nint x = f(2);\nassert(x == 2);\nassert(f(4) == 4);", valgrind=False)
    assert verdicts(report) == "pcn"
    assert report.failed_tests == (2, 3)
    assert "not reached" in (report.tests[2].detail or "")


def test_an_assert_in_a_loop_is_one_test(judged: Judged) -> None:
    code = "int f(int n) { return n != 2; }"
    report = judged(code, "for (int i = 0; i < 5; i++)\n    assert(f(i));\nassert(f(9));", valgrind=False)
    assert verdicts(report) == "fp"
    assert report.output.count("ASSERT PASSED!") == 5 and report.output.count("ASSERT FAILED: f(i)") == 1


def test_a_test_that_is_never_reached_is_not_run(judged: Judged) -> None:
    report = judged("int f(void) { return 1; }", "if (0) { assert(f()); }\nassert(f());", valgrind=False)
    assert verdicts(report) == "np" and report.failed_tests == () and report.ran


def test_time_for_all_ends_everything_and_the_answer_is_whole(judged: Judged) -> None:
    report = judged(HANGS, "assert(f(1) == 1);\nassert(f(3) == 3);\nassert(f(4) == 4);", timeout_s=1, per_test_s=30)
    assert report.built and report.compiled and not report.ran
    assert verdicts(report) == "ptn"
    assert report.failed_tests == (2, 3)
    assert "Valgrind was stopped" in report.valgrind


def test_valgrind_sees_the_tests_after_a_hang(judged: Judged) -> None:
    code = HANGS + "\n#include <stdlib.h>\nvoid *leak(int n) {\n    return malloc(n);\n}"
    report = judged(code, "assert(f(3) == 3);\nassert(leak(7) != 0);", per_test_s=0.4)
    assert verdicts(report) == "tp"
    assert [(found.bytes, found.line) for found in report.memory] == [(7, 8)]


def test_each_test_has_its_own_output(judged: Judged) -> None:
    code = '#include <stdio.h>\nint say(const char *what) { return printf("%s", what); }'
    report = judged(
        code, 'assert(say("one\\n"));\nsay("between ");\nassert(say("two"));\nassert(!say("three\\n"));', valgrind=False
    )
    assert [test.output for test in report.tests] == ["one\n", "between two", "three\n"]
    assert report.output == 'one\nASSERT PASSED!\nbetween two\nASSERT PASSED!\nthree\nASSERT FAILED: !say("three\\n")\n'


def test_output_before_a_crash_is_kept(judged: Judged) -> None:
    code = '#include <stdio.h>\nint f(void) { printf("no end of line"); return *(volatile int *)0; }'
    report = judged(code, "assert(f());", valgrind=False)
    assert report.tests[0].output == "no end of line"


def test_output_is_cut_and_does_not_look_like_a_crash(judged: Judged) -> None:
    code = '#include <stdio.h>\nint f(void) { for (int i = 0; i < 300000; i++) puts("xxxxxxxxx"); return 1; }'
    report = judged(code, "assert(f());\nassert(1);", valgrind=False)
    assert report.truncated and report.ran and verdicts(report) == "pp"
    assert len(report.output) < 1_100_000


def test_input_is_read(judged: Judged) -> None:
    code = '#include <stdio.h>\nint next(void) { int n = -1; scanf("%d", &n); return n; }'
    report = judged(code, "assert(next() == 4);\nassert(next() == 2);\nassert(next() == -1);", stdin="4 2\n")
    assert verdicts(report) == "ppp"


def test_the_maths_library_is_linked(judged: Judged) -> None:
    code = "#include <math.h>\ndouble f(double x) { return sin(x) * sin(x) + cos(x) * cos(x); }"
    assert verdicts(judged(code, "double x = 0.3;\nassert(fabs(f(x) - 1) < 1e-9);", valgrind=False)) == "p"


def test_without_tests_it_is_compiled_and_checked_with_an_empty_main(judged: Judged) -> None:
    report = judged("int f(void) { return 1; }")
    assert report.built and report.compiled and report.ran
    assert report.tests == () and report.output == "" and "No memory errors" in report.valgrind


def test_a_main_of_the_code_is_told_with_its_line(judged: Judged) -> None:
    report = judged("int f(void) { return 1; }\nint main(void) {\n    return f();\n}", "assert(f());")
    assert report.built and not report.compiled
    assert [line for line, _ in report.formatted_response] == [2]


@pytest.mark.parametrize(
    "hidden", ["#define begin main\nint begin(void) { return 0; }", "int ma\\\nin(void) { return 0; }"]
)
def test_a_hidden_main_does_not_replace_ours(judged: Judged, hidden: str) -> None:
    report = judged(f"int f(void) {{ return 0; }}\n{hidden}", "assert(f());")
    assert not report.compiled and report.formatted_response


@pytest.mark.parametrize(
    "trick",
    [
        "#define assert(x) ((void)0)",
        "#define if(x) if (1)",
        "#define main other",
        "#define return",
        "#define int long long",
        "#define void int",
        "#define NDEBUG",
        "#define strcmp(a, b) 0",
        "#undef assert",
        "#define sizeof(x) 0\n#define while(x) if (0)",
        "#define begin(n) 0\n#define end(n, p) 0",
        "#pragma GCC poison assert",
    ],
)
def test_macros_of_the_code_do_not_decide_its_tests(judged: Judged, trick: str) -> None:
    code = f'const char *f(void) {{ return "no"; }}\nint one(void) {{ return 1; }}\n{trick}\n'
    tests = '#include <string.h>\nassert(strcmp(f(), "yes") == 0);\nassert(one() == 2);'
    report = judged(code, tests, valgrind=False)
    assert "passed" not in [test.verdict.value for test in report.tests]
    assert not report.compiled or report.failed_tests == (1, 2)


@pytest.mark.parametrize(
    "forgery",
    [
        "for (int fd = 3; fd < 64; fd++) write(fd, junk, sizeof junk);",
        "for (int fd = 3; fd < 64; fd++) close(fd);",
        "for (int i = 0; i < 100000; i++) for (int fd = 40; fd < 42; fd++) write(fd, junk, sizeof junk);",
    ],
)
def test_a_report_written_by_the_code_is_not_believed(judged: Judged, forgery: str) -> None:
    code = f"#include <unistd.h>\nstatic char junk[320];\nint f(void) {{ {forgery} return 0; }}"
    report = judged(code, "assert(f());\nassert(f());", valgrind=False, per_test_s=1)
    assert "passed" not in [test.verdict.value for test in report.tests]


def test_code_that_ends_before_main_passes_nothing(judged: Judged) -> None:
    code = "#include <unistd.h>\n__attribute__((constructor(101))) static void first(void) { _exit(0); }\nint f(void) { return 1; }"
    report = judged(code, "assert(f());\nassert(f());", valgrind=False)
    assert "passed" not in [test.verdict.value for test in report.tests]
    assert report.failed_tests == (1, 2)


def test_findings_name_the_student_s_lines_and_no_path_of_this_host(judged: Judged) -> None:
    code = "#include <stdlib.h>\n\nint f(int n) {\n    char *p = malloc(n);\n    p[n] = 1;\n    return 0;\n}\n"
    report = judged(code, "assert(f(8) != 1);")
    assert {found.kind for found in report.memory} == {"InvalidWrite", "Leak_DefinitelyLost"}
    write = next(found for found in report.memory if found.kind == "InvalidWrite")
    assert write.line == 5 and write.stack[0].function == "f"
    assert "0x" not in report.valgrind and "/" not in report.valgrind and "==" not in report.valgrind
    assert "f (line 5)" in report.valgrind and "pyr_" not in report.valgrind


def test_sanitizers_take_valgrind_s_place(judged: Judged) -> None:
    code = (
        "#include <stdlib.h>\nint f(int n) {\n    char *p = malloc(n);\n    p[n] = 1;\n    free(p);\n    return 1;\n}"
    )
    report = judged(code, "assert(f(8));\nassert(1);", flags=("-fsanitize=address,undefined",))
    assert verdicts(report) == "cp" and not report.ran
    assert report.memory[0].kind == "heap-buffer-overflow" and report.memory[0].line == 4
    assert "0x" not in report.valgrind and "/" not in report.output


def test_a_leak_that_a_sanitizer_tells_is_no_crash(judged: Judged) -> None:
    code = "#include <stdlib.h>\nvoid *f(int n) {\n    return malloc(n);\n}"
    report = judged(code, "assert(f(8));", flags=("-fsanitize=address",))
    assert report.ran and [(found.bytes, found.line) for found in report.memory] == [(8, 3)]


def test_memory_has_a_limit(judged: Judged) -> None:
    code = "#include <stdlib.h>\n#include <string.h>\nint f(int mib) { void *p = malloc((size_t)mib << 20); if (p) memset(p, 1, (size_t)mib << 20); return p != 0; }"
    report = judged(code, "assert(f(8));\nassert(!f(100));", memory_bytes=64 << 20, valgrind=False)
    assert verdicts(report) == "pp"
    report = judged(code, "assert(f(8));\nassert(f(400));", memory_bytes=64 << 20, flags=("-fsanitize=address",))
    assert verdicts(report) == "pc" and "memory" in (report.tests[1].detail or "")


def test_threads_are_allowed(judged: Judged) -> None:
    code = "#include <pthread.h>\nstatic void *g(void *p) { *(int *)p = 7; return 0; }\nint f(void) { pthread_t t; int n = 0; pthread_create(&t, 0, g, &n); pthread_join(t, 0); return n; }"
    assert verdicts(judged(code, "assert(f() == 7);")) == "p"


@pytest.mark.parametrize("flag", ["-Wl,-rpath,/", "-o", "-include/etc/passwd", "-I/", "@/etc/passwd", "-fplugin=x", "-Wa,x", "-std=c++17", "-x", "-B/", "-specs=x", "-wrapper", "-DX", "-save-temps", "-Wp,-M", "-W\n", "-O9"])  # fmt: skip
def test_flags_that_reach_further_are_refused(judged: Judged, flag: str) -> None:
    with pytest.raises(BadFlag):
        judged("int x;", flags=(flag,))


@pytest.mark.parametrize("flag", ["-std=c99", "-std=gnu17", "-ansi", "-Wall", "-Wextra", "-Werror", "-Werror=unused-variable", "-Wno-unused", "-pedantic-errors", "-O2", "-Os", "-fsanitize=address,undefined", "-g", "-w"])  # fmt: skip
def test_flags_for_teaching_are_taken(judged: Judged, flag: str) -> None:
    report = judged("int f(void) { return 1; }\n", "assert(f());", flags=(flag,), valgrind=False)
    assert report.compiled and verdicts(report) == "p", report


def test_warnings_as_errors_look_at_the_code_only(judged: Judged) -> None:
    strict = ("-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-O2")
    assert judged("int f(void) { return 1; }\n", "assert(f());", flags=strict, valgrind=False).compiled
    report = judged("int f(void) {\n    int unused;\n    return 1;\n}\n", "assert(f());", flags=strict, valgrind=False)
    assert not report.compiled and report.formatted_response[0][0] == 2


@pytest.mark.parametrize(
    "code",
    [
        "int f(void) {\n    return 1;\n",
        "int f(void) { if (1) { return 1; }\n",
        "int f(void) {\n    return 1;\n}\n/* never closed",
    ],
)
def test_an_open_end_is_told_at_the_code(judged: Judged, code: str) -> None:
    report = judged(code, "assert(f());")
    assert not report.compiled and report.formatted_response
    assert all(1 <= line <= code.count("\n") + 1 and "pyr_" not in said for line, said in report.formatted_response)


def test_cancelling_leaves_no_process(runner: asyncio.Runner, judge: Judge) -> None:
    async def cancel_midway() -> None:
        task = asyncio.create_task(judge.judge(Submission("int f(void) { for (;;) ; }", "assert(f());")))
        while len(programs_of(judge)) < 2:  # the program and valgrind
            await asyncio.sleep(0.01)  # of other processes there is no event
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    runner.run(cancel_midway())
    until(lambda: not programs_of(judge))


def test_a_launcher_that_dies_takes_its_programs_along_and_is_replaced(runner: asyncio.Runner) -> None:
    async def kill_midway() -> None:
        async with Judge() as judge:
            task = asyncio.create_task(judge.judge(Submission("int f(void) { for (;;) ; }", "assert(f());")))
            while not judge.launcher_pid or len(programs_of(judge)) < 2:
                await asyncio.sleep(0.01)  # of other processes there is no event
            doomed = programs_of(judge)
            os.kill(judge.launcher_pid, signal.SIGKILL)
            with pytest.raises(LauncherLost):
                await task
            until(lambda: not any(map(is_alive, doomed)))
            report = await judge.judge(Submission("int f(void) { return 1; }", "assert(f());"))
            assert verdicts(report) == "p"

    runner.run(kill_midway())


def test_closing_ends_what_runs(runner: asyncio.Runner) -> None:
    async def close_midway() -> list[psutil.Process]:
        async with Judge() as judge:
            task = asyncio.create_task(judge.judge(Submission("int f(void) { for (;;) ; }", "assert(f());")))
            while not judge.launcher_pid or len(programs_of(judge)) < 2:
                await asyncio.sleep(0.01)  # of other processes there is no event
            doomed = [psutil.Process(judge.launcher_pid), *programs_of(judge)]
        with pytest.raises(Draining):
            await task
        return doomed

    doomed = runner.run(close_midway())
    until(lambda: not any(map(is_alive, doomed)))


def test_nothing_is_left_of_many_at_once(runner: asyncio.Runner, judge: Judge) -> None:
    before = len(os.listdir("/proc/self/fd"))

    async def many() -> list[Report]:
        codes = [f"int f(void) {{ return {n}; }}" for n in range(12)]
        return await asyncio.gather(
            *(judge.judge(Submission(code, "assert(f() >= 0);", valgrind=n % 4 == 0)) for n, code in enumerate(codes))
        )

    assert [verdicts(report) for report in runner.run(many())] == ["p"] * 12
    until(lambda: not programs_of(judge))
    assert len(os.listdir("/proc/self/fd")) == before
    assert judge.launcher_pid is not None
    first = psutil.Process(judge.launcher_pid).children()[0]
    until(lambda: len(list(Path(f"/proc/{first.pid}/root/tmp").iterdir())) <= 1)  # one is kept for the next


def test_without_gcc_it_says_what_to_install(runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    async def ask() -> None:
        async with Judge() as judge:
            with pytest.raises(Unavailable, match="gcc is not installed"):
                await judge.judge(Submission("int x;"))
            assert judge.unavailable and judge.versions == {}

    runner.run(ask())


def test_a_required_step_that_is_missing_is_named(runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(steps=("root", "landlock"), required=frozenset({"root"}))  # root needs the step namespaces

    async def ask() -> None:
        async with Judge(plan) as judge:
            with pytest.raises(JudgeError, match="root: it needs the step namespaces"):
                await judge.judge(Submission("int x;"))

    runner.run(ask())


def test_the_name_of_the_code_is_no_file(judged: Judged) -> None:
    report = judged(f'#include "{CODE_FILE}"\nint f(void) {{ return 1; }}', "assert(f());")
    assert not report.compiled and report.formatted_response[0][0] == 1


def test_without_namespaces_what_a_dead_launcher_left_is_swept_by_the_next(runner: asyncio.Runner) -> None:
    plan = Plan(tuple(step for step in Plan().steps if step not in ("namespaces", "root")))
    submission = Submission("int f(void) { return 1; }", "assert(f());", valgrind=False)

    def folders() -> set[str]:
        places = (Path("/dev/shm"), Path("/tmp"))  # the second one where nothing can be started from the first
        found = [path for place in places for path in place.glob("pyrunner-scratch-*")]
        return {path.name for path in found if path.stat().st_uid == os.geteuid()}

    async def leave_and_sweep() -> None:
        before = folders()
        async with Judge(plan) as judge:
            assert verdicts(await judge.judge(submission)) == "p"
            (own,) = folders() - before
            assert judge.launcher_pid is not None
            os.kill(judge.launcher_pid, signal.SIGKILL)
        assert own in folders(), "it was killed before it could remove it"
        async with Judge(plan) as judge:
            assert verdicts(await judge.judge(submission)) == "p"
            assert own not in folders()
        assert folders() == before

    runner.run(leave_and_sweep())
