"""POST /submit: C code is compiled, run, tested and memory-checked."""

from http import HTTPStatus

from starlette.datastructures import State
from starlette.types import Receive, Scope, Send

from judge import flags
from judge.errors import BadFlag
from judge.submission import Submission
from sandbox.limits import MIB
from server import body, errors
from server.body import BodyBudget
from server.disconnect import while_it_stays
from server.models import SubmitRequest, submit_answer
from server.observed import Observed
from server.reply import send_json
from server.settings import Settings


class Submit:
    """An ASGI app."""

    def __init__(self, settings: Settings, state: State, budget: BodyBudget) -> None:
        self._settings = settings
        self._state = state
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            submission = self._submission(await body.read(scope, receive, SubmitRequest, self._budget))
            work: Observed = self._state.work
            report = await while_it_stays(receive, work.judge(submission, scope.get("owner")))
        except errors.KNOWN as error:
            await errors.answer(error)(scope, receive, send)
        else:
            await send_json(send, submit_answer(report))

    def _submission(self, request: SubmitRequest) -> Submission:
        given = self._settings
        errors.check_most("timeout", request.timeout, given.submit_max_timeout_seconds)
        errors.check_most("memory_limit", request.memory_limit, given.submit_max_memory_limit_mb)
        try:
            flags.check(request.flags or ())
        except BadFlag as error:
            detail: list[dict[str, object]] = [{"loc": ["body", "flags"], "msg": str(error)}]
            raise errors.BadBody(HTTPStatus.UNPROCESSABLE_ENTITY, f"flags: {error}", detail) from None
        return Submission(
            code=request.code,
            tests=request.tests,
            timeout_s=request.timeout or given.submit_timeout_seconds,
            per_test_s=request.per_test_timeout or given.submit_test_timeout_seconds,
            whitelisted=tuple(request.whitelisted or ()),
            blacklisted=tuple(request.blacklisted or ()),
            flags=tuple(request.flags or ()),
            stdin=request.stdin or "",
            memory_bytes=(request.memory_limit or given.submit_memory_limit_mb) * MIB,
            valgrind=request.valgrind,
        )
