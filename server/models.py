"""The bodies of requests and answers. The OpenAPI document is generated from them."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from judge.flags import MOST_FLAGS, PATTERN
from judge.submission import Report
from judge.submission import Verdict as TestVerdict
from sandbox.limits import LEAST_RUN_MIB, LEAST_SUBMISSION_MIB, MIB, SOURCE_CHARS
from sandbox.outcome import Error, Outcome, RunOutcome, Verdict


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


_WHOLE = BeforeValidator(_whole)  # 30.0 is an integer in JSON


class ExecuteRequest(BaseModel):
    """Code to run in a session."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    code: Annotated[str, Field(min_length=1, max_length=SOURCE_CHARS, description="Python code")]
    id: Annotated[
        str | None, Field(max_length=100, description="the session to run it in; a new one is opened without it")
    ] = None
    timeout: Annotated[
        float | None,
        Field(gt=0, allow_inf_nan=False, description="time limit in seconds, up to the server's maximum"),
    ] = None
    stdin: Annotated[str | None, Field(max_length=SOURCE_CHARS, description="what `input()` reads")] = None


class RunRequest(BaseModel):
    """A program to run once."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    code: Annotated[str, Field(min_length=1, max_length=SOURCE_CHARS, description="Python code")]
    timeout: Annotated[
        Annotated[int, Field(ge=1), _WHOLE] | None,
        Field(description="time limit in seconds, up to the server's maximum"),
    ] = None
    memory_limit: Annotated[
        Annotated[int, Field(ge=LEAST_RUN_MIB), _WHOLE] | None,
        Field(description="memory limit in MiB, up to the server's maximum"),
    ] = None


_Name = Annotated[str, Field(min_length=1, max_length=200)]
_Flag = Annotated[str, Field(max_length=100), WithJsonSchema({"type": "string", "maxLength": 100, "pattern": PATTERN})]


class SubmitRequest(BaseModel):
    """C code, with what it is to be held against."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    code: Annotated[str, Field(min_length=1, max_length=SOURCE_CHARS, description="C code without a main()")]
    tests: Annotated[
        str | None,
        Field(max_length=SOURCE_CHARS, description="C statements; each `assert(condition)` in them is a test"),
    ] = None
    timeout: Annotated[
        Annotated[int, Field(ge=1), _WHOLE] | None,
        Field(description="seconds for all of it, up to the server's maximum; 15 by default"),
    ] = None
    per_test_timeout: Annotated[
        Annotated[int, Field(ge=1), _WHOLE] | None,
        Field(alias="perTestTimeout", description="seconds for each test; 5 by default"),
    ] = None
    whitelisted: Annotated[
        list[_Name] | None,
        Field(
            max_length=1000,
            description="the only functions and headers (`stdio.h`) that the code may use, besides its own; an empty "
            "list is none",
        ),
    ] = None
    blacklisted: Annotated[
        list[_Name] | None, Field(max_length=1000, description="functions and headers that the code may not use")
    ] = None
    flags: Annotated[
        list[_Flag] | None,
        Field(
            max_length=MOST_FLAGS,
            description="for the compiler: standards, warnings, -O, -fsanitize=address,undefined; -Wall by default",
        ),
    ] = None
    stdin: Annotated[str | None, Field(max_length=SOURCE_CHARS, description="what the program reads")] = None
    memory_limit: Annotated[
        Annotated[int, Field(ge=LEAST_SUBMISSION_MIB), _WHOLE] | None,
        Field(description="MiB that the program may use, up to the server's maximum"),
    ] = None
    valgrind: Annotated[bool, Field(description="whether its memory is checked")] = True


class Partial(BaseModel):
    """What had been printed before the error."""

    stdout: str | None
    stderr: str | None


