"""One namespace: compile, run, the last value, the traceback as CPython prints it."""

import __future__

import _thread
import builtins
import code
import contextlib
import functools
import mmap
import operator
import sys
from ast import Expr, Expression, Module, PyCF_ONLY_AST  # bound here: user code may patch ast
from collections.abc import Callable
from time import perf_counter
from types import CodeType, ModuleType, TracebackType
from typing import Any

from sandbox import display, wire
from sandbox.capture import Capture
from sandbox.meter import MemoryMeter
from sandbox.outcome import Ended, Status, Usage
from sandbox.signals import Signals
from sandbox.stubs.refusal import guarded

_FUTURES = functools.reduce(
    operator.or_, (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
)
_TRACEBACK: Any = vars(BaseException)["__traceback__"]
_NAME: Any = vars(type)["__name__"]
_FOLDER = __file__.rpartition("/")[0] + "/"
FILENAME = "<stdin>"  # what CPython calls a program that it reads from a pipe
_SHORT_BYTES = 4096  # printed text up to this travels in the answer
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
    """Runs one piece of source after another in one namespace."""

    def __init__(self, main: ModuleType, capture: Capture, output_bytes: int, meter: MemoryMeter) -> None:
        super().__init__(vars(main))
        self._main_thread = _thread.get_ident()
        self._capture = capture
        self._output_bytes = output_bytes
        self._meter = meter
        self._ballast: mmap.mmap | None = None
        self._mark: int | None = None  # length of stderr before the traceback of an interrupt
        self._signals = Signals()
        self._budget = display.Budget(say)
        self._outputs: list[display.Bundle] = []  # those at the end of the execution
        self._send: Callable[[bytes], None] | None = None
        self._sending = _thread.RLock()
        self._is_running = False
        self._hooks: tuple[Any, Any] = (None, None)  # the user's trace and profile functions, between executions

    def show_on(self, send: Callable[[bytes], None]) -> None:
        """Give the code a builtin `display`, and show rich values and figures. `send` takes the frames of outputs."""
        self._send = send

        def show_values(*values: object) -> None:
            """Show values in order, each in the forms that it has: text, HTML, images, LaTeX."""
            for value in values:
                self._show({"text/plain": self._repr(value), **display.rich(value, self._budget)})

        def show_figures(*args: object, **kwargs: object) -> None:  # a function: pyplot gives it a signature
            """Show the figures that are open, and close them."""
            for forms in display.figures(self._budget, self._repr):
                self._show(forms)

        show_values.__name__ = show_values.__qualname__ = "display"
        self.locals["__builtins__"].display = show_values
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is not None:
            show_figures.__name__ = show_figures.__qualname__ = "show"
            vars(pyplot)["show"] = show_figures

    def run(self, source: str, number: int = 0) -> Ended:
        """Run `source` as one program in the namespace of the earlier ones. Never raises for what it does.

        `number`: which execution this is, counted from 1; an interrupt says which one it means.
        """
        self._capture.begin(number)
        self._budget.begin()
        self._outputs = []
        self._mark = None
        started = perf_counter()
        status = Status.DONE
        result = None
        try:
            self._load_ballast()
            self.locals.pop("__warningregistry__", None)  # each program warns anew
            if self._hooks != (None, None):
                sys.settrace(self._hooks[0])
                sys.setprofile(self._hooks[1])
            status, result = self._run(source, number)
        except KeyboardInterrupt:  # while the traceback was being printed
            status = Status.INTERRUPTED
        except MemoryError:
            self.drop_ballast()
            status = Status.OUT_OF_MEMORY
        except BaseException as error:  # from a handler of the user's, or an error that cannot be reported as usual
            sys.__excepthook__(type(error), error, _trim(error))
        finally:
            late = self._signals.exclude()
            with self._sending:  # a thread may be at it
                self._is_running = False
            self._hooks = sys.gettrace(), sys.getprofile()
            if self._hooks != (None, None):
                sys.settrace(None)
                sys.setprofile(None)
        if isinstance(late, KeyboardInterrupt):
            status = Status.INTERRUPTED
        wall = perf_counter() - started
        peak, headroom = self._meter.read()
        if status is Status.OUT_OF_MEMORY or headroom < 2 * _BALLAST_BYTES:
            self.drop_ballast()
        out, err = self._capture.out.finish(), self._capture.err.finish()
        truncated = self._capture.out.truncated or self._capture.err.truncated or self._budget.truncated
        if result is not None and len(result) > self._output_bytes:
            result, truncated = result[: self._output_bytes], True
        return Ended(
            status,
            Usage(wall, peak),
            out,
            err,
            err if self._mark is None else min(self._mark, err),
            truncated,
            result,
            self._outputs,
            _thread._count(),
            self._capture.text() if out + err <= _SHORT_BYTES else None,
        )

    def look_up(self, errand: Callable[[str, dict[str, Any]], str], text: str, number: int) -> Ended:
        """Answer a question about the namespace. What it prints belongs to the next execution."""
        started = perf_counter()
        status, result = Status.DONE, None
        try:
            self._signals.admit(lambda: self._capture.out.wanted == number)
            answer = errand(text, self.locals)
            result = answer if len(answer) <= self._output_bytes else None
        except KeyboardInterrupt:
            status = Status.INTERRUPTED
        except BaseException:  # code of the user's that the question has called
            status = Status.FAILED
        finally:
            self._signals.exclude()
        peak, _ = self._meter.read()
        return Ended(status, Usage(perf_counter() - started, peak), result=result, threads=_thread._count())

    def last_words(self) -> Ended:
        """What is left to tell when an execution has left us no room to report it as usual."""
        self.drop_ballast()
        out, err = self._capture.out.finish(), self._capture.err.finish()
        peak, _ = self._meter.read()
        return Ended(Status.OUT_OF_MEMORY, Usage(0.0, peak), out, err, err)

    def drop_ballast(self) -> None:
        """Make room for our own code: the user's has used up what the ceiling allows."""
        if self._ballast is not None:
            self._ballast.close()
            self._ballast = None

    def _load_ballast(self) -> None:
        """Take the room again, so that it is there when it is needed."""
        if self._ballast is None:
            with contextlib.suppress(OSError, MemoryError):
                self._ballast = mmap.mmap(-1, _BALLAST_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    def _run(self, source: str, number: int) -> tuple[Status, str | None]:
        status, result, error = Status.DONE, None, None
        try:
            self._signals.admit(lambda: number > 0 and self._capture.out.wanted == number)
            self._is_running = True
            result = self._evaluate(source)
        except MemoryError:
            self.drop_ballast()  # before anything else needs memory
            display.close_figure("all")
            return Status.OUT_OF_MEMORY, None
        except BaseException as raised:
            error = raised
        if error is not None:  # outside of the handler: an error in a hook of the user's has none of ours as context
            if issubclass(type(error), KeyboardInterrupt):  # of its class nobody else is asked: it may lie
                status = Status.INTERRUPTED
                self._mark = self._capture.err.mark()
            self._report(error)
            error = None  # its frames hold on to what they knew
        if status is Status.INTERRUPTED:
            display.close_figure("all")  # there is no time left to draw them
        elif self._send is not None:
            self._outputs += filter(None, map(self._budget.fit, display.figures(self._budget, self._repr)))
        self._finish()
        return status, result

    def _finish(self) -> None:
        """What CPython does last."""
        self._capture.flush()

    def _evaluate(self, source: str) -> str | None:
        body, last = self._compile(source)
        if body is not None:
            exec(body, self.locals)  # noqa: S102 - running other people's code is what this is for
        value = eval(last, self.locals) if last is not None else None  # noqa: S307
        if value is None:
            return None
        text = self._repr(value)
        if self._send is not None:
            self._show_last(value, text)
        return text

    def _show_last(self, value: object, text: str) -> None:
        """Show the value of the last expression, if it has other forms than its repr."""
        forms = display.rich(value, self._budget)
        if display.is_figure(value):
            display.close_figure(value)
        fitting = self._budget.fit({"text/plain": text, **forms}) if forms else None
        if fitting is not None:
            self._outputs.append(fitting)

    def _show(self, forms: display.Forms) -> None:
        """Send it off at once. A frame is sent whole, whatever interrupts the code."""
        is_main = _thread.get_ident() == self._main_thread
        with self._signals.held() if is_main else contextlib.nullcontext(), self._sending:
            fitting = self._budget.fit(forms) if self._is_running else None
            if fitting is not None and self._send is not None:
                self._send(wire.display(fitting, self._capture.out.length, self._capture.err.length))

    def _compile(self, source: str) -> tuple[CodeType | None, CodeType | None]:
        """The program, and apart from it its last statement when that is an expression."""
        try:
            return self._translate(source)
        except SyntaxError as error:
            if error.end_offset == -1 and "unindent" not in error.msg and sys.version_info < (3, 12):
                error.offset = None  # reading a file, CPython shows no caret at its end
            raise

    def _translate(self, source: str) -> tuple[CodeType | None, CodeType | None]:
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
        """None when the tree is deeper than this way of looking at it can go."""
        try:
            tree = parse(source, flags)
            if not tree.body or not isinstance(tree.body[-1], Expr):
                return translate(tree, flags), None
            expression = Expression(tree.body[-1].value)
            del tree.body[-1]
            body = translate(tree, flags) if tree.body else None
            flags |= body.co_flags & _FUTURES if body is not None else 0
            return body, translate(expression, flags)
        except RecursionError:
            return None

    def _repr(self, value: object) -> str:
        try:
            text = repr(value)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return f"<unprintable {class_name(type(value))} object: {class_name(type(error))}>"
        return text.encode("utf-8", "backslashreplace").decode()

    def _report(self, error: BaseException) -> None:
        """Print what ended a program as CPython does at its end."""
        if issubclass(type(error), SystemExit):
            self._report_exit(exit_code(error))
            return
        trace = _trim(error)
        sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
        hook = getattr(sys, "excepthook", None)
        if hook is None:
            say("sys.excepthook is missing\n")
            hook = sys.__excepthook__
        try:
            hook(type(error), error, trace)
            return
        except SystemExit as exit_:
            self._report_exit(exit_code(exit_))
            return
        except KeyboardInterrupt:
            raise
        except BaseException as raised:
            second = raised
        say("Error in sys.excepthook:\n")
        sys.__excepthook__(type(second), second, _trim(second))
        say("\nOriginal exception was:\n")
        sys.__excepthook__(type(error), error, trace)

    def _report_exit(self, code: object) -> None:
        """What CPython prints for a SystemExit: a code that is neither None nor a number goes to stderr."""
        if code is not None and not isinstance(code, int):
            say(f"{code}\n")


def parse(source: str, flags: int) -> Module:
    """The tree of a program. Raises SyntaxError; RecursionError or MemoryError when it is too deep."""
    tree = compile(source, FILENAME, "exec", flags | PyCF_ONLY_AST, dont_inherit=True)
    assert isinstance(tree, Module)
    return tree


def translate(tree: Module | Expression, flags: int) -> CodeType:
    """Code for exec, or for eval of an expression. Raises SyntaxError; RecursionError when the tree is too deep."""
    mode = "exec" if isinstance(tree, Module) else "eval"
    translated: CodeType = compile(tree, FILENAME, mode, flags, dont_inherit=True)
    return translated


def hide_own_depth(depth: int) -> None:
    """Let user code see the recursion limit as if none of our frames were below it; `depth`: how many are."""
    set_limit, get_limit = sys.setrecursionlimit, sys.getrecursionlimit
    set_limit(get_limit() + depth)

    def checked(limit: int, /) -> None:
        try:
            set_limit(limit + depth if limit > 0 else limit)
        except RecursionError:  # so low that this very call is too deep for it
            set_limit(limit + depth + 8)

    sys.setrecursionlimit = guarded("setrecursionlimit", checked, lambda *args: None)
    sys.getrecursionlimit = guarded("getrecursionlimit", lambda: get_limit() - depth, lambda: None)


def _null_byte(source: str) -> SyntaxError:
    lines = source[: source.index("\0")].split("\n")
    return SyntaxError("source code cannot contain null bytes", (FILENAME, len(lines), None, lines[-1]))


def exit_code(error: BaseException) -> object:
    """The code of a SystemExit; the exception itself, as CPython has it, if its class cannot tell."""
    try:
        return getattr(error, "code")  # noqa: B009 - only some exceptions have it
    except Exception:
        return error


def last_line(error: BaseException) -> int | None:
    """The line of the program where it was raised: the innermost one that its traceback shows."""
    line = None
    trace: TracebackType | None = _TRACEBACK.__get__(error)
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILENAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _trim(error: BaseException) -> TracebackType | None:
    """Take our frames off the beginning of its traceback. Its class may have any attributes: none is asked."""
    trace: TracebackType | None = _TRACEBACK.__get__(error)
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_FOLDER):
        trace = trace.tb_next
    _TRACEBACK.__set__(error, trace)
    return trace


def class_name(cls: type) -> str:
    name: str = _NAME.__get__(cls)
    return name


def say(text: str) -> None:
    stream: Any = getattr(sys, "stderr", None)
    if stream is not None:
        stream.write(text)
