"""One session: one state, one worker, its queue of executions, its deadline."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from sandbox import wire
from sandbox.limits import LOOK_UP_S, MIB, Limits
from sandbox.outcome import Ended, Error, Outcome, Printed, Status, Usage
from sessions.errors import SessionBusy, SessionNotFound, SessionRuns, WorkerLost
from sessions.execution import Execution
from sessions.lifecycle import Cause, Event, State, after
from sessions.session_process import SessionProcess
from sessions.watchdog import Watchdog

MOST_WAITING = 16
_CAUSES = {Error.TIMEOUT: Cause.TIMEOUT, Error.MEMORY: Cause.MEMORY}  # of a kill; for any other nobody waits


class Figures(NamedTuple):
    """A session in numbers."""

    id: str
    state: State
    age_s: float
    idle_s: float  # since its last execution ended; 0 while one runs
    memory_bytes: int  # held over what it held at birth
    executions: int


class Session:
    """Executions run one after another in the order of arrival. `obituary` and `cause` tell why it is no more.

    `owner`: the name of the key that opened it; None when there are no keys.
    """

    def __init__(
        self, session_id: str, limits: Limits, on_end: Callable[["Session"], None], owner: str | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.id = session_id
        self.owner = owner
        self.state = State.STARTING
        self.created = self.idle_since = self._loop.time()
        self.executions = 0
        self.obituary: str | None = None
        self.cause: Cause | None = None
        self.process: SessionProcess | None = None
        self._limits = limits
        self._on_end = on_end  # called once, when it takes no more executions
        self._current: Execution | None = None
        self._waiting: deque[tuple[Execution, asyncio.Future[bool]]] = deque()
        self._killed_by: Error | None = None
        self._told_cpu_s = 0.0  # in the executions before; what ran on behind one counts in the next

    def adopt(self, process: SessionProcess) -> None:
        """Take a worker from the pool: the session is ready."""
        self.process = self._process = process
        self._told_cpu_s = process.cpu_s()
        self._watchdog = Watchdog(self, process, self._limits)
        process.gone.add_done_callback(lambda _: self._on_gone())
        self._step(Event.READY)

    async def execute(self, execution: Execution) -> Outcome:
        """Run it when its turn comes.

        Raises SessionBusy when the queue is full, SessionNotFound when the session is lost before the turn.
        """
        if self._current is not None and not await self._wait(execution):
            return self._not_begun(execution)
        self._current = execution
        try:
            if self.state is not State.IDLE:  # it was closed before the turn came
                raise SessionNotFound(self.id, self.obituary)
            if execution.stopped_by is not None:
                return self._not_begun(execution)
            outcome = await self._run(execution)
            execution.cpu_s = outcome.usage.cpu_s
            execution.on_end()
            return outcome
        finally:
            self._pass_the_turn()

    @property
    def waiting(self) -> int:
        """How many executions wait for their turn."""
        return len(self._waiting)

    async def look_up(self, errand: wire.Errand, text: str) -> str:
        """The worker's answer to a question about the namespace, as it tells it; empty when it had none in time.

        Raises SessionRuns when code runs in it.
        """
        if self.state is not State.IDLE or self._current is not None:
            raise SessionRuns
        outcome = await self.execute(Execution(text, None, LOOK_UP_S, self, errand=errand))
        return outcome.result or ""

    def abandon(self, execution: Execution) -> None:
        """Interrupt an execution whose client has left, or drop it if its turn has not come."""
        if execution is self._current:
            if not self.interrupt(Error.INTERRUPTED):
                execution.stopped_by = Error.INTERRUPTED  # its turn has come this moment
            return
        for waiting, turn in self._waiting:
            if waiting is execution:
                self._waiting.remove((waiting, turn))
                turn.set_result(False)
                return

    def interrupt(self, why: Error) -> bool:
        """Raise KeyboardInterrupt in the running execution. False when none is running.

        It may catch one and go on; the next one interrupts it again, and the time limit is told before a wish.
        """
        if self.state is not State.BUSY or self._current is None:
            return False
        if self._current.stopped_by is not Error.TIMEOUT:
            self._current.stopped_by = why
        self._process.interrupt()
        return True

    def kill(self, why: Error, detail: str) -> None:
        """End the session with its worker; the running execution is told `why`."""
        self._finish(why, detail, f"the session was lost: {why} ({detail})", _CAUSES.get(why, Cause.ABANDONED))

    def close(self, why: str, cause: Cause) -> None:
        """End the session; an execution that runs answers `execution interrupted`."""
        if self.state is State.STARTING:
            self._end(Event.CLOSE, why, cause)
        else:
            self._finish(Error.INTERRUPTED, why, why, cause)

    def rest(self) -> None:
        """Stop the worker of an idle session, so that nothing in it runs on."""
        if self.state is State.IDLE:
            self._process.rest()

    def unread(self, execution: Execution, stdout_bytes: int, stderr_bytes: int) -> tuple[bytes, bytes]:
        """What it has printed so far beyond these lengths, if it is the one that runs."""
        if self.state is not State.BUSY or self._current is not execution:
            return b"", b""
        return self._process.unread(stdout_bytes, stderr_bytes)

    def is_heard_out(self) -> bool:
        """Whether no bundle is on its way that what runs has shown."""
        return self._process.is_heard_out()

    def figures(self) -> Figures:
        """It in numbers, as of now."""
        now = self._loop.time()
        idle_s = 0.0 if self.state is State.BUSY else now - self.idle_since
        return Figures(self.id, self.state, now - self.created, idle_s, self.memory_bytes(), self.executions)

    def memory_bytes(self) -> int:
        """What the session holds over what it held at birth."""
        return self._process.memory_growth() if self.state in (State.IDLE, State.BUSY) else 0

    async def _wait(self, execution: Execution) -> bool:
        """Until its turn comes; False when its client left before."""
        if len(self._waiting) >= MOST_WAITING:
            raise SessionBusy(len(self._waiting))
        execution.is_slow()
        turn: asyncio.Future[bool] = self._loop.create_future()
        self._waiting.append((execution, turn))
        try:
            return await turn
        except asyncio.CancelledError:
            if (execution, turn) in self._waiting:
                self._waiting.remove((execution, turn))
            elif self._current is execution:
                self._pass_the_turn()
            raise

    def _pass_the_turn(self) -> None:
        self._current = None
        while self.state is State.IDLE and self._waiting:
            execution, turn = self._waiting.popleft()
            if not turn.done():  # else it was cancelled a moment ago
                self._current = execution
                turn.set_result(True)
                return

    async def _run(self, execution: Execution) -> Outcome:
        request = wire.request(execution.code, execution.errand)
        self._step(Event.ASK)
        self.executions += execution.errand is wire.Errand.EXECUTE
        started = self._loop.time()
        try:
            self._watchdog.start(execution)
            ended = await self._process.ask(request, execution.stdin, execution.shown.append)
            if self.state is not State.BUSY:  # killed after it had answered, and before we heard
                raise WorkerLost(self.obituary or "", self._process.printed(ended, whole=True))
            too_much = self._watchdog.exceeded(ended.usage.memory_bytes)
            if too_much is not None:
                self.kill(Error.MEMORY, too_much)
                raise WorkerLost(too_much, self._process.printed(ended, whole=True))
        except WorkerLost as lost:
            return self._after_loss(execution, lost, self._loop.time() - started)
        except BaseException:  # cancelled, or our fault: nobody will read its answer
            self.kill(Error.INTERRUPTED, "closed: the server stopped waiting for its execution")
            raise
        finally:
            self._watchdog.stop()
        outcome = self._after_answer(execution, ended, self._loop.time() - started)
        self._step(Event.ANSWER)
        self.idle_since = self._loop.time()
        return outcome

    def _not_begun(self, execution: Execution) -> Outcome:
        execution.cpu_s = 0.0
        return Outcome(self.id, Printed(), kept=True, error=Error.INTERRUPTED, detail="it had not begun")

    def _after_answer(self, execution: Execution, ended: Ended, took_s: float) -> Outcome:
        error, detail = execution.stopped_by, None
        if error is not None:
            detail = f"interrupted after {took_s:.1f} s"
        elif ended.status is Status.OUT_OF_MEMORY:
            error = Error.MEMORY
            detail = f"an allocation failed at the limit of {self._limits.memory_bytes // MIB} MiB"
        printed = self._process.printed(ended, whole=error is None)
        result = ended.result if error is None else None
        outputs = (*_bundles(execution), *ended.outputs)
        usage = Usage(ended.usage.wall_s, ended.usage.memory_bytes, self._cpu_s())
        return Outcome(self.id, printed, True, error, detail, result, outputs, usage)

    def _after_loss(self, execution: Execution, lost: WorkerLost, took_s: float) -> Outcome:
        error = self._killed_by or Error.CRASHED
        self._end(Event.DEATH, f"the session was lost: {error} ({lost.detail})", Cause.CRASH)
        usage = Usage(took_s, self._watchdog.growth_bytes, self._cpu_s())
        return Outcome(self.id, lost.printed, False, error, lost.detail, None, _bundles(execution), usage)

    def _cpu_s(self) -> float:
        """Processor time since the last execution was told of."""
        used_s = self._process.cpu_s()
        since_s, self._told_cpu_s = used_s - self._told_cpu_s, used_s
        return since_s

    def _finish(self, why: Error, detail: str, obituary: str, cause: Cause) -> None:
        if self.state not in (State.CLOSING, State.DEAD):
            self._killed_by = why
            self._end(Event.CLOSE, obituary, cause)
            self._process.kill(detail)

    def _on_gone(self) -> None:
        if self.state is not State.DEAD:
            self._end(Event.DEATH, "the session was lost: its worker died between executions", Cause.CRASH)

    def _end(self, event: Event, obituary: str, cause: Cause) -> None:
        if self.state is State.DEAD or (self.state is State.CLOSING and event is not Event.DEATH):
            return
        self._step(event)
        if self.obituary is None:
            self.obituary, self.cause = obituary, cause
            self._on_end(self)
            if self.process is not None:
                self._watchdog.end()
        for _, turn in self._waiting:
            if not turn.done():
                turn.set_exception(SessionNotFound(self.id, self.obituary))
        self._waiting.clear()

    def _step(self, event: Event) -> None:
        self.state = after(self.state, event)


def _bundles(execution: Execution) -> tuple[dict[str, str], ...]:
    return tuple(shown.bundle for shown in execution.shown)
