"""Signals act in user code only.

In between, the main thread blocks them, and the user's handlers are put aside where threads of the user's, with a
mask of their own, could still set them off. SIGINT is ignored: one that comes too late for its execution is gone.
One that comes too early for its execution is not lost, because the server notes on the tape which one it means.
"""

import _signal  # type: ignore[import-not-found] # signal's own functions make enums, and take ten times as long
import _thread
from typing import Any

_BLOCKED = frozenset(_signal.valid_signals()) - {_signal.SIGKILL, _signal.SIGSTOP}


class Signals:
    """Opens and closes the door between signals and user code. The door is closed when it is made."""

    def __init__(self) -> None:
        self._mask: set[int] = _signal.pthread_sigmask(_signal.SIG_BLOCK, _BLOCKED)
        self._handlers: dict[int, Any] = {_signal.SIGINT: _signal.default_int_handler}
        self._noted: set[int] = set()
        self._noting = self._note
        _signal.signal(_signal.SIGINT, _signal.SIG_IGN)

    def admit(self, *, interrupted: bool) -> None:
        """From here on signals act. `interrupted`: the interrupt for this execution has come already."""
        handlers, self._handlers = self._handlers, {}
        for signum, handler in handlers.items():
            _signal.signal(signum, handler)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._mask)
        noted, self._noted = self._noted, set()
        for signum in noted:
            _signal.raise_signal(signum)
        if interrupted:
            _signal.raise_signal(_signal.SIGINT)

    def exclude(self) -> BaseException | None:
        """From here on none does. Returns what a handler of the user's raised meanwhile."""
        late = None
        blocked = False
        while True:
            try:
                if not blocked:
                    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, _BLOCKED)
                    if mask != _BLOCKED:
                        self._mask = mask
                    blocked = True
                self._put_aside(_signal.SIGINT, _signal.SIG_IGN)
                if _thread._count():
                    for signum in _BLOCKED - {_signal.SIGINT}:
                        if callable(_signal.getsignal(signum)):
                            self._put_aside(signum, self._noting)
                return late
            except BaseException as raised:
                late = raised

    def _put_aside(self, signum: int, instead: Any) -> None:
        handler = _signal.getsignal(signum)
        if handler != instead:
            self._handlers.setdefault(signum, handler)
            _signal.signal(signum, instead)

    def _note(self, signum: int, frame: object) -> None:
        self._noted.add(signum)
