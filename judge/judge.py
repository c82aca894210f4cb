"""One submission from its lists to its report. Everything foreign runs behind the wall of sandbox/launch.py.

names → harness → compiler → tests and memory check side by side
"""

import asyncio
import contextlib
import logging
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from judge import diagnostics, flags, harness, memcheck, names, runner, sanitizers, toolchain
from judge.compiler import Compilation, Compiler
from judge.errors import Draining, JudgeError
from judge.harness import Harness
from judge.launcher import SPENT, Launcher
from judge.memcheck import Memory
from judge.runner import Ran
from judge.submission import Diagnostic, NameRefusal, Report, Submission, TestReport, Verdict
from judge.toolchain import Toolchain
from sandbox.confine.jail import Plan
from sandbox.limits import MIB

log = logging.getLogger(__name__)

T = TypeVar("T")
_LARGE_CHARS = 20_000  # parsing more than this would keep the event loop from others
_OURS = re.compile(r"pyr_[0-9a-f]{16}_")
_MOST_KNOWN = 256
# Parsing holds the interpreter for longer than its own thread: more than this would make everybody wait.
_MOST_CHECKED_CHARS = 100_000  # of code that lists are held against
_MOST_TESTS_CHARS = 200_000
_UNCHECKED = NameRefusal("", None, "the code could not be held against the lists: make it shorter or simpler")
_TOO_LONG = NameRefusal("", None, f"with lists, the code may have at most {_MOST_CHECKED_CHARS:,} characters")
_NO_MAIN = "main() belongs to the tests: give this function another name"
_OPEN_END = "the code ends inside a function: a '}' is missing"


@dataclass(slots=True)
class _Clock:
    """The time that is left for all of a submission."""

    deadline: float

    @property
    def left_s(self) -> float:
        return self.deadline - time.monotonic()


@dataclass(frozen=True, slots=True)
class _Names:
    """What the lists say of a submission."""

    refused: tuple[NameRefusal, ...] = ()
    must_fail: bool = False  # gcc could not even preprocess it, so its names are not known


