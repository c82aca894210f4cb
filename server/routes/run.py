"""POST /run: a program runs once, in a worker of its own."""

from starlette.datastructures import State
from starlette.types import Receive, Scope, Send

from sandbox.limits import MIB
from server import body, errors
from server.body import BodyBudget
from server.disconnect import while_it_stays
from server.models import RunRequest, run_answer
from server.observed import Observed
from server.reply import send_json
from server.settings import Settings
from sessions.execution import Execution


class Run:
    """An ASGI app."""

    def __init__(self, settings: Settings, state: State, budget: BodyBudget) -> None:
        self._settings = settings
        self._state = state
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            request = await body.read(scope, receive, RunRequest, self._budget)
            execution, memory_bytes = self._terms(request)
            work: Observed = self._state.work
            outcome = await while_it_stays(receive, work.run(execution, memory_bytes, scope.get("owner")))
        except errors.KNOWN as error:
            await errors.answer(error)(scope, receive, send)
        else:
            await send_json(send, run_answer(outcome))

    def _terms(self, request: RunRequest) -> tuple[Execution, int]:
        given = self._settings
        errors.check_most("timeout", request.timeout, given.run_max_timeout_seconds)
        errors.check_most("memory_limit", request.memory_limit, given.run_max_memory_limit_mb)
        wall_s = given.run_timeout_seconds if request.timeout is None else request.timeout
        memory_mb = given.run_memory_limit_mb if request.memory_limit is None else request.memory_limit
        return Execution(request.code, None, wall_s), memory_mb * MIB
