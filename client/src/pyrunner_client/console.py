"""The console: what is typed runs in a session, and is shown as it happens."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType, TracebackType

from pyrunner_client import colours
from pyrunner_client.answers import Done
from pyrunner_client.errors import PyRunnerError, SessionLost, SessionNotFound
from pyrunner_client.prompt import Prompt
from pyrunner_client.screen import Screen
from pyrunner_client.session import Session

_VERSION = "__import__('sys').version.partition(' ')[0]"
_KEYS = "Ctrl-C interrupts, Ctrl-D ends, TAB completes, name? explains"
_PRESSES = 2  # of Ctrl-C that are sent on; one more, and the console does not wait any longer


class Console:
    """Lines from a terminal run in a session. One that is lost is replaced by a new one, and that is told."""

    def __init__(self, url: str, timeout: float | None, screen: Screen) -> None:
        self._url = url
        self._timeout = timeout
        self._screen = screen
        self._session = Session(url, timeout=timeout)

    def run(self) -> int:
        """Until Ctrl-D. The exit status."""
        try:
            self._begin()
        except PyRunnerError as error:
            self._screen.say(str(error))
            return 1
        paint = colours.paint if colours.wanted(sys.stdout) else colours.plain
        prompt = Prompt(self._complete, paint)
        with prompt.editing():
            try:
                while True:
                    self._step(prompt)
            except EOFError:
                print()
            finally:
                self._session.close()
        return 0

    def _begin(self) -> None:
        """Open a session."""
        session = Session(self._url, timeout=self._timeout)
        version = (session.run(_VERSION).result or "").strip("'")
        self._session.close()
        self._session = session
        self._screen.say(f"Python {version} in a new session at {session.url}. {_KEYS}.", "2")

    def _step(self, prompt: Prompt) -> None:
        try:
            source = prompt.read()
        except KeyboardInterrupt:
            self._screen.echoed()
            self._screen.say("KeyboardInterrupt")
            return
        if not source.strip():
            return
        try:
            if source.rstrip().endswith("?"):
                self._explain(source.rstrip().rstrip("?"))
            else:
                self._execute(source)
        except KeyboardInterrupt:
            self._screen.say("The console waits no longer; the server interrupts what runs.")
        except SessionLost as lost:
            self._tell_loss(lost)
        except PyRunnerError as error:
            self._screen.say(str(error))

    def _execute(self, source: str) -> None:
        with _CtrlC(self._session, self._screen):
            for event in self._session.stream(source):
                self._screen.show(event)

    def _tell_loss(self, lost: SessionLost) -> None:
        self._screen.say(f"{lost}. Its variables are gone.", "1;31")
        if isinstance(lost, SessionNotFound):
            self._screen.say("What you typed was not run; the arrow-up key brings it back.")
        try:
            self._begin()
        except PyRunnerError as error:
            self._screen.say(f"No new session: {error}")

    def _explain(self, text: str) -> None:
        found = self._session.inspect(text)
        if found.name is None:
            self._screen.say(f"there is nothing at {text.strip()!r}")
        else:
            said = (f"{found.name}{found.signature or ''}", found.doc)
            self._screen.tell("\n".join(part for part in said if part))

    def _complete(self, text: str, cursor: int) -> tuple[Sequence[str], int]:
        try:
            completion = self._session.complete(text, cursor)
        except PyRunnerError:  # no words then; the next line tells what is wrong
            return (), cursor
        return completion.names, completion.start


def run_program(url: str, timeout: float | None, source: str, screen: Screen) -> int:
    """Run a program that is not typed, as `python -` does. The exit status: 1 if it failed."""
    status = 0
    try:
        with Session(url, timeout=timeout) as session, _CtrlC(session, screen):
            for event in session.stream(source):
                if not isinstance(event, Done):
                    screen.show(event)
                elif event.result.failure is not None:
                    status = 1
                    if event.result.error is not None:
                        screen.say(event.result.failure)
    except PyRunnerError as error:
        screen.say(str(error))
        status = 1
    screen.end()
    return status


class _CtrlC:
    """While code runs, Ctrl-C interrupts it over there; the stream goes on and tells how it ended."""

    def __init__(self, session: Session, screen: Screen) -> None:
        self._session = session
        self._screen = screen
        self._over = threading.Event()
        self._senders: list[threading.Thread] = []

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGINT, self._pressed)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._before)
        self._over.set()
        for sender in self._senders:
            sender.join()

    def _pressed(self, signum: int, frame: FrameType | None) -> None:
        if len(self._senders) == _PRESSES:
            raise KeyboardInterrupt
        self._screen.echoed()  # ^C
        sender = threading.Thread(target=self._send, name="interrupt")
        self._senders.append(sender)
        sender.start()

    def _send(self) -> None:
        """Until it has met the execution, which may not have begun."""
        if len(self._senders) == _PRESSES:
            self._screen.say("It has not ended yet. Once more Ctrl-C, and the console waits no longer.")
        with suppress(PyRunnerError):  # the stream tells what is wrong
            while not self._over.is_set() and not self._session.interrupt():
                self._over.wait(0.05)
