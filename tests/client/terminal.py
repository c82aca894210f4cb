"""A real terminal with the console in it: keys go in, and what is shown comes out."""

import fcntl
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CLIENT = Path(__file__).resolve().parents[2] / "client" / "src"
CTRL_C, CTRL_D, TAB, UP = "\x03", "\x04", "\t", "\x1b[A"
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\r|\x07")  # colours, bracketed paste, the bell


def environment(home: Path, **more: str) -> dict[str, str]:
    """For a console that knows nothing of the developer's."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "INPUTRC")}
    own = {"PYTHONPATH": str(CLIENT), "HOME": str(home), "XDG_STATE_HOME": str(home), "TERM": "xterm"}
    return kept | own | {"INPUTRC": os.devnull, "PYTHONIOENCODING": "utf-8", "LC_ALL": "C.UTF-8"} | more


class Terminal:
    """`python -m pyrunner_client URL` on a terminal of its own, from which Ctrl-C is a signal."""

    def __init__(self, url: str, home: Path, *arguments: str, **env: str) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (50, 200))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pyrunner_client", url, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(home, **env),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        self.raw = ""
        self._seen = 0

    @property
    def text(self) -> str:
        """All that was shown, without colours."""
        return _CONTROLS.sub("", self.raw)

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def enter(self, line: str) -> str:
        """Type a line; what is shown behind it up to the next prompt."""
        self.press(line + "\n")
        self.wait_for("\n")
        return self.wait_for_prompt()

    def wait_for_prompt(self) -> str:
        return self.wait_for(">>> ")

    def wait_for(self, text: str) -> str:
        """What is shown up to that text, from where the last wait ended."""
        shown = self._shown_before(text, 20)
        assert shown is not None, f"no {text!r} in {self.text[self._seen :]!r}"
        return shown

    def press_until(self, keys: str, text: str) -> None:
        """Press until that is shown: not too fast, for a terminal drops what is on its way when Ctrl-C comes."""
        self.press(keys)
        while self._shown_before(text, 1) is None:
            self.press(keys)

    def leave(self) -> int:
        """Press Ctrl-D until it ends, for between two prompts the terminal takes it for itself; the exit status."""
        alive = True
        while alive:
            with suppress(OSError):  # it has ended
                self.press(CTRL_D)
            alive = self._read(0.2) is not False
        return self.process.wait(20)

    def end(self) -> int:
        """Wait for its end; the exit status."""
        while self._read(20.0) is True:
            pass
        return self.process.wait(20)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(20)
        os.close(self._ours)

    def _shown_before(self, text: str, seconds: float) -> str | None:
        deadline = time.monotonic() + seconds
        while (place := self.text.find(text, self._seen)) < 0:
            if time.monotonic() > deadline or self._read(0.1) is False:
                return None
        shown = self.text[self._seen : place]
        self._seen = place + len(text)
        return shown

    def _read(self, seconds: float) -> bool | None:
        """True: something was shown; None: nothing for so long; False: it has ended."""
        if not select.select([self._ours], [], [], seconds)[0]:
            return None
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # Linux says so when the other end is closed
            return False
        self.raw += data.decode(errors="replace")
        return bool(data)


@contextmanager
def console(url: str, home: Path, *arguments: str, **env: str) -> Iterator[Terminal]:
    """A console that waits at its first prompt."""
    terminal = Terminal(url, home, *arguments, **env)
    try:
        terminal.wait_for_prompt()
        yield terminal
    finally:
        terminal.close()