class Judge:
    """An async context manager that owns the launcher. Raises Unavailable from judge() where gcc or valgrind is not."""

    def __init__(self, plan: Plan | None = None, *, cache_bytes: int = 64 * MIB, output_bytes: int = MIB) -> None:
        self._plan = plan or Plan()
        self._cache_bytes = cache_bytes
        self._output_bytes = output_bytes
        self._key = secrets.token_bytes(32)
        self._known_names: dict[object, _Names] = {}
        self._starting = asyncio.Lock()
        self._tools: Toolchain | None = None
        self._compiler: Compiler
        self._launcher: Launcher | None = None
        self._running: set[asyncio.Task[Report]] = set()
        self._draining = False
        self.unavailable: str | None = None  # why no submission can be judged

    async def __aenter__(self) -> "Judge":
        self._preparing = asyncio.create_task(self._prepare(), name="judge")
        return self

    async def _prepare(self) -> None:
        """So that the first submission need not wait for it, and that it is known whether there can be one."""
        try:
            await self._ready()
        except JudgeError as error:
            log.warning("submissions cannot be judged: %s", error)

    async def __aexit__(self, *_: object) -> None:
        self._draining = True
        self._end_all()
        self._preparing.cancel()
        await asyncio.wait([self._preparing, *self._running])
        async with self._starting:
            if self._launcher is not None:
                await self._launcher.__aexit__()
                self._launcher = None

    @property
    def versions(self) -> dict[str, str]:
        """Of gcc and valgrind; empty before they were found."""
        if self._tools is None:
            return {}
        return {"gcc": self._tools.gcc_version, "valgrind": self._tools.valgrind_version}

    @property
    def launcher_pid(self) -> int | None:
        return self._launcher.pid if self._launcher else None

    def drain(self, seconds: float) -> None:
        """Take no new submissions; after `seconds`, end those that are left."""
        self._draining = True
        asyncio.get_running_loop().call_later(seconds, self._end_all)

    async def judge(self, submission: Submission) -> Report:
        """Compile, run, test and memory-check. Cancelling kills everything of it. Raises BadFlag or JudgeError."""
        flags.check(submission.flags)
        if self._draining:
            raise Draining
        judging = asyncio.create_task(self._judge(_readable(submission)), name="submission")
        self._running.add(judging)
        try:
            return await asyncio.shield(judging)
        except asyncio.CancelledError:
            if judging.cancelled():
                raise Draining from None
            judging.cancel()
            await asyncio.wait([judging])
            raise
        finally:
            self._running.discard(judging)

    def _end_all(self) -> None:
        for judging in self._running:
            judging.cancel()

    async def _judge(self, submission: Submission) -> Report:
        spent: list[float] = []
        SPENT.set(spent)  # in this task and those that it makes
        return replace(await self._reported(submission), cpu_s=sum(spent))

    async def _reported(self, submission: Submission) -> Report:
        clock = _Clock(time.monotonic() + submission.timeout_s)
        launcher, tools = await self._ready()
        found_names = await self._refused(launcher, submission, clock)
        if found_names.refused:
            return _refusal(found_names.refused)
        if (line := await _parsed(submission, lambda: names.defines_main(submission.code))) is not None:
            found = (Diagnostic(line, None, "error", None, _NO_MAIN),)
            return Report(built=True, formatted_response=((line, _NO_MAIN),), diagnostics=found)
        if len(submission.tests or "") > _MOST_TESTS_CHARS:
            return _untestable(f"the tests are too long: at most {_MOST_TESTS_CHARS:,} characters")
        unit = await _parsed(submission, lambda: harness.build(submission.code, submission.tests, self._key))
        if unit.trouble:
            return _untestable(unit.trouble)
        compiled = await self._compiler.compile(
            launcher, unit, submission.flags or flags.DEFAULT, max(0.01, clock.left_s)
        )
        if compiled.binary is None:
            return _uncompiled(submission, unit, compiled)
        if found_names.must_fail:
            return _refusal((_UNCHECKED,))
        ran, memory = await self._run(launcher, tools, compiled.binary, unit, submission, clock)
        return _report(submission, unit, compiled, ran, memory)

    async def _ready(self) -> tuple[Launcher, Toolchain]:
        async with self._starting:
            try:
                ready = await self._start()
            except JudgeError as error:
                self.unavailable = str(error)
                raise
            self.unavailable = None
            return ready

    async def _start(self) -> tuple[Launcher, Toolchain]:
        """What is not there yet."""
        if self._tools is None:
            # Programs are asked for their versions: some tens of milliseconds.
            self._tools = await asyncio.to_thread(toolchain.find)
            self._compiler = Compiler(self._tools, self._cache_bytes)
        if self._launcher is None or self._launcher.is_gone:
            if self._launcher is not None:
                log.error("the launcher of programs has ended: another one is started")
            launcher = await Launcher(self._plan, self._tools.profiles).__aenter__()
            try:
                await self._compiler.prepare(launcher)
            except BaseException:
                await launcher.__aexit__()
                raise
            self._launcher = launcher
        return self._launcher, self._tools

    async def _refused(self, launcher: Launcher, submission: Submission, clock: _Clock) -> "_Names":
        allowed, denied = submission.whitelisted, submission.blacklisted
        if not allowed and not denied:
            return _Names()
        if len(submission.code) > _MOST_CHECKED_CHARS:
            return _Names((_TOO_LONG,))
        key = submission.code, allowed, denied, submission.flags
        if (known := self._known_names.get(key)) is not None:
            return known
        found = _Names(await _parsed(submission, lambda: names.check(submission.code, allowed, denied)))
        if not found.refused:
            given = submission.flags or flags.DEFAULT
            symbols = await self._compiler.symbols(launcher, submission.code, given, max(0.01, clock.left_s))
            if not symbols.complete:
                return _Names((_UNCHECKED,))
            if symbols.preprocessed is None:
                found = _Names(must_fail=True)
            else:
                seen = symbols.preprocessed, symbols.undefined, symbols.defined
                found = _Names(await _parsed(submission, lambda: names.check(submission.code, allowed, denied, *seen)))
        if len(submission.code) < _LARGE_CHARS:
            self._known_names[key] = found
            if len(self._known_names) > _MOST_KNOWN:
                del self._known_names[next(iter(self._known_names))]
        return found

    async def _run(
        self,
        launcher: Launcher,
        tools: Toolchain,
        binary: bytes,
        unit: Harness,
        submission: Submission,
        clock: _Clock,
    ) -> tuple[Ran, Memory]:
        sanitized = flags.sanitizes(submission.flags)
        nothing: tuple[frozenset[int], frozenset[int]] = (frozenset(), frozenset())
        with_valgrind = submission.valgrind and not sanitized

        def check(skipped: tuple[frozenset[int], frozenset[int]]) -> "asyncio.Task[Memory]":
            return asyncio.create_task(memcheck.run(launcher, tools, binary, unit, submission, clock.deadline, skipped))

        checking = check(nothing) if with_valgrind else None
        try:
            ran = await runner.run_tests(
                launcher, binary, unit, submission, self._output_bytes, clock.deadline, sanitized=sanitized
            )
            if sanitized:
                return ran, sanitizers.read(ran.output, ran.sanitizer) if submission.valgrind else Memory((), "")
            if checking is None:
                return ran, Memory((), "")
            if ran.timed_out and not checking.done() and clock.left_s > 0:
                # Under valgrind it hangs in the same test: begin again without that.
                await _cancelled(checking)
                checking = check(ran.skipped)
            return ran, await checking
        finally:
            if checking is not None and not checking.done():
                await _cancelled(checking)