class ExecuteAnswer(BaseModel):
    """What the code did. All keys are always there."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "5f0c1c0e-8f4b-4b8e-9d53-0d7c6e6a3f52",
                    "stdout": "Hello\n",
                    "stderr": None,
                    "error": None,
                    "result": "42",
                    "outputs": [],
                    "truncated": False,
                    "execution_time": 0.000153,
                    "memory_used": 0.012,
                    "state": "kept",
                    "detail": None,
                    "partial": None,
                }
            ]
        }
    )

    id: str | None = Field(description="the session; null only when none was made")
    stdout: str | None = Field(description="null when empty")
    stderr: str | None = Field(description="null when empty; tracebacks are here")
    error: Error | None = Field(description="why the server ended or refused the execution")
    result: str | None = Field(
        description="repr of the last statement's value, when it is an expression that is not None"
    )
    outputs: list[dict[str, Any]] = Field(description="MIME bundles, in order")
    truncated: bool = Field(description="some output was dropped at the limit")
    execution_time: float = Field(description="wall seconds in the interpreter")
    memory_used: float = Field(description="peak MiB added to what the session held at birth")
    state: Literal["kept", "lost"] = Field(description="whether the namespace is still there")
    detail: str | None = Field(description="the error's cause in words")
    partial: Partial | None = Field(description="on an error, what had been printed before it")


class RunAnswer(BaseModel):
    """What the program did."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "success",
                    "stdout": "Hello, World!\n",
                    "stderr": "",
                    "execution_time": 0.000412,
                    "memory_used": 0.215,
                    "error": None,
                    "truncated": False,
                }
            ]
        }
    )

    status: Verdict
    stdout: str = Field(description="what was printed, also before a limit ended it")
    stderr: str = Field(description="tracebacks are here, and every violation of the policy with its line and column")
    execution_time: float = Field(description="wall seconds from the reading of the code to its end, without waiting")
    memory_used: float = Field(description="peak MiB over what a fresh worker holds")
    error: str | None = Field(description="null on success, else what ended it, in a sentence")
    truncated: bool = Field(description="some output was dropped at the limit")


class TestDetail(BaseModel):
    """One assert of the tests."""

    number: int = Field(description="from 1")
    source: str
    verdict: TestVerdict
    signal: str | None = Field(description="that ended the program in it")
    seconds: float | None = Field(description="null when it did not run")
    output: str = Field(description="what was printed since the test before it")
    detail: str | None = Field(description="in words, when it neither passed nor failed")


class DiagnosticDetail(BaseModel):
    """What the compiler or the linker says."""

    line: int | None
    column: int | None
    severity: Literal["error", "warning", "note"]
    option: str | None = Field(description="the flag that brought it up")
    message: str
    place: Literal["code", "tests", "linker"] = Field(description="whose line it is")


class FrameDetail(BaseModel):
    """One of the submission's own functions on the stack."""

    function: str
    line: int | None
    place: Literal["code", "tests"]


class MemoryDetail(BaseModel):
    """What valgrind or a sanitizer found."""

    kind: str
    message: str
    bytes: int | None = Field(description="lost, for a leak")
    line: int | None = Field(description="of the code: the innermost call that is in it")
    stack: list[FrameDetail] = Field(description="the innermost call first")


class SubmitAnswer(BaseModel):
    """What became of the submission. All keys are always there."""

    build: bool = Field(description="false when a list refuses a name in the code")
    compile: bool
    run: bool = Field(description="false when it crashed or passed a time limit, or did not run")
    output: str = Field(description="what was printed, with a line for each test")
    compilation_time: float = Field(description="seconds; 0 when nothing had to be compiled again, -1 when not reached")
    run_time: float = Field(description="seconds; -1 when not reached")
    valgrind: str = Field(description="what was found about its memory, in words")
    formatted_response: list[tuple[int, str]] = Field(description="line of the code and message of each error")
    failed_tests: list[int] = Field(description="numbers of tests that failed, crashed, hung or were not reached")
    tests_detail: list[TestDetail]
    diagnostics: list[DiagnosticDetail]
    memory: list[MemoryDetail]
    truncated: bool = Field(description="some output was dropped at the limit")
    detail: str | None = Field(description="why it did not run to its end, in words")
    cached: bool = Field(description="the same source had been compiled before")


class SessionInfo(BaseModel):
    """One session."""

    id: str
    state: Literal["starting", "idle", "busy", "closing", "dead"]
    age: float = Field(description="seconds since it was opened")
    idle: float = Field(description="seconds since its last execution ended; 0 while one runs")
    memory: float = Field(description="MiB held over what it held at birth")
    executions: int


class SessionList(BaseModel):
    sessions: list[SessionInfo]


class InterruptAnswer(BaseModel):
    """What an interrupt met."""

    interrupted: bool = Field(description="false when nothing ran")


