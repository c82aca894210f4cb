"""What a person sees of an execution: its events, as they happen."""

from __future__ import annotations

from typing import TextIO

from pyrunner_client import colours
from pyrunner_client.answers import Bundle, Display, Event, Result, Stderr, Stdout


class Screen:
    """Writes to `out` and `err`: harmless where it is a terminal, coloured where that is wanted."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = _Stream(out)
        self._err = _Stream(err)
        self._in_line = False  # the terminal's cursor stands behind some text
        self._displayed = ""  # the text of the last rich output

    def show(self, event: Event) -> None:
        """Show an event; of the last one, what no other has shown."""
        if isinstance(event, Stdout):
            self._put(self._out, self._out.made(event.text))
        elif isinstance(event, Stderr):
            self._put(self._err, self._err.painted_traceback(self._err.made(event.text)))
        elif isinstance(event, Display):
            self._displayed = _text_of(event.bundle)
            self._line(self._out, self._displayed)
        else:
            self._end_of(event.result)

    def say(self, sentence: str, colour: str = "33") -> None:
        """Tell something that no code has printed."""
        self.end()
        self._put(self._err, self._err.paint(self._err.made(sentence), colour) + "\n")

    def tell(self, text: str) -> None:
        """Something that was asked for."""
        self._line(self._out, text)

    def echoed(self) -> None:
        """The terminal has shown a key that was pressed."""
        self._in_line = self._err.is_terminal

    def end(self) -> None:
        """What comes next begins a line."""
        for stream in (self._out, self._err):
            self._put(stream, stream.held())
        if self._in_line:
            self._put(self._out if self._out.is_terminal else self._err, "\n")
        self._displayed = ""

    def _end_of(self, result: Result) -> None:
        if result.result is not None and result.result != self._displayed:
            self._line(self._out, result.result)
        if result.truncated:
            self.say("[some output was dropped at the server's limit]")
        if result.error is not None:
            self.say(f"{result.failure}; the variables are kept")
        self.end()

    def _line(self, stream: _Stream, text: str) -> None:
        displayed = self._displayed
        self.end()
        self._put(stream, stream.made(text) + "\n")
        self._displayed = displayed

    def _put(self, stream: _Stream, text: str) -> None:
        if text:
            stream.file.write(text)
            stream.file.flush()
            self._in_line = stream.is_terminal and not text.endswith("\n")


class _Stream:
    def __init__(self, file: TextIO) -> None:
        self.file = file
        self.is_terminal = file.isatty()
        self._harmless = colours.Harmless()
        paints = colours.wanted(file)
        self.paint = colours.paint if paints else colours.plain
        self.painted_traceback = colours.traceback if paints else str

    def made(self, text: str) -> str:
        """The text as it may go to the file."""
        return self._harmless.text(text) if self.is_terminal else text

    def held(self) -> str:
        """What was held back, for it seemed to be the beginning of something."""
        return self._harmless.rest()


def _text_of(bundle: Bundle) -> str:
    return bundle.get("text/plain") or f"<{', '.join(bundle)}>"
