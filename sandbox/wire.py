"""The grammar of the two queues: a 4-byte length, then a body of fixed fields and texts, big-endian.

A request is its code in UTF-8; a run's goes behind a frame with its terms, in JSON. An answer is a head of fixed
fields, the printed texts if they are short (else they stay on the tapes), the result in UTF-8, and the rich outputs as
JSON. The answer side is written by code that nobody trusts: bounded, each field checked, never pickled.
"""

import json
import json.encoder
import json.scanner
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sandbox.limits import REQUEST_FRAME_BYTES
from sandbox.outcome import Ended, Status, Usage

_LENGTH = struct.Struct(">I")
# Kind, status, truncated, texts inside, wall, memory, out, err, mark, threads, result bytes.
_HEAD = struct.Struct(">BB??dQQQQQi")
_READY, _CANNOT, _ANSWER = range(3)
_STATUSES = tuple(Status)
_NUMBERS = {status: number for number, status in enumerate(_STATUSES)}
_NO_RESULT = -1
_COUNT_MAX = 2**53  # the largest integer that JSON carries exactly everywhere
_MOST_OUTPUTS = 256

# The C parts of json, made once: user code may patch the module that it shares with us.
_chunks = json.encoder.c_make_encoder(  # type: ignore[attr-defined]
    None, repr, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, False
)
_scan = json.scanner.c_make_scanner(json.JSONDecoder())  # type: ignore[attr-defined]

# Possessive throughout, and a string that does not end is one too: it never tries a place twice.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_CHEAP_BYTES = 64 * 1024  # whatever such a body holds, it is parsed in a few milliseconds
_MOST_STRINGS, _MOST_AROUND_BYTES = 4096, 64 * 1024


class Terms(NamedTuple):
    """What one run may do."""

    memory_bytes: int
    modules: Sequence[str]  # that it may import
    tiers: Sequence[str]  # for which this worker is the right one


class WireError(Exception):
    """The other side broke the grammar."""


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
        if not buffer and 4 <= len(data) == _LENGTH.unpack_from(data)[0] + 4 <= self._most + 4:
            return [data[4:]]  # one whole frame, as nearly always
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
    body = code.encode("utf-8", "surrogatepass")
    if len(body) > REQUEST_FRAME_BYTES:
        raise WireError(f"a request of {len(body)} bytes; at most {REQUEST_FRAME_BYTES} are sent")
    return _LENGTH.pack(len(body)) + body


def parse_request(body: bytes) -> str:
    """The code in a request's body."""
    return body.decode("utf-8", "surrogatepass")


def terms(of_run: Terms) -> bytes:
    """The frame that tells a worker under which terms the run behind it is."""
    body = json.dumps(of_run._asdict()).encode()
    return _LENGTH.pack(len(body)) + body


def read_terms(read: Callable[[int], bytes]) -> Terms | None:
    """The terms in the next frame, and not a byte of what follows; None at the end of the queue."""
    head = read(_LENGTH.size)
    return Terms(**json.loads(_read_exactly(read, _LENGTH.unpack(head)[0]))) if head else None


def ready() -> bytes:
    """The frame by which a worker says that it can be asked."""
    return _frame(_READY, b"")


def cannot(why: str) -> bytes:
    """The frame by which a worker says why it will never be ready."""
    return _frame(_CANNOT, why.encode())


def parse_birth(body: bytes) -> str | None:
    """None for a worker that is ready, else why it will never be. Raises WireError for anything else."""
    kind, text = body[:1], body[1:1000]
    if kind == bytes([_READY]):
        return None
    if kind == bytes([_CANNOT]):
        return text.decode("utf-8", "backslashreplace")
    raise WireError("it did not say that it is ready")


def answer(ended: Ended) -> bytes:
    """The frame that reports one execution."""
    result = b"" if ended.result is None else ended.result.encode()
    head = _HEAD.pack(
        _ANSWER,
        _NUMBERS[ended.status],
        ended.truncated,
        ended.text is not None,
        ended.usage.wall_s,
        ended.usage.memory_bytes,
        ended.stdout_bytes,
        ended.stderr_bytes,
        ended.mark_bytes,
        ended.threads,
        _NO_RESULT if ended.result is None else len(result),
    )
    text = ended.text or b""
    outputs = "".join(_chunks(ended.outputs, 0)).encode("ascii") if ended.outputs else b""
    length = len(head) + len(text) + len(result) + len(outputs)
    return b"".join((_LENGTH.pack(length), head, text, result, outputs))


def parse_answer(body: bytes) -> Ended:
    """What the worker reports, each field checked. Raises WireError naming the first one that is wrong."""
    try:
        kind, status, truncated, inside, wall, memory, out, err, mark, threads, length = _HEAD.unpack_from(body)
    except struct.error as error:
        raise WireError("an answer that is too short") from error
    if kind != _ANSWER or status >= len(_STATUSES):
        raise WireError("an unknown kind or status")
    if not 0.0 <= wall < _COUNT_MAX:
        raise WireError("wall is not a number of seconds")
    if max(memory, out, err, mark, threads) > _COUNT_MAX:
        raise WireError("a count that is too large")
    begin = _HEAD.size + (out + err if inside else 0)
    end = begin + max(length, 0)
    if length < _NO_RESULT or end > len(body):
        raise WireError("texts that do not fit their frame")
    result = None
    if length != _NO_RESULT:
        try:
            result = body[begin:end].decode()
        except UnicodeDecodeError as error:
            raise WireError("result is not UTF-8") from error
    outputs = _outputs(body[end:]) if end < len(body) else []
    text = body[_HEAD.size : begin] if inside else None
    return Ended(_STATUSES[status], Usage(wall, memory), out, err, mark, truncated, result, outputs, threads, text)


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


def _read_exactly(read: Callable[[int], bytes], length: int) -> bytes:
    data = b""
    while len(data) < length and (more := read(length - len(data))):
        data += more
    return data


def _frame(kind: int, text: bytes) -> bytes:
    return _LENGTH.pack(1 + len(text)) + bytes([kind]) + text


def _outputs(data: bytes) -> list[dict[str, Any]]:
    """The MIME bundles in the JSON behind an answer. Raises WireError for anything else, however large, deep or odd."""
    if not is_simple(data):
        raise WireError("outputs of too many values")
    try:
        text = data.decode()
        outputs, end = _scan(text, 0)
    except (ValueError, RecursionError, StopIteration) as error:
        raise WireError(f"outputs are not JSON: {type(error).__name__}") from error
    if end != len(text) or not isinstance(outputs, list) or len(outputs) > _MOST_OUTPUTS:
        raise WireError("outputs is not a list of some MIME bundles")
    for bundle in outputs:
        if not isinstance(bundle, dict) or not all(_is_text(k) and _is_text(v) for k, v in bundle.items()):
            raise WireError("an output is not a MIME bundle of texts")
    return outputs


def _is_text(value: object) -> bool:
    """Text that can be sent on as UTF-8: JSON may carry lone surrogates in escapes."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
