"""The grammar of the two queues: a 4-byte big-endian length, then one JSON object.

The answer side is written by code that nobody trusts: bounded, each field checked, never pickled.
"""

import json.encoder
import json.scanner
import re
import struct
from typing import Any

from sandbox.limits import REQUEST_FRAME_BYTES
from sandbox.outcome import Ended, Status, Usage

_LENGTH = struct.Struct(">I")
# The C parts of json, made once: user code may patch the module that it shares with us.
_chunks = json.encoder.c_make_encoder(  # type: ignore[attr-defined]
    None, repr, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, False
)
_scan = json.scanner.c_make_scanner(json.JSONDecoder())  # type: ignore[attr-defined]
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_CHEAP_BYTES = 64 * 1024  # whatever such a body holds, it is parsed in a few milliseconds
_MOST_STRINGS, _MOST_AROUND_BYTES = 4096, 64 * 1024
_MOST_OUTPUTS = 256
_COUNT_MAX = 2**53  # the largest integer that JSON carries exactly everywhere


class WireError(Exception):
    """The other side broke the grammar."""


def frame(message: dict[str, Any]) -> bytes:
    """The bytes of one message: a dict of JSON values in, length and body out."""
    body = "".join(_chunks(message, 0)).encode("ascii")
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Cuts a stream of bytes into frame bodies, holding at most one frame of `most` bytes."""

    __slots__ = ("_buffer", "_most")

    def __init__(self, most: int) -> None:
        self._buffer = bytearray()
        self._most = most

    @property
    def holds_half_a_frame(self) -> bool:
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that `data` completes, in order.

        Raises WireError when a length is larger than `most`.
        """
        buffer = self._buffer
        buffer += data
        bodies = []
        while len(buffer) >= 4:
            (length,) = _LENGTH.unpack_from(buffer)
            if length > self._most:
                raise WireError(f"a frame of {length} bytes; at most {self._most} are read")
            if len(buffer) < 4 + length:
                break
            bodies.append(bytes(buffer[4 : 4 + length]))
            del buffer[: 4 + length]
        return bodies


def request(code: str) -> bytes:
    """The frame that asks for one execution. Raises WireError when it is longer than the worker would read."""
    data = frame({"code": code})
    if len(data) > REQUEST_FRAME_BYTES:
        raise WireError(f"a request of {len(data)} bytes; at most {REQUEST_FRAME_BYTES} are sent")
    return data


def answer(ended: Ended) -> bytes:
    """The frame that reports one execution."""
    return frame(
        {
            "status": ended.status,
            "wall": ended.usage.wall_s,
            "memory": ended.usage.memory_bytes,
            "out": ended.stdout_bytes,
            "err": ended.stderr_bytes,
            "mark": ended.mark_bytes,
            "truncated": ended.truncated,
            "result": ended.result,
            "outputs": ended.outputs,
            "threads": ended.threads,
        }
    )


def is_simple(body: bytes) -> bool:
    """Whether JSON is no more than some strings and a little around them, so that parsing it takes no time.

    Looks at large ones only, and not further than it takes to tell.
    """
    if len(body) <= _CHEAP_BYTES:
        return True
    around = end = 0
    for count, string in enumerate(_STRING.finditer(body)):
        around += string.start() - end
        end = string.end()
        if count > _MOST_STRINGS or around > _MOST_AROUND_BYTES:
            return False
    return around + len(body) - end <= _MOST_AROUND_BYTES


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object in a frame body. Raises WireError for anything else, however large, deep or odd."""
    if not is_simple(body):
        raise WireError("too many values")
    try:
        text = body.decode()
        message, end = _scan(text, 0)
    except (ValueError, RecursionError, StopIteration) as error:
        raise WireError(f"not JSON: {type(error).__name__}") from error
    if end != len(text):
        raise WireError("more than one JSON value")
    if not isinstance(message, dict):
        raise WireError(f"a JSON object was due, not {type(message).__name__}")
    return message


def parse_answer(body: bytes) -> Ended:
    """What the worker reports, each field checked. Raises WireError naming the first one that is wrong."""
    message = parse(body)
    result = message.get("result")
    if not (result is None or _is_text(result)):
        raise WireError("result is neither text nor null")
    truncated = message.get("truncated")
    if not isinstance(truncated, bool):
        raise WireError("truncated is not a boolean")
    wall = message.get("wall")
    if type(wall) is not float or not 0 <= wall < _COUNT_MAX:
        raise WireError("wall is not a number of seconds")
    return Ended(
        _status(message),
        Usage(wall, _count(message, "memory")),
        _count(message, "out"),
        _count(message, "err"),
        _count(message, "mark"),
        truncated,
        result,
        _outputs(message),
        _count(message, "threads"),
    )


def _status(message: dict[str, Any]) -> Status:
    try:
        return Status(str(message.get("status")))
    except ValueError as error:
        raise WireError("an unknown status") from error


def _count(message: dict[str, Any], key: str) -> int:
    value = message.get(key)
    if type(value) is not int or not 0 <= value <= _COUNT_MAX:
        raise WireError(f"{key} is not a count")
    return value


def _is_text(value: object) -> bool:
    """Text that can be sent on as UTF-8: JSON may carry lone surrogates in escapes."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _outputs(message: dict[str, Any]) -> list[dict[str, Any]]:
    outputs = message.get("outputs")
    if not isinstance(outputs, list) or len(outputs) > _MOST_OUTPUTS:
        raise WireError("outputs is not a list of some MIME bundles")
    for bundle in outputs:
        if not isinstance(bundle, dict) or not all(_is_text(k) and _is_text(v) for k, v in bundle.items()):
            raise WireError("an output is not a MIME bundle of texts")
    return outputs