def _readable(submission: Submission) -> Submission:
    """The same in characters that UTF-8 has: JSON may hold lone surrogates."""
    return replace(
        submission,
        code=_clean(submission.code),
        tests=None if submission.tests is None else _clean(submission.tests),
        whitelisted=tuple(map(_clean, submission.whitelisted)),
        blacklisted=tuple(map(_clean, submission.blacklisted)),
    )


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


async def _parsed(submission: Submission, parse: Callable[[], T]) -> T:
    if len(submission.code) + len(submission.tests or "") < _LARGE_CHARS:
        return parse()
    return await asyncio.to_thread(parse)


async def _cancelled(task: "asyncio.Task[Memory]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, JudgeError):
        await task


def _refusal(refused: tuple[NameRefusal, ...]) -> Report:
    found = tuple(Diagnostic(name.line, None, "error", None, name.sentence) for name in refused)
    told = tuple((name.line or 0, name.sentence) for name in refused)
    return Report(built=False, formatted_response=told, diagnostics=found, detail=refused[0].sentence)


def _untestable(trouble: str) -> Report:
    found = (Diagnostic(None, None, "error", None, trouble, "tests"),)
    return Report(built=True, formatted_response=((0, trouble),), diagnostics=found)


def _own_words(submission: Submission, unit: Harness, found: tuple[Diagnostic, ...]) -> tuple[Diagnostic, ...]:
    """What gcc says of the lines around the code is said of the code."""
    last_line = max(1, len(submission.code.rstrip().split("\n")))
    told: list[Diagnostic] = []
    for diagnostic in found:
        if _OURS.search(diagnostic.message):
            if any(other.message == _OPEN_END for other in told) or diagnostic.severity != "error":
                continue
            diagnostic = Diagnostic(last_line, None, "error", None, _OPEN_END)
        elif "redefinition of 'main'" in diagnostic.message:
            diagnostic = replace(diagnostic, message=_NO_MAIN, option=None)
        told.append(diagnostic)
    if any(diagnostic.message == _OPEN_END for diagnostic in told):
        told = [diagnostic for diagnostic in told if diagnostic.place == "code" and diagnostic.line is not None]
    return tuple(told)


def _uncompiled(submission: Submission, unit: Harness, compiled: Compilation) -> Report:
    found = _own_words(submission, unit, compiled.diagnostics)
    return Report(
        built=True,
        compilation_s=0.0 if compiled.cached else compiled.seconds,
        formatted_response=diagnostics.formatted(found),
        diagnostics=found,
        tests=tuple(TestReport(n, test.source, Verdict.NOT_RUN) for n, test in enumerate(unit.tests, 1)),
        detail=compiled.stopped,
        cached=compiled.cached,
    )


def _report(submission: Submission, unit: Harness, compiled: Compilation, ran: Ran, memory: Memory) -> Report:
    found = _own_words(submission, unit, compiled.diagnostics)
    failed = tuple(
        test.number
        for test in ran.tests
        if test.verdict in (Verdict.FAILED, Verdict.CRASHED, Verdict.TIMEOUT)
        or (test.verdict is Verdict.NOT_RUN and test.detail)
    )
    return Report(
        built=True,
        compiled=True,
        ran=not ran.crashed and not ran.timed_out,
        output=ran.output,
        truncated=ran.truncated,
        compilation_s=0.0 if compiled.cached else compiled.seconds,
        run_s=ran.seconds,
        valgrind=memory.text,
        formatted_response=diagnostics.formatted(found),
        failed_tests=failed,
        tests=ran.tests,
        diagnostics=found,
        memory=memory.findings,
        detail=ran.detail,
        cached=compiled.cached,
    )
