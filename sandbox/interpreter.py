"""One namespace: compile, run, the last value, the traceback as CPython prints it.

Signals are blocked while our own code runs, so that an interrupt, an alarm or a handler of the user's making
acts in user code only; what arrives in between is delivered when the next execution begins.
"""

import __future__

import _signal  # type: ignore[import-not-found] # signal's own functions make enums, and take ten times as long
import _thread
import ast
import builtins
import code
import functools
import operator
import sys
from collections.abc import Callable
from time import perf_counter
from types import CodeType, ModuleType, TracebackType
from typing import Any

from sandbox.capture import Capture
from sandbox.outcome import Ended, Status, Usage
from sandbox.stubs.refusal import guarded

_FUTURES = functools.reduce(
    operator.or_, (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
)
FILENAME = "<stdin>"  # what CPython calls a program that it reads from a pipe
_BLOCKED = frozenset(_signal.valid_signals()) - {_signal.SIGKILL, _signal.SIGSTOP}
_BALLAST_BYTES = 4 * 2**20  # address space our own code gets back when the user's has used up the ceiling


def main_module() -> ModuleType:
    """A `__main__` like that of `python -`, in the place of the process's own, with builtins of its own.

    What the code deletes from `builtins` is then missing to it, and not to the libraries and to us.
    """
    own = ModuleType("builtins", builtins.__doc__)
    own.__dict__.update(vars(builtins))
    main = ModuleType("__main__")
    main.__dict__.update(__builtins__=own, __annotations__={}, __loader__=sys.modules["__main__"].__loader__)
    if sys.version_info < (3, 13):  # CPython's own reading of a program from a pipe sets them
        main.__dict__.update(__file__=FILENAME, __cached__=None)
    sys.modules["builtins"] = own
    sys.modules["__main__"] = main
    sys.argv = ["-"]
    return main


class Interpreter(code.InteractiveInterpreter):
    """Runs one piece of source after another in one namespace.

    `memory`: called after each execution, gives the peak in bytes that it added.
    """

    def __init__(self, main: ModuleType, capture: Capture, output_bytes: int, memory: Callable[[], int]) -> None:
        super().__init__(vars(main))
        self._capture = capture
        self._output_bytes = output_bytes
        self._memory = memory
        self._ballast: bytearray | None = bytearray(_BALLAST_BYTES)
        self._mark = 0
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _BLOCKED)
        self._user_mask: set[int] = set()

    def run(self, source: str) -> Ended:
        """Run `source` as one program in the namespace of the earlier ones. Never raises for what it does."""
        self._capture.begin()
        self._mark = 0
        started = perf_counter()
        status = Status.DONE
        result = None
        try:
            try:
                _signal.pthread_sigmask(_signal.SIG_SETMASK, self._user_mask)
                status, result = self._run(source)
            finally:
                self._user_mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, _BLOCKED)
        except KeyboardInterrupt:  # while the traceback was being printed, or behind the last line
            status = Status.INTERRUPTED
        except MemoryError:
            status = Status.OUT_OF_MEMORY
        except BaseException:  # noqa: S110 - a handler of the user's, late: nothing of the program is left to tell
            pass
        if status is Status.OUT_OF_MEMORY:
            self.drop_ballast()
        wall = perf_counter() - started
        out, err = self._capture.out.finish(), self._capture.err.finish()
        truncated = self._capture.out.truncated or self._capture.err.truncated
        if result is not None and len(result) > self._output_bytes:
            result, truncated = result[: self._output_bytes], True
        return Ended(
            status,
            Usage(wall, self._memory()),
            out,
            err,
            min(self._mark, err) if status is Status.INTERRUPTED else err,
            truncated,
            result,
            [],
            _thread._count(),
        )

    def forget_interrupts(self) -> None:
        """Drop an interrupt that came too late for the execution it was meant for."""
        _signal.sigtimedwait([_signal.SIGINT], 0)

    def drop_ballast(self) -> None:
        """Make room for our own code when the memory ceiling is reached."""
        self._ballast = None

    def load_ballast(self) -> None:
        """Take the room back, as soon as there is some."""
        if self._ballast is None:
            try:
                self._ballast = bytearray(_BALLAST_BYTES)
            except MemoryError:
                self._ballast = None

    def _run(self, source: str) -> tuple[Status, str | None]:
        try:
            return Status.DONE, self._evaluate(source)
        except MemoryError:
            return Status.OUT_OF_MEMORY, None
        except BaseException as raised:
            error = raised
        # Outside of the handler: an error in a hook of the user's has none of ours as its context.
        self._mark = self._capture.err.length
        self._report(error)
        return Status.INTERRUPTED if isinstance(error, KeyboardInterrupt) else Status.DONE, None

    def _evaluate(self, source: str) -> str | None:
        try:
            body, last = self._compile(source)
        except SyntaxError as error:
            if error.end_offset == -1 and "unindent" not in error.msg and sys.version_info < (3, 12):
                error.offset = None  # reading a file, CPython shows no caret at its end
            raise
        if body is not None:
            exec(body, self.locals)  # noqa: S102 - running other people's code is what this is for
        value = eval(last, self.locals) if last is not None else None  # noqa: S307
        result = self._repr(value) if value is not None else None
        self._capture.flush()
        return result

    def _compile(self, source: str) -> tuple[CodeType | None, CodeType | None]:
        """The program, and apart from it its last statement when that is an expression."""
        if "\0" in source:
            raise _null_byte(source)
        source = source.removeprefix("\ufeff")
        if not source.endswith("\n"):
            source += "\n"  # as CPython does with a file; some syntax errors look different without
        compiler = self.compile.compiler
        flags = compiler.flags & _FUTURES  # those that an earlier program imported from __future__
        parts = self._split(source, flags)
        if parts is None:
            parts = compile(source, FILENAME, "exec", flags, dont_inherit=True), None
        for part in parts:
            compiler.flags |= part.co_flags & _FUTURES if part is not None else 0
        return parts

    def _split(self, source: str, flags: int) -> tuple[CodeType | None, CodeType | None] | None:
        """None when there is nothing to set apart, or the tree is deeper than this way of looking at it can go."""
        try:
            tree = compile(source, FILENAME, "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
            assert isinstance(tree, ast.Module)
            if not tree.body or not isinstance(tree.body[-1], ast.Expr):
                return None
            expression = ast.Expression(tree.body[-1].value)
            del tree.body[-1]
            body = compile(tree, FILENAME, "exec", flags, dont_inherit=True) if tree.body else None
            flags |= body.co_flags & _FUTURES if body is not None else 0
            return body, compile(expression, FILENAME, "eval", flags, dont_inherit=True)
        except RecursionError:
            return None

    def _repr(self, value: object) -> str:
        try:
            text = repr(value)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return f"<unprintable {type(value).__name__} object: {type(error).__name__}>"
        return text.encode("utf-8", "backslashreplace").decode()

    def _report(self, error: BaseException) -> None:
        """Print what ended a program as CPython does at its end."""
        if isinstance(error, SystemExit):
            self._report_exit(error)
            return
        trace = error.__traceback__ = _without_ours(error.__traceback__)
        sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
        hook = getattr(sys, "excepthook", None)
        if hook is None:
            _say("sys.excepthook is missing\n")
            hook = sys.__excepthook__
        try:
            hook(type(error), error, trace)
            return
        except SystemExit as exit_:
            self._report_exit(exit_)
            return
        except KeyboardInterrupt:
            raise
        except BaseException as raised:
            second = raised
        _say("Error in sys.excepthook:\n")
        second.__traceback__ = _without_ours(second.__traceback__)
        sys.__excepthook__(type(second), second, second.__traceback__)
        _say("\nOriginal exception was:\n")
        sys.__excepthook__(type(error), error, trace)

    def _report_exit(self, exit_: SystemExit) -> None:
        """What CPython prints for a SystemExit: a code that is neither None nor a number goes to stderr."""
        if exit_.code is not None and not isinstance(exit_.code, int):
            _say(f"{exit_.code}\n")
        self._capture.flush()


def hide_own_depth(depth: int) -> None:
    """Let user code see the recursion limit as if none of our frames were below it; `depth`: how many are."""
    set_limit, get_limit = sys.setrecursionlimit, sys.getrecursionlimit
    set_limit(get_limit() + depth)

    def checked(limit: int, /) -> None:
        set_limit(limit + depth if limit > 0 else limit)

    sys.setrecursionlimit = guarded("setrecursionlimit", checked, lambda *args: None)
    sys.getrecursionlimit = guarded("getrecursionlimit", lambda: get_limit() - depth, lambda: None)


def _null_byte(source: str) -> SyntaxError:
    lines = source[: source.index("\0")].split("\n")
    return SyntaxError("source code cannot contain null bytes", (FILENAME, len(lines), None, lines[-1]))


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_globals is globals():
        trace = trace.tb_next
    return trace


def _say(text: str) -> None:
    stream: Any = getattr(sys, "stderr", None)
    if stream is not None:
        stream.write(text)
