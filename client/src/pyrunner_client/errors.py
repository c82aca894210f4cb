"""What can go wrong. What the code did is never one of these, unless `check` asks for it.

PyRunnerError
├── ServerUnreachable       no connection: nothing was sent
├── ServerGone              the connection broke after the request was sent: the code may have run
├── ServerFault             a fault of the server, or an answer that no PyRunner gives
├── BadRequest              the request is wrong; the text is the server's sentence
├── Unauthorized            the server wants a key, or another one; or what was given can be none
├── Busy                    too much is under way, or the key has used what it may: nothing was run, try later
│   └── MaxSessionsReached
├── SessionLost             the variables are gone, by this execution
│   └── SessionNotFound     they were gone before it: the code was not run
└── ExecutionFailed         `check=True`: an error ended the execution, or the code raised
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyrunner_client.answers import Printed, Result


class PyRunnerError(Exception):
    """Its text is a sentence that a person can act on."""


class ServerUnreachable(PyRunnerError):
    pass


class ServerGone(PyRunnerError):
    """`printed`: what had come of the output until then."""

    def __init__(self, sentence: str, printed: Printed = Printed()) -> None:  # noqa: B008 - it is frozen
        super().__init__(sentence)
        self.printed = printed


class ServerFault(PyRunnerError):
    """`request_id`: what the server's log names it by."""

    def __init__(self, sentence: str, status: int, request_id: str | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.request_id = request_id


class BadRequest(PyRunnerError):
    """`detail`: where fields are wrong, each with `loc` and `msg`."""

    def __init__(self, sentence: str, status: int, detail: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(sentence)
        self.status = status
        self.detail = list(detail)


class Unauthorized(PyRunnerError):
    pass


class Busy(PyRunnerError):
    """`retry_after`: in how many seconds to try again, if the server has said so."""

    def __init__(self, sentence: str, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class MaxSessionsReached(Busy):
    pass


class SessionLost(PyRunnerError):
    """`cause`: how, in words. `printed`: what the code had printed before. `result`: the whole answer, if there is one.

    The session stays lost: go on with a new one.
    """

    says = "the session was lost"

    def __init__(self, cause: str, result: Result | None = None) -> None:
        super().__init__(f"{self.says}: {cause}")
        self.cause = cause
        self.result = result
        self.printed = Printed() if result is None else Printed(result.stdout, result.stderr)


class SessionNotFound(SessionLost):
    says = "the session is not there"

    def __init__(self, cause: str, result: Result | None = None) -> None:
        super().__init__(cause.removeprefix(f"{SessionLost.says}: "), result)


class ExecutionFailed(PyRunnerError):
    """`result`: the answer. The session is kept."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.failure)
        self.result = result
