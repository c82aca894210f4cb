"""Where each execution, run and submission is entered when it has ended: in the metrics, and in the audit log."""

from judge.submission import Report, Submission
from sandbox.outcome import Error, Outcome, Printed, RunOutcome
from server import endings, errors
from server.audit import Audit, Entry, Used
from server.metrics import Metrics
from sessions.execution import Execution

_NOTHING = Used()
_ANSWERED = frozenset((endings.word(Error.MAX_SESSIONS), endings.word(Error.NOT_FOUND)))  # of executions, with 200


class Ledger:
    """`audit` is None where no such log is kept.

    `ended`: what it did, or what was raised in its place. `seconds`: from the request to the answer. `key`: the name of
    the API key that it came with.
    """

    def __init__(self, metrics: Metrics, audit: Audit | None) -> None:
        self._metrics = metrics
        self._audit = audit

    def execution(
        self,
        ended: Outcome | BaseException,
        seconds: float,
        execution: Execution,
        *,
        session: str | None,
        key: str | None,
        begun: bool = False,
    ) -> None:
        """An execution has ended. `session`: the one that it was in or was meant for. `begun`: its answer was begun."""
        outcome = endings.of_execution(ended)
        cpu_s = ended.usage.cpu_s if isinstance(ended, Outcome) else execution.cpu_s or 0.0
        self._metrics.executed(outcome, seconds, cpu_s)
        if self._audit is not None:
            status = 200 if begun or outcome in _ANSWERED else _status(ended)
            used = _used(ended, execution)
            self._audit.write(Entry("execution", outcome, key, session, execution.code, used, status))

    def run(self, ended: RunOutcome | BaseException, seconds: float, execution: Execution, *, key: str | None) -> None:
        """A run has ended."""
        outcome, used = endings.of_run(ended), _used(ended, execution)
        self._metrics.ran(outcome, seconds, used.cpu_s)
        if self._audit is not None:
            self._audit.write(Entry("run", outcome, key, None, execution.code, used, _status(ended)))

    def submission(
        self, ended: Report | BaseException, seconds: float, submission: Submission, *, key: str | None
    ) -> None:
        """A submission has ended."""
        outcome, used = endings.of_submission(ended), _used(ended)
        self._metrics.submitted(outcome, seconds, used.cpu_s)
        if self._audit is not None:
            code, tests = submission.code, submission.tests
            self._audit.write(Entry("submission", outcome, key, None, code, used, _status(ended), tests))

    def observe(self, ended: Outcome | RunOutcome | Report, seconds: float) -> None:
        """What a node has done for a gateway, whose ledger has the rest."""
        match ended:
            case Outcome():
                self._metrics.executed(endings.of_execution(ended), seconds, ended.usage.cpu_s)
            case RunOutcome():
                self._metrics.ran(endings.of_run(ended), seconds, ended.usage.cpu_s)
            case Report():
                self._metrics.submitted(endings.of_submission(ended), seconds, ended.cpu_s)


def _used(ended: Outcome | RunOutcome | Report | BaseException, execution: Execution | None = None) -> Used:
    """What was measured of it, also when nobody waited for its end."""
    if isinstance(ended, BaseException):
        return Used(cpu_s=execution.cpu_s or 0.0) if execution else _NOTHING
    if isinstance(ended, Report):
        wall_s = max(0.0, ended.compilation_s) + max(0.0, ended.run_s)
        return Used(wall_s, ended.cpu_s, None, _size(ended.output))
    usage = ended.usage
    return Used(usage.wall_s, usage.cpu_s, usage.memory_bytes, _printed(ended.printed))


def _status(ended: Outcome | RunOutcome | Report | BaseException) -> int | None:
    """Of the answer; None when nobody was left to be answered."""
    if not isinstance(ended, BaseException):
        return 200
    return None if endings.has_left(ended) else errors.status_of(ended)


def _printed(printed: Printed) -> int:
    return _size(printed.stdout) + _size(printed.stderr)


def _size(text: str) -> int:
    """Its bytes as UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
