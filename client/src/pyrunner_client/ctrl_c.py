"""What Ctrl-C does, from moment to moment: it drops what is typed, or interrupts what runs over there, or nothing."""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from types import FrameType, TracebackType

from pyrunner_client.errors import PyRunnerError
from pyrunner_client.screen import Screen
from pyrunner_client.session import Session

_OVER = 0  # in the place of a press
_SENT = 2  # presses that are sent on; one more, and nobody waits any longer


class CtrlC:
    """Takes SIGINT as long as it is entered. Outside of `typing` and `running` a press does nothing.

    In the default's place, for a KeyboardInterrupt anywhere would end the console and leave its session behind.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._act: Callable[[], None] | None = None

    def __enter__(self) -> CtrlC:
        self._before = signal.signal(signal.SIGINT, self._pressed)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    @contextmanager
    def typing(self) -> Iterator[None]:
        """A press raises KeyboardInterrupt, once."""
        with self._meaning(self._raise):
            yield

    @contextmanager
    def running(self, session: Session) -> Iterator[None]:
        """A press interrupts what runs in the session. After some, it raises KeyboardInterrupt."""
        presses: SimpleQueue[int] = SimpleQueue()  # a signal may come while another is handled: no lock is safe here
        numbers = itertools.count(1)
        over = threading.Event()

        def send() -> None:
            while (number := presses.get()) != _OVER:
                if number == _SENT:
                    self._screen.say("It has not ended yet. Once more Ctrl-C, and nobody waits any longer.")
                with suppress(PyRunnerError):  # the stream tells what is wrong
                    while not over.is_set() and not session.interrupt():  # it may not have begun
                        over.wait(0.05)

        def press() -> None:
            number = next(numbers)
            if number > _SENT:
                self._raise()
            presses.put(number)

        sender = threading.Thread(target=send, name="interrupts")
        sender.start()
        try:
            with self._meaning(press):
                yield
        finally:
            over.set()
            presses.put(_OVER)
            sender.join()

    @contextmanager
    def _meaning(self, act: Callable[[], None]) -> Iterator[None]:
        self._act = act
        try:
            yield
        finally:
            self._act = None

    def _pressed(self, signum: int, frame: FrameType | None) -> None:
        self._screen.echoed()  # ^C
        if self._act is not None:
            self._act()

    def _raise(self) -> None:
        self._act = None
        raise KeyboardInterrupt
