"""The log: one event a line, as text for people or as JSON for what collects it.

Who logs names the event; the request and the session that it belongs to are known from the context that it happens in.
The text of an exception is left out where it may quote what somebody sent: code and its output are in no line.
"""

import asyncio
import logging
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

from pythonjsonlogger.json import JsonFormatter

from cluster.context import REQUEST, SESSION

Form = Literal["text", "json"]
_Caught = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

address = logging.getLogger("server.address")  # where the server listens is told at every level
uncaught = logging.getLogger("server.uncaught")

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_NAMES = {"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "exception", "stack_info": "stack"}
_QUOTING = (ValueError, LookupError, SyntaxError)  # their texts hold values: those of pydantic, codecs and JSON as well
_LEFT_OUT = "(its text is left out: it may quote a request)"


def begin(form: Form, level: str, role: str) -> None:
    """Send the log of this process to stderr as text, or to stdout as JSON; each line is out when it is logged."""
    handler = logging.StreamHandler(sys.stdout if form == "json" else sys.stderr)
    handler.setFormatter(_Json(role) if form == "json" else _Text(_TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.captureWarnings(True)
    address.setLevel(logging.INFO)
    sys.excepthook = _on_uncaught


def on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The event loop's handler for what nobody awaits. Its own one prints objects whole, exceptions among them."""
    uncaught.error("%s", context["message"], exc_info=context.get("exception"))


def rfc3339(seconds: float) -> str:
    """A moment since the epoch, in UTC and to the microsecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


class _Text(logging.Formatter):
    def formatException(self, ei: Any) -> str:
        return _exception(ei)


class _Json(JsonFormatter):
    """One JSON object a line."""

    def __init__(self, role: str) -> None:
        fields = ("asctime", "levelname", "name", "message")
        super().__init__(fields, rename_fields=_NAMES, static_fields={"role": role})

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return rfc3339(record.created)

    def formatException(self, ei: Any) -> str:
        return _exception(ei)

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        super().add_fields(log_data, record, message_dict)
        for variable in (REQUEST, SESSION):
            if (id := variable.get()) is not None:
                log_data.setdefault(variable.name, id)


def _exception(caught: _Caught) -> str:
    _, error, _ = caught
    return "no exception" if error is None else "".join(_lines(error)).rstrip()


def _lines(error: BaseException) -> list[str]:
    """As the interpreter prints it, but for texts that may quote."""
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    lines = [] if earlier is None else [*_lines(earlier), "\nand then, because of it or while it was handled:\n\n"]
    lines += ["Traceback (most recent call last):\n", *traceback.format_tb(error.__traceback__)]
    text = _LEFT_OUT if isinstance(error, _QUOTING) else str(error)
    lines.append(f"{type(error).__qualname__}: {text}\n")
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            lines += ["\none of the group:\n\n", *_lines(one)]
    return lines


def _on_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    uncaught.critical("the process ends by an exception", exc_info=error)