class LookUpRequest(BaseModel):
    """A place in a text that somebody types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    text: Annotated[str, Field(max_length=SOURCE_CHARS, description="Python code, as far as it is typed")]
    cursor: Annotated[
        Annotated[int, Field(ge=0), _WHOLE] | None, Field(description="characters before the cursor; by default all")
    ] = None


class CompleteAnswer(BaseModel):
    """Names that may stand in the place of what was begun."""

    names: list[str] = Field(default=[], max_length=1000)
    start: int = Field(default=0, ge=0, description="the names replace the text from here to the cursor")


class InspectAnswer(BaseModel):
    """What the name at the cursor stands for."""

    name: str | None = Field(default=None, description="the dotted name, or null when nothing is there")
    signature: str | None = None
    doc: str | None = None


class LimitFigures(BaseModel):
    timeout_seconds: float
    max_timeout_seconds: float
    memory_limit_mb: int
    output_limit_kb: int
    idle_timeout_seconds: float


class Capabilities(BaseModel):
    max_timeout: int = Field(description="seconds that a run may ask for")
    max_memory_mb: int = Field(description="MiB that a run may ask for")
    libraries: list[str] = Field(description="scientific libraries that are installed and that a run may import")


class SessionFigures(BaseModel):
    open: int
    max: int
    warm: int = Field(description="workers ready for new sessions")


class TurnFigures(BaseModel):
    """A queue."""

    active: int = Field(description="how many have their turn")
    at_once: int = Field(description="how many may have it")
    waiting: int
    max_waiting: int


class RunFigures(TurnFigures):
    warm: dict[str, int] = Field(description="workers ready for runs, of each tier of libraries")


class SubmissionFigures(TurnFigures):
    versions: dict[str, str] = Field(description="of gcc and valgrind; empty until they are known")
    unavailable: str | None = Field(description="why submissions cannot be judged")


class Health(BaseModel):
    service: Literal["PyRunner"] = "PyRunner"
    status: Literal["healthy", "starting"]
    version: str
    role: Literal["all", "gateway", "node"]
    nodes: int = Field(description="machines that run code; 1, but for a gateway")
    capabilities: Capabilities
    sessions: SessionFigures
    limits: LimitFigures = Field(description="of sessions and executions")
    runs: RunFigures
    submissions: SubmissionFigures
    workers: dict[str, str] = Field(description="each tier of workers: `ready`, `loading` or `down`")
    sandbox: dict[str, str] = Field(description="each step of the wall around workers, and how it is there")


class Probe(BaseModel):
    """That it is so."""

    status: Literal["live", "ready"]


class Problem(BaseModel):
    """The body of every answer that is not 2xx."""

    error: str = Field(description="one sentence to act on")


class FieldProblem(BaseModel):
    loc: list[str | int]
    msg: str


class FieldProblems(Problem):
    detail: list[FieldProblem]


def answer(outcome: Outcome) -> ExecuteAnswer:
    """The body of an execution's answer."""
    printed, failed = outcome.printed, outcome.error is not None
    stdout, stderr = printed.stdout or None, printed.stderr or None
    return ExecuteAnswer(
        id=outcome.session_id or None,
        stdout=None if failed else stdout,
        stderr=None if failed else stderr,
        error=outcome.error,
        result=outcome.result,
        outputs=list(outcome.outputs),
        truncated=printed.truncated,
        execution_time=round(outcome.usage.wall_s, 6),
        memory_used=round(outcome.usage.memory_bytes / MIB, 3),
        state="kept" if outcome.kept else "lost",
        detail=outcome.detail,
        partial=Partial(stdout=stdout, stderr=stderr) if failed else None,
    )


def run_answer(outcome: RunOutcome) -> RunAnswer:
    """The body of a run's answer."""
    return RunAnswer(
        status=outcome.verdict,
        stdout=outcome.printed.stdout,
        stderr=outcome.printed.stderr,
        execution_time=round(outcome.usage.wall_s, 6),
        memory_used=round(outcome.usage.memory_bytes / MIB, 3),
        error=outcome.error,
        truncated=outcome.printed.truncated,
    )


def submit_answer(report: Report) -> SubmitAnswer:
    """The body of a submission's answer."""
    return SubmitAnswer(
        build=report.built,
        compile=report.compiled,
        run=report.ran,
        output=report.output,
        compilation_time=_seconds(report.compilation_s),
        run_time=_seconds(report.run_s),
        valgrind=report.valgrind,
        formatted_response=list(report.formatted_response),
        failed_tests=list(report.failed_tests),
        tests_detail=[
            TestDetail(**{**asdict(test), "seconds": None if test.seconds is None else _seconds(test.seconds)})
            for test in report.tests
        ],
        diagnostics=[DiagnosticDetail(**asdict(diagnostic)) for diagnostic in report.diagnostics],
        memory=[MemoryDetail(**asdict(finding)) for finding in report.memory],
        truncated=report.truncated,
        detail=report.detail,
        cached=report.cached,
    )


def _seconds(seconds: float) -> float:
    return round(seconds, 6)


def refusal(session_id: str | None, error: Error, detail: str) -> ExecuteAnswer:
    """The body for an execution that was refused before it began."""
    return ExecuteAnswer(
        id=session_id,
        stdout=None,
        stderr=None,
        error=error,
        result=None,
        outputs=[],
        truncated=False,
        execution_time=0.0,
        memory_used=0.0,
        state="lost",
        detail=detail,
        partial=Partial(stdout=None, stderr=None),
    )
