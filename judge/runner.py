"""Running a compiled submission, and what its tests came to.

All tests run in one main. When one of them ends the program or passes its time, the program is run again without it,
so that each of the others still gets its verdict; a test keeps the first verdict that it got.
"""

import asyncio
import os
import re
import time
from dataclasses import dataclass, field
from typing import Any

from judge.files import memory_file, read_back
from judge.harness import RECORD, Harness, Kind
from judge.launcher import Answer, Exit, Folder, Launcher
from judge.submission import Submission, TestReport, Verdict
from sandbox.confine.cell import Launch
from sandbox.limits import MIB

_MOST_REPORT_BYTES = 16 * MIB
_SANITIZER_STATUS = 86  # how a sanitizer ends the program; told it by its options
_SHADOW_BYTES = 192 * MIB  # what a sanitizer may hold besides the program's own
_SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": f"exitcode={_SANITIZER_STATUS}:allocator_may_return_null=1:disable_coredump=0:handle_abort=0",
    "UBSAN_OPTIONS": "print_stacktrace=0",
    "LSAN_OPTIONS": f"exitcode={_SANITIZER_STATUS}",
}


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the report, checked."""

    kind: Kind
    number: int
    offset: int
    monotonic_s: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of the program."""

    exit: Exit
    records: tuple[Record, ...]
    output: bytes
    truncated: bool
    stopped: str | None  # why we ended it: `test` or `all`, whose time it passed; or `report`, which it spoilt
    ended_s: float


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of all tests."""

    tests: tuple[TestReport, ...]
    output: str
    truncated: bool
    seconds: float
    crashed: bool
    timed_out: bool
    detail: str | None
    skipped: tuple[frozenset[int], frozenset[int]]  # tests and steps that ended the program
    sanitizer: str  # its report, if one ended the program


@dataclass(slots=True)
class _Case:
    """A test on its way to its verdict."""

    verdict: Verdict = Verdict.NOT_RUN
    signal: str | None = None
    seconds: float | None = None
    output: list[str] = field(default_factory=list)
    detail: str | None = None


async def run_once(
    launcher: Launcher,
    folder: Folder,
    harness: Harness,
    submission: Submission,
    output_bytes: int,
    deadline: float,
    skipped: tuple[frozenset[int], frozenset[int]],
    *,
    sanitized: bool,
) -> Attempt:
    """One run, until it ends or passes a limit. `deadline`: on the monotonic clock."""
    loop = asyncio.get_running_loop()
    token = int.from_bytes(os.urandom(8), "little")
    launch = Launch(
        "sanitized" if sanitized else "program",
        ("submission",),
        "submission",
        folder.name,
        {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/"} | (_SANITIZER_OPTIONS if sanitized else {}),
        wall_s=max(0.01, deadline - time.monotonic()) + 0.5,  # the second line: we are the first
        cpu_s=int(submission.timeout_s) + 2,
        data_bytes=1 << 50 if sanitized else submission.memory_bytes,
        file_bytes=output_bytes + 1,  # one more tells of missing ones
        address_space=not sanitized,
        resident_bytes=submission.memory_bytes + (_SHADOW_BYTES if sanitized else 16 * MIB),
    )
    report = _Report(token, harness)
    with (
        memory_file(submission.stdin.encode("utf-8", "replace")) as stdin,
        memory_file(harness.config(token, *skipped)) as config,
        memory_file() as tape,
        report,
    ):
        async with launcher.start(launch, (stdin, tape, tape, config, report.its_end)) as running:
            report.close_its_end()
            loop.add_reader(report.fd, report.read)
            try:
                stopped = await _until_end_or_limit(running.ended, report, submission.per_test_s, deadline)
                if stopped:
                    running.kill()
                exit = await running.exit()
            finally:
                loop.remove_reader(report.fd)
            report.read()
            if report.is_spoilt or report.is_flooded:
                stopped = "report"
        ended_s = time.monotonic()
        output = read_back(tape, output_bytes + 1)
    return Attempt(exit, tuple(report.records), output[:output_bytes], len(output) > output_bytes, stopped, ended_s)


async def _until_end_or_limit(
    ended: asyncio.Future[Answer], report: "_Report", per_test_s: float, deadline: float
) -> str | None:
    while not ended.done():
        now = time.monotonic()
        limit = min(deadline, report.heard_s + per_test_s) if report.has_tests else deadline
        if now >= limit:
            return "all" if now >= deadline else "test"
        if report.is_flooded or report.is_spoilt:
            return "report"
        report.news.clear()
        news = asyncio.ensure_future(report.news.wait())
        waits: list[asyncio.Future[Any]] = [ended, news]
        await asyncio.wait(waits, timeout=limit - now, return_when=asyncio.FIRST_COMPLETED)
        news.cancel()
    return None


class _Report:
    """The reading end of what the harness tells. Hostile code may write into it, so each record is checked."""

    def __init__(self, token: int, harness: Harness) -> None:
        self._token = token
        self._steps = harness.steps
        self._tests = len(harness.tests)
        self._bytes = 0
        self._begun: set[int] = set()
        self.is_spoilt = False  # something else than the harness has written into it
        self.records: list[Record] = []
        self.news = asyncio.Event()
        self.heard_s = time.monotonic()

    def __enter__(self) -> "_Report":
        self.fd, self.its_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.fd, False)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
        self.close_its_end()

    def close_its_end(self) -> None:
        if self.its_end >= 0:
            os.close(self.its_end)
            self.its_end = -1

    @property
    def has_tests(self) -> bool:
        return self._tests > 0

    @property
    def is_flooded(self) -> bool:
        return self._bytes > _MOST_REPORT_BYTES

    def read(self) -> None:
        while not self.is_flooded:
            try:
                data = os.read(self.fd, 65536)
            except BlockingIOError:
                return
            if not data:
                asyncio.get_running_loop().remove_reader(self.fd)
                return
            self._bytes += len(data)
            whole = len(data) - len(data) % RECORD.size
            for fields in RECORD.iter_unpack(data[:whole]):
                self._take(*fields)
            self.is_spoilt |= whole < len(data)  # the harness writes whole ones, and so they come
            if len(data) < 65536:
                break
        if self.is_flooded:
            asyncio.get_running_loop().remove_reader(self.fd)
        self.news.set()

    def _take(self, token: int, kind: int, number: int, offset: int, nanoseconds: int) -> None:
        self.is_spoilt |= token != self._token or not self._is_due(kind, number)
        if self.is_spoilt:
            return
        now = time.monotonic()
        self.heard_s = now
        # Both read the same clock: what it tells is more exact than when we hear it, but may be a lie.
        told_s = nanoseconds / 1e9
        last = self.records[-1].monotonic_s if self.records else 0.0
        if kind == Kind.BEGIN:
            self._begun.add(number)
        self.records.append(Record(Kind(kind), number, offset, min(max(told_s, last), now)))

    def _is_due(self, kind: int, number: int) -> bool:
        if kind in (Kind.PASSED, Kind.FAILED):
            return number in self._begun
        if kind in (Kind.BEGIN, Kind.STEP):
            return 0 < number <= (self._tests if kind == Kind.BEGIN else self._steps)
        return kind in (Kind.STARTED, Kind.DONE) and number == 0


async def run_tests(
    launcher: Launcher,
    binary: bytes,
    harness: Harness,
    submission: Submission,
    output_bytes: int,
    deadline: float,
    *,
    sanitized: bool,
) -> Ran:
    """Run until every test that can be reached has its verdict, or the time is over. Cancelling kills it all."""
    tally = _Tally(harness, submission)
    async with launcher.folder() as folder:
        folder.write("submission", binary, 0o555)
        while True:
            attempt = await run_once(
                launcher, folder, harness, submission, output_bytes, deadline, tally.skipped, sanitized=sanitized
            )
            if not tally.count(attempt):
                return tally.result()


class _Tally:
    """What is known of the tests after each run."""

    def __init__(self, harness: Harness, submission: Submission) -> None:
        self._harness = harness
        self._submission = submission
        self._cases = [_Case() for _ in harness.tests]
        self._seen_steps: set[int] = set()
        self._skip_tests: set[int] = set()
        self._skip_steps: set[int] = set()
        self._output: list[str] = []
        self._started = False
        self._truncated = self._crashed = self._timed_out = False
        self._seconds = 0.0
        self._details: list[str] = []
        self._sanitizer: list[str] = []

    @property
    def skipped(self) -> tuple[frozenset[int], frozenset[int]]:
        return frozenset(self._skip_tests), frozenset(self._skip_steps)

    def result(self) -> Ran:
        tests = tuple(
            TestReport(number, test.source, case.verdict, case.signal, case.seconds, "".join(case.output), case.detail)
            for number, (test, case) in enumerate(zip(self._harness.tests, self._cases, strict=True), 1)
        )
        detail = "; ".join(self._details) or None
        return Ran(
            tests,
            "".join(self._output),
            self._truncated,
            self._seconds,
            self._crashed,
            self._timed_out,
            detail,
            self.skipped,
            "\n".join(self._sanitizer),
        )

    def count(self, attempt: Attempt) -> bool:
        """Take a run's records in. Returns whether another run, without what ended this one, can tell more."""
        self._seconds += attempt.exit.wall_s
        self._truncated |= attempt.truncated
        known = {number for number, case in enumerate(self._cases, 1) if case.verdict is not Verdict.NOT_RUN}
        place, test, step, last, done = 0, 0, 0, 0, False
        began_s = attempt.ended_s
        pending: list[str] = []
        for record in attempt.records:
            chunk = _text(attempt.output[place : max(place, record.offset)])
            place = max(place, record.offset)
            match record.kind:
                case Kind.BEGIN:
                    test, began_s = record.number, record.monotonic_s
                    step = self._harness.tests[test - 1].step or 0
                    if test not in known:
                        self._print("".join(pending) + chunk, test)
                        pending.clear()
                case Kind.PASSED | Kind.FAILED if record.number:
                    last = record.number
                    if last not in known:
                        self._print(chunk, last)
                        self._judge(last, record.kind, record.monotonic_s - began_s)
                    test = 0
                case Kind.STARTED if not self._started:
                    self._started = True
                    pending.append(chunk)  # functions that run before main have printed it
                case Kind.STEP:
                    if record.number not in self._seen_steps and chunk:
                        pending.append(chunk)
                    self._seen_steps.add(record.number)
                    test, step = 0, record.number
                case Kind.DONE:
                    done, test = True, 0
                    self._print("".join(pending) + chunk)
                    pending.clear()
                case _:
                    pass
        rest = "".join(pending) + self._without_sanitizer(_text(attempt.output[place:]))
        if done and attempt.stopped != "report":
            self._print(rest)
            self._end_after_tests(attempt)
            return False
        return self._blame(attempt, test, step, last, rest, attempt.ended_s - began_s)

    def _judge(self, number: int, kind: Kind, seconds: float) -> None:
        case = self._cases[number - 1]
        case.seconds = max(0.0, seconds) + (case.seconds or 0.0)
        if kind is Kind.FAILED:
            case.verdict = Verdict.FAILED
            self._say(f"ASSERT FAILED: {self._harness.tests[number - 1].condition}")
        else:
            if case.verdict is Verdict.NOT_RUN:
                case.verdict = Verdict.PASSED
            self._say("ASSERT PASSED!")

    def _blame(self, attempt: Attempt, test: int, step: int, last: int, rest: str, seconds: float) -> bool:
        """Find which test or step ended the program. Returns whether the program can run without it."""
        verdict, how = self._how(attempt)
        blamed = test or self._next_test(step, last)
        if blamed and self._cases[blamed - 1].verdict in (Verdict.NOT_RUN, Verdict.PASSED, Verdict.FAILED):
            case = self._cases[blamed - 1]
            if case.verdict is Verdict.PASSED or case.verdict is Verdict.NOT_RUN:
                case.verdict = verdict
            case.signal = attempt.exit.signal
            case.detail = how if test else f"{how}, before the test began"
            if test:
                case.seconds = max(0.0, seconds) + (case.seconds or 0.0)
            self._print(rest, blamed)
            self._say(f"ASSERT {verdict.upper()}: {self._harness.tests[blamed - 1].condition} ({how})")
            self._details.append(f"test {blamed}: {how}")
        else:
            self._print(rest)
            self._details.append(how)
        again = attempt.stopped != "all" and self._can_go_on(test, step)
        if not again:
            for case in self._cases:
                if case.verdict is Verdict.NOT_RUN:
                    case.detail = f"not reached: {how} before it"
        return again

    def _can_go_on(self, test: int, step: int) -> bool:
        """Skip what ended the program, from now on. Returns whether that can be skipped."""
        if test:
            again = test not in self._skip_tests
            self._skip_tests.add(test)
            return again
        if step and step not in self._harness.fixed_steps:
            again = step not in self._skip_steps
            self._skip_steps.add(step)
            return again
        return False

    def _how(self, attempt: Attempt) -> tuple[Verdict, str]:
        exit = attempt.exit
        if attempt.stopped == "report":
            self._crashed = True
            return Verdict.FAILED, "stopped: the code wrote into the report of its tests"
        if attempt.stopped or exit.killed == "time":
            self._timed_out = True
            if attempt.stopped == "test":
                return Verdict.TIMEOUT, f"stopped after {self._submission.per_test_s:g} s"
            return Verdict.TIMEOUT, f"stopped: {self._submission.timeout_s:g} s for all were over"
        if exit.killed == "memory":
            self._crashed = True
            return Verdict.CRASHED, f"killed: more than {self._submission.memory_bytes // MIB} MiB of memory"
        if exit.signal:
            self._crashed = True
            if exit.signal in ("SIGXCPU", "SIGKILL") and exit.cpu_s >= self._submission.timeout_s:
                self._timed_out = True
                return Verdict.TIMEOUT, "stopped: its processor time was over"
            return Verdict.CRASHED, exit.signal
        if exit.code == _SANITIZER_STATUS and (found := _SANITIZER_ERROR.search("\n".join(self._sanitizer[-1:]))):
            self._crashed = True
            return Verdict.CRASHED, f"{found[1]}: {found[2]}"
        return Verdict.FAILED, f"the program ended with exit status {exit.code} in the middle"

    def _end_after_tests(self, attempt: Attempt) -> None:
        """main is over: functions that run at exit are left."""
        exit = attempt.exit
        found_by_address = exit.code == _SANITIZER_STATUS and _SANITIZER_ERROR.search("".join(self._sanitizer[-1:]))
        if attempt.stopped or exit.killed or exit.signal or found_by_address:  # a leak, told at the end, is no crash
            self._details.append(f"after the tests: {self._how(attempt)[1]}")

    def _next_test(self, step: int, last: int) -> int:
        """The test to which what happens between tests belongs; 0 when there is none."""
        numbers = range(1, len(self._cases) + 1)
        inside = [n for n in numbers if step and self._harness.tests[n - 1].step == step]
        left = [n for n in inside if self._cases[n - 1].verdict is Verdict.NOT_RUN]
        if inside:
            return (left or inside[-1:])[0]
        return next((n for n in numbers if n > last and self._cases[n - 1].verdict is Verdict.NOT_RUN), 0)

    def _without_sanitizer(self, text: str) -> str:
        start = min((place for mark in _REPORT_MARKS if (place := text.find(mark)) >= 0), default=-1)
        if start < 0:
            return text
        self._sanitizer.append(text[start:])
        return text[:start]

    def _print(self, text: str, test: int = 0) -> None:
        if text:
            self._output.append(text)
            if test:
                self._cases[test - 1].output.append(text)

    def _say(self, line: str) -> None:
        if self._output and not self._output[-1].endswith("\n"):
            self._output.append("\n")
        self._output.append(line + "\n")


_SANITIZER_ERROR = re.compile(r"ERROR: (AddressSanitizer|UndefinedBehaviorSanitizer): ([\w-]+)")
_REPORT_MARKS = (
    "=================================================================\n==",
    "AddressSanitizer:DEADLYSIGNAL",
    "UndefinedBehaviorSanitizer:DEADLYSIGNAL",
)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
