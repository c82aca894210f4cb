"""The two queues' grammar: what is well formed arrives whole, and nothing else arrives at all."""

import json
import struct
from typing import Any

import pytest

from sandbox import wire
from sandbox.limits import ANSWER_FRAME_BYTES, REQUEST_FRAME_BYTES, SOURCE_CHARS
from sandbox.outcome import Ended, Status, Usage

ENDED = Ended(
    Status.DONE,
    Usage(0.25, 4096),
    stdout_bytes=3,
    stderr_bytes=2,
    mark_bytes=1,
    truncated=True,
    result="'é\\udc80'",
    outputs=[{"text/plain": "x", "image/png": "aGk="}, {}],
    threads=2,
)
ANSWER = json.loads(wire.answer(ENDED)[4:])

NOT_A_COUNT = [None, -1, 1.0, True, "1", [], {}, 2**53 + 1, 10**400]
NOT_TEXT = [0, 1.5, True, [], {}, ["x"], "\ud800", "a\udfffb"]
WRONG = {
    "status": [None, "", "DONE", "lost", 0, True, ["done"], {"done": 1}, "\ud800"],
    "wall": [None, -0.1, 1, True, "1.0", [], float("nan"), float("inf"), -float("inf"), 1e300],
    "memory": NOT_A_COUNT,
    "out": NOT_A_COUNT,
    "err": NOT_A_COUNT,
    "mark": NOT_A_COUNT,
    "threads": NOT_A_COUNT,
    "truncated": [None, 0, 1, "true", [], {}],
    "result": NOT_TEXT,
    "outputs": [
        None,
        0,
        "",
        "x",
        {},
        {"a": "b"},
        False,
        True,
        [None],
        [[]],
        ["x"],
        [{"a": 1}],
        [{"a": None}],
        [{"a": {"b": "c"}}],
        [{"a": "\ud800"}],
        [{"\ud800": "a"}],
        [{"a": "b"}, 3],
    ],
}


def framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def read_all(stream: bytes, most: int = 1000) -> list[bytes]:
    return wire.FrameReader(most).feed(stream)


def test_an_answer_arrives_as_it_was_sent() -> None:
    (body,) = read_all(wire.answer(ENDED))
    assert wire.parse_answer(body) == ENDED


def test_the_shortest_answer_arrives_as_it_was_sent() -> None:
    (body,) = read_all(wire.answer(Ended(Status.OUT_OF_MEMORY, Usage())))
    assert wire.parse_answer(body) == Ended(Status.OUT_OF_MEMORY, Usage())


@pytest.mark.parametrize("code", ["x = 1", "é🐍", "\0", "\ud800", "a\udfffb", "\u2028", '"\\\n'])
def test_any_code_arrives_as_it_was_sent(code: str) -> None:
    (body,) = read_all(wire.request(code))
    assert wire.parse(body)["code"] == code


@pytest.mark.parametrize("character", ["\x01", "\ud800", "🐍", '"'])
def test_the_longest_code_fits_into_a_frame_however_it_is_escaped(character: str) -> None:
    request = wire.request(character * SOURCE_CHARS)
    (body,) = read_all(request, REQUEST_FRAME_BYTES)
    assert len(wire.parse(body)["code"]) == SOURCE_CHARS


def test_a_request_longer_than_the_worker_reads_is_not_sent() -> None:
    with pytest.raises(wire.WireError, match="a request of"):
        wire.request("x" * REQUEST_FRAME_BYTES)


FRAMES = [b"{}", b"", b'{"a": 1}', b"x" * 300]


@pytest.mark.parametrize("size", range(1, 40))
def test_frames_arrive_whole_however_the_stream_is_cut(size: int) -> None:
    stream = b"".join(map(framed, FRAMES))
    reader = wire.FrameReader(1000)
    bodies = [body for at in range(0, len(stream), size) for body in reader.feed(stream[at : at + size])]
    assert bodies == FRAMES
    assert not reader.holds_half_a_frame


@pytest.mark.parametrize("cut", range(1, len(framed(b'{"a": 1}'))))
def test_half_a_frame_waits_for_its_other_half(cut: int) -> None:
    whole = framed(b'{"a": 1}')
    reader = wire.FrameReader(1000)
    assert reader.feed(whole[:cut]) == []
    assert reader.holds_half_a_frame
    assert reader.feed(whole[cut:]) == [b'{"a": 1}']
    assert not reader.holds_half_a_frame


def test_a_frame_of_the_most_bytes_is_read_and_one_more_is_refused_at_its_length() -> None:
    assert read_all(framed(b"x" * 1000)) == [b"x" * 1000]
    with pytest.raises(wire.WireError, match="a frame of 1001 bytes; at most 1000 are read"):
        read_all(struct.pack(">I", 1001))


def test_the_largest_length_is_refused_before_a_byte_of_it_is_held() -> None:
    with pytest.raises(wire.WireError, match=str(2**32 - 1)):
        read_all(b"\xff\xff\xff\xff", ANSWER_FRAME_BYTES)


GARBAGE = {
    "nothing": b"",
    "bytes": bytes(range(256)),
    "not UTF-8": b'{"a": "\xff"}',
    "half an object": b'{"a": ',
    "two objects": b"{}{}",
    "a list": b"[]",
    "null": b"null",
    "a number": b"7",
    "NaN": b"NaN",
    "a text": b'"{}"',
    "a pickle": b"\x80\x04K\x01.",
    "an integer of too many digits": b'{"a": ' + b"9" * 5000 + b"}",
    "lists in lists": b"[" * 200_000 + b"]" * 200_000,
    "objects in objects": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "a list never closed": b"[" * 500_000,
    "half of UTF-16": b"\xff\xfe{",
}


@pytest.mark.parametrize("body", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_an_error_of_the_wire_and_of_nothing_else(body: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.parse(body)
    with pytest.raises(wire.WireError):
        wire.parse_answer(body)


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in WRONG.items() for value in values])
def test_an_answer_with_a_wrong_field_is_refused_by_its_name(field: str, value: Any) -> None:
    with pytest.raises(wire.WireError) as refused:
        wire.parse_answer(json.dumps(ANSWER | {field: value}).encode())
    assert field.removesuffix("s") in str(refused.value)


@pytest.mark.parametrize("field", [field for field in ANSWER if field != "result"])
def test_an_answer_without_a_field_is_refused_by_its_name(field: str) -> None:
    body = json.dumps({name: value for name, value in ANSWER.items() if name != field}).encode()
    with pytest.raises(wire.WireError) as refused:
        wire.parse_answer(body)
    assert field.removesuffix("s") in str(refused.value)


def test_deep_json_in_a_field_is_refused() -> None:
    deep = json.dumps(ANSWER).replace("[{", "[" * 100_000 + "[{", 1).encode()
    with pytest.raises(wire.WireError):
        wire.parse_answer(deep)


def test_a_field_that_nobody_knows_changes_nothing() -> None:
    assert wire.parse_answer(json.dumps(ANSWER | {"session": "x", "kept": False}).encode()) == ENDED


def test_of_a_field_that_comes_twice_each_check_sees_the_one_that_is_used() -> None:
    body = json.dumps(ANSWER)[:-1] + ', "threads": -1}'
    with pytest.raises(wire.WireError, match="threads is not a count"):
        wire.parse_answer(body.encode())
