"""A run: one program, judged by the policy, and run to its end as `python -` would run it."""

import atexit
import gc
import sys
import threading
from types import CodeType

from sandbox import policy, tiers
from sandbox.interpreter import Interpreter, class_name, exit_code, last_line, parse, say, translate
from sandbox.outcome import Ended, Status
from sandbox.wire import Terms

_MOST_NAME_CHARS = 200
_SYNTAX_ERRORS = (SyntaxError, IndentationError, TabError)
_TOO_DEEP = "the code is nested too deeply to be compiled"


class _Refused(Exception):
    """The policy has said no."""

    def __init__(self, finding: policy.Finding) -> None:
        super().__init__(finding)
        self.finding = finding


class _Elsewhere(Exception):
    """The program imports what another tier of workers has loaded."""

    def __init__(self, tier: str) -> None:
        super().__init__(tier)
        self.tier = tier


class Program(Interpreter):
    """Runs one source once; earlier ones are warm-ups that import nothing."""

    _terms = Terms(0, (), tuple(tiers.TIERS))
    _has_begun = False
    _is_last = False
    _has_own_code = False  # functions, classes, generators
    _ended_as: tuple[Status, str] | None = None  # and why, or where; None for a success
    _early_peak_bytes = 0

    def run_once(self, source: str, terms: Terms) -> Ended:
        """Run `source`, and end as a process does: its threads are waited for, its exit functions called."""
        self._terms = terms
        self._has_begun = False
        self._is_last = True
        self._ended_as = Status.FAILED, "It ended in a way that cannot be told"
        atexit._clear()  # what the libraries registered is the zygote's
        ended = self.run(source, number=1)
        peaks = ended.usage.memory_bytes, self._early_peak_bytes, self._meter.read_copied()
        usage = ended.usage._replace(memory_bytes=max(peaks))
        if ended.status is Status.OUT_OF_MEMORY:
            return ended._replace(usage=usage)
        status, result = self._ended_as or (Status.DONE, None)
        return ended._replace(status=status, result=result, usage=usage)

    def _split(self, source: str, flags: int) -> tuple[CodeType, None]:
        gc.disable()  # a tree is many objects, none of them garbage
        try:
            tree = parse(source, flags)
            finding = policy.examine(tree, source, frozenset(self._terms.modules))
            if finding.violations:
                raise _Refused(finding)
            tier = tiers.needed(finding.packages)
            if tier not in self._terms.tiers:
                raise _Elsewhere(tier)
            code = translate(tree, flags)
        except MemoryError:
            # The parser says the same when its own stack is full.
            self._early_peak_bytes, _ = self._meter.read()
            if self._early_peak_bytes > self._meter.limit_bytes // 2:
                raise
            raise RecursionError(_TOO_DEEP) from None
        finally:
            gc.enable()
        self._has_begun = True
        self._has_own_code = any(isinstance(constant, CodeType) for constant in code.co_consts)
        return code, None

    def _evaluate(self, source: str) -> None:
        super()._evaluate(source)
        self._ended_as = None

    def _finish(self) -> None:
        if self._is_last and self._has_begun:
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
            super()._finish()
            # Then the names go, and what has a finalizer tells its last; in it, all of them are still there.
            sys.last_type = sys.last_value = sys.last_traceback = None
            sys.modules.pop("__main__", None)
            self.locals = {}
            if self._has_own_code:  # nothing else of a program can have a say in it
                gc.collect()
        super()._finish()

    def _report(self, error: BaseException) -> None:
        if type(error) is _Refused:
            say(error.finding.report)
            self._ended_as = Status.FAILED, error.finding.sentence
        elif type(error) is _Elsewhere:
            self._ended_as = Status.ELSEWHERE, error.tier
        else:
            if not self._has_begun:
                error.__traceback__ = None  # it shows our frames only, and CPython prints none
            self._ended_as = Status.FAILED, self._sentence(error)
            if issubclass(type(error), SystemExit) and not exit_code(error):
                self._ended_as = None
            super()._report(error)

    def _sentence(self, error: BaseException) -> str:
        """Which error it was, and where: `NameError on line 1`."""
        name = class_name(type(error))[:_MOST_NAME_CHARS].encode("utf-8", "backslashreplace").decode()
        if not self._has_begun and type(error) is RecursionError:
            return f"{name}: {_TOO_DEEP}"
        line = last_line(error)
        if line is None and type(error) in _SYNTAX_ERRORS:
            line = error.lineno  # type: ignore[attr-defined] # its type tells
        return name if line is None else f"{name} on line {line}"
