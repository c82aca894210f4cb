"""Signals act in user code only.

In between, SIGINT is ignored, so that one that comes too late for its execution is gone; one that comes too early
is not lost, because the server notes on the tape which execution it means. Timers of the user's are blocked, and go
off when the next execution begins. Where there are threads of the user's, with masks of their own, all handlers are
put aside, for Python runs them in the main thread, wherever that is.
"""

import _signal  # type: ignore[import-not-found] # signal's own functions make enums, and take ten times as long
import _thread
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_SIGINT = _signal.SIGINT
_TIMERS = frozenset((_signal.SIGALRM, _signal.SIGVTALRM, _signal.SIGPROF))
_ALL = frozenset(_signal.valid_signals()) - {_SIGINT, _signal.SIGKILL, _signal.SIGSTOP}


class Signals:
    """Opens and closes the door between signals and user code. The door is closed when it is made."""

    def __init__(self) -> None:
        _signal.signal(_SIGINT, _signal.SIG_IGN)
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _TIMERS)
        self._unblock = _TIMERS
        self._may_be_pending = False
        self._handlers: dict[int, Any] = {_SIGINT: _signal.default_int_handler}
        self._noted: set[int] = set()
        self._noting = self._note

    def admit(self, is_wanted: Callable[[], bool]) -> None:
        """From here on signals act. `is_wanted`: whether the interrupt for this execution was sent already."""
        if self._may_be_pending:
            _signal.signal(_SIGINT, _signal.SIG_IGN)  # again: it drops what the user's own mask has kept
        handlers, self._handlers = self._handlers, {}
        for signum, handler in handlers.items():
            _signal.signal(signum, handler)
        # Read behind that: the server notes it first and sends it then, so it is either noted or on its way.
        interrupted = is_wanted()
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, self._unblock)
        noted, self._noted = self._noted, set()
        for signum in noted:
            _signal.raise_signal(signum)
        if interrupted:
            _signal.raise_signal(_SIGINT)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Meanwhile none acts; those that come are noted, and act when this ends. For the main thread."""
        before: dict[int, Any] = {}
        try:
            for signum in (_SIGINT, *_TIMERS):
                before[signum] = _signal.getsignal(signum)
                _signal.signal(signum, self._noting)
            yield
        finally:
            self._release(before)

    def _release(self, handlers: dict[int, Any]) -> None:
        """Put handlers back, whatever those that are back already raise meanwhile, and let the noted signals act."""
        late = None
        while handlers:
            try:
                for signum in tuple(handlers):
                    _signal.signal(signum, handlers[signum])
                    del handlers[signum]
            except BaseException as raised:
                late = raised
        noted, self._noted = self._noted, set()
        try:
            for signum in noted - {_SIGINT}:
                _signal.raise_signal(signum)
            if late is not None:
                raise late
        finally:
            if _SIGINT in noted:
                _signal.raise_signal(_SIGINT)

    def exclude(self) -> BaseException | None:
        """From here on none does. Returns what a handler of the user's raised meanwhile."""
        late = None
        blocked = None
        while True:
            try:
                if blocked is None:
                    blocked = _signal.pthread_sigmask(_signal.SIG_BLOCK, _TIMERS)
                    self._unblock = _TIMERS - blocked
                    self._may_be_pending = _SIGINT in blocked
                if _SIGINT not in self._handlers:
                    self._handlers[_SIGINT] = _signal.getsignal(_SIGINT)
                _signal.signal(_SIGINT, _signal.SIG_IGN)
                if _thread._count():
                    for signum in _ALL:
                        if callable(_signal.getsignal(signum)):
                            self._put_aside(signum, self._noting)
                return late
            except BaseException as raised:
                late = raised

    def _put_aside(self, signum: int, instead: Any) -> None:
        handler = _signal.getsignal(signum)
        if handler is not instead:
            self._handlers.setdefault(signum, handler)
            _signal.signal(signum, instead)

    def _note(self, signum: int, frame: object) -> None:
        self._noted.add(signum)
