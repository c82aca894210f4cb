"""The console: what is typed runs in a session, and is shown as it happens."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from pyrunner_client import colours
from pyrunner_client.answers import Done
from pyrunner_client.ctrl_c import CtrlC
from pyrunner_client.errors import PyRunnerError, SessionLost, SessionNotFound
from pyrunner_client.prompt import Prompt
from pyrunner_client.screen import Screen
from pyrunner_client.session import Session

_VERSION = "__import__('sys').version.partition(' ')[0]"
_QUESTION = re.compile(r"\s*([\w.]+)\?+\s*\Z")
_KEYS = "Ctrl-C interrupts, Ctrl-D ends, TAB completes, name? explains"
_LEFT = "Nobody waits any longer; the server interrupts what runs."


class Console:
    """Lines from a terminal run in a session. One that is lost is replaced by a new one, and that is told."""

    def __init__(self, url: str, timeout: float | None, screen: Screen, key: str | None = None) -> None:
        self._url = url
        self._timeout = timeout
        self._screen = screen
        self._key = key
        self._session = Session(url, timeout=timeout, key=key)

    def run(self) -> int:
        """Until Ctrl-D. The exit status."""
        try:
            self._begin()
        except PyRunnerError as error:
            self._screen.say(str(error))
            return 1
        paint = colours.paint if colours.wanted(sys.stdout) else colours.plain
        prompt = Prompt(self._complete, paint)
        with CtrlC(self._screen) as ctrl_c, prompt.editing():
            try:
                while True:
                    self._step(prompt, ctrl_c)
            except EOFError:
                print()
            finally:
                self._session.close()
        return 0

    def _begin(self) -> None:
        """Open a session."""
        session = Session(self._url, timeout=self._timeout, key=self._key)
        version = (session.run(_VERSION).result or "").strip("'")
        self._session.close()
        self._session = session
        self._screen.say(f"Python {version} in a new session at {session.url}. {_KEYS}.", "2")

    def _step(self, prompt: Prompt, ctrl_c: CtrlC) -> None:
        try:
            with ctrl_c.typing():
                source = prompt.read()
        except KeyboardInterrupt:
            self._screen.say("KeyboardInterrupt")
            return
        if not source.strip():
            return
        try:
            question = _QUESTION.match(source)
            if question:
                self._explain(question[1])
            else:
                self._execute(source, ctrl_c)
        except KeyboardInterrupt:
            self._screen.say(_LEFT)
        except SessionLost as lost:
            self._tell_loss(lost)
        except PyRunnerError as error:
            self._screen.say(str(error))

    def _execute(self, source: str, ctrl_c: CtrlC) -> None:
        with ctrl_c.running(self._session):
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
            self._screen.say(f"there is nothing at {text!r}")
        else:
            said = (f"{found.name}{found.signature or ''}", found.doc)
            self._screen.tell("\n".join(part for part in said if part))

    def _complete(self, text: str, cursor: int) -> tuple[Sequence[str], int]:
        try:
            completion = self._session.complete(text, cursor)
        except PyRunnerError:  # no words then; the next line tells what is wrong
            return (), cursor
        return completion.names, completion.start


def run_program(url: str, timeout: float | None, source: str, screen: Screen, key: str | None = None) -> int:
    """Run a program that is not typed, as `python -` does. The exit status: 1 if it failed."""
    status = 0
    try:
        session = Session(url, timeout=timeout, key=key)
        with CtrlC(screen) as ctrl_c, session, ctrl_c.running(session):
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
    except KeyboardInterrupt:
        screen.say(_LEFT)
        status = 1
    screen.end()
    return status
