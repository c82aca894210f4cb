"""Reading what a person types: several lines where Python needs them, history, completion."""

from __future__ import annotations

import os
import warnings
from codeop import compile_command
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

readline: ModuleType | None
try:
    import readline
except ImportError:  # Windows: lines can be typed, but nothing is remembered or completed
    readline = None

_MOST_LINES = 2000  # of history
_DELIMITERS = " \t\n`~!@#$%^&*()-=+[{]}\\|;:'\",<>/?"
_INDENT = "    "

# Names that may stand at the cursor, and from where on: `complete(text, cursor)`.
Completer = Callable[[str, int], "tuple[Sequence[str], int]"]


class Prompt:
    """A prompt on the terminal. `paint`: how its signs are coloured."""

    def __init__(self, complete: Completer, paint: Callable[[str, str], str]) -> None:
        self._complete = complete
        self._first, self._next = (_invisible(paint(sign, "1;32")) + " " for sign in (">>>", "..."))
        self._before = ""  # the lines above the one that is typed
        self._found: list[str] = []

    def read(self) -> str:
        """What was typed, whole. Raises EOFError at its end (Ctrl-D), KeyboardInterrupt when it is dropped (Ctrl-C)."""
        self._before = ""
        source = input(self._first)
        while needs_more(source):
            self._before = source + "\n"
            source = self._before + input(self._next)
        return source

    @contextmanager
    def editing(self) -> Iterator[None]:
        """History and completion inside."""
        if readline is None:
            yield
            return
        readline.set_completer(self._completion)
        readline.set_completer_delims(_DELIMITERS)
        is_libedit = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")
        path = history_file()
        with suppress(OSError):  # none yet
            readline.read_history_file(path)
        readline.set_history_length(_MOST_LINES)
        try:
            yield
        finally:
            readline.set_completer(None)
            with suppress(OSError):  # a home that cannot be written to
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.touch(mode=0o600)
                readline.write_history_file(path)

    def _completion(self, word: str, number: int) -> str | None:
        assert readline is not None
        if number == 0:
            self._found = self._words(word, readline.get_line_buffer(), readline.get_begidx(), readline.get_endidx())
        return self._found[number] if number < len(self._found) else None

    def _words(self, word: str, line: str, begin: int, end: int) -> list[str]:
        if not line[:end].strip():
            return [word + _INDENT]
        names, start = self._complete(self._before + line, len(self._before) + end)
        place = start - len(self._before)  # in the line; readline replaces from `begin` on
        if place >= begin:
            return [line[begin:place] + name for name in names]
        return [name[begin - place :] for name in names]


def needs_more(source: str) -> bool:
    """Whether Python waits for another line. What is wrong is whole: the server says what is wrong with it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the server gives them
        try:
            return compile_command(source, "<stdin>", "single") is None
        except (SyntaxError, ValueError, OverflowError):
            pass
        try:  # several statements, pasted
            last = source.rpartition("\n")[2]
            return compile_command(source, "<stdin>", "exec") is None or last[:1].isspace()
        except (SyntaxError, ValueError, OverflowError):
            return False


def history_file() -> Path:
    """Where the lines that were typed are kept, by the XDG rules."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "pyrunner" / "history"


def _invisible(text: str) -> str:
    """The text with its colours marked for readline, so that it knows how wide the prompt is."""
    return text.replace("\x1b[", "\x01\x1b[").replace("m", "m\x02") if readline and "\x1b" in text else text
