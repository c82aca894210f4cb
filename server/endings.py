"""The words in which executions, runs and submissions ended: closed lists, for metrics and for the audit log."""

import asyncio

from cluster.turns import QueueFull
from judge import errors as judging
from judge.submission import Report
from sandbox.outcome import Error, Outcome, RunOutcome, Verdict
from server.body import ClientGone
from server.quotas import QuotaExceeded
from sessions import errors

DONE, REFUSED, FAILED, ABANDONED = "done", "refused", "failed", "abandoned"


def word(error: Error) -> str:
    """As a label: without spaces."""
    return error.value.replace(" ", "_")


EXECUTIONS = (DONE, *map(word, Error), REFUSED, FAILED)
RUNS = (*(verdict.value for verdict in Verdict), ABANDONED, REFUSED, FAILED)
SUBMISSIONS = (DONE, "tests_failed", "not_run", "not_compiled", "not_built", ABANDONED, REFUSED, FAILED)

# What was answered at once, for nothing began.
WITHOUT_LATENCY = frozenset((REFUSED, FAILED, word(Error.MAX_SESSIONS), word(Error.NOT_FOUND)))

_REFUSALS = (errors.Refusal, judging.Draining, QueueFull, QuotaExceeded)
_LEFT = (ClientGone, asyncio.CancelledError, GeneratorExit)


def of_execution(ended: Outcome | BaseException) -> str:
    """One of EXECUTIONS."""
    match ended:
        case Outcome(error=error):
            return DONE if error is None else word(error)
        case errors.MaxSessionsReached():
            return word(Error.MAX_SESSIONS)
        case errors.SessionNotFound():
            return word(Error.NOT_FOUND)
    return word(Error.INTERRUPTED) if has_left(ended) else _of_exception(ended)


def of_run(ended: RunOutcome | BaseException) -> str:
    """One of RUNS."""
    return ended.verdict.value if isinstance(ended, RunOutcome) else _of_exception(ended)


def of_submission(ended: Report | BaseException) -> str:
    """One of SUBMISSIONS."""
    if not isinstance(ended, Report):
        return _of_exception(ended)
    if not ended.built:
        return "not_built"
    if not ended.compiled:
        return "not_compiled"
    if not ended.ran:
        return "not_run"
    return "tests_failed" if ended.failed_tests else DONE


def has_left(error: BaseException) -> bool:
    """Whether it ended because nobody waited for it any more."""
    return isinstance(error, _LEFT)


def _of_exception(error: BaseException) -> str:
    if has_left(error):
        return ABANDONED
    return REFUSED if isinstance(error, _REFUSALS) else FAILED
