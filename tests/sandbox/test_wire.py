"""The two queues' grammar: what is well formed arrives whole, and nothing else arrives at all."""

import io
import json
import struct
from collections.abc import Callable
from typing import Any

import pytest

from sandbox import wire
from sandbox.limits import ANSWER_FRAME_BYTES, SOURCE_CHARS
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
PLAIN = Ended(Status.DONE, Usage())

# The fields of an answer's head, in their order.
HEAD = "kind status truncated inside wall memory out err mark threads result".split()
COUNTS = ("memory", "out", "err", "mark", "threads")


def framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def read_all(stream: bytes, most: int = 10_000) -> list[bytes]:
    return wire.FrameReader(most).feed(stream)


def body_of(ended: Ended) -> bytes:
    (body,) = read_all(wire.answer(ended), ANSWER_FRAME_BYTES)
    return body


def patched(body: bytes, **fields: Any) -> bytes:
    """The answer with fields of its head replaced."""
    head = dict(zip(HEAD, wire._HEAD.unpack_from(body), strict=True))
    return wire._HEAD.pack(*(head | fields).values()) + body[wire._HEAD.size :]


def refused(body: bytes) -> str:
    with pytest.raises(wire.WireError) as error:
        wire.parse_answer(body)
    return str(error.value)


# What is well formed


@pytest.mark.parametrize(
    "ended",
    [
        ENDED,
        PLAIN,
        *(Ended(status, Usage()) for status in Status),
        Ended(Status.DONE, Usage(), result=""),
        Ended(Status.DONE, Usage(), result="é🐍\0\n"),
        Ended(Status.DONE, Usage(), result="x" * 2**20),
        Ended(Status.DONE, Usage(), outputs=[{}]),
        Ended(Status.DONE, Usage(), 3, 2, result="r", outputs=[{}], text=b"out\xff\xfe"),
        Ended(Status.DONE, Usage(), 0, 0, text=b""),
        Ended(Status.DONE, Usage(), outputs=[{"text/html": "<b>é🐍\0</b>"}] * 256),
        Ended(Status.DONE, Usage(), outputs=[{"image/png": "A" * 2**20}]),
        Ended(Status.DONE, Usage(1e6, 2**53), stdout_bytes=2**53, threads=2**53),
    ],
    ids=lambda ended: ended.status.value,
)
def test_an_answer_arrives_as_it_was_sent(ended: Ended) -> None:
    arrived = wire.parse_answer(body_of(ended))
    assert arrived._replace(outputs=[]) == ended._replace(outputs=[])
    assert list(arrived.outputs) == list(ended.outputs)


@pytest.mark.parametrize("code", ["", "x = 1", "é🐍", "\0", "\ud800", "a\udfffb", "\u2028", '"\\\n'])
@pytest.mark.parametrize("errand", wire.Errand)
def test_any_text_arrives_as_it_was_sent_with_its_errand(code: str, errand: wire.Errand) -> None:
    (body,) = read_all(wire.request(code, errand))
    assert wire.parse_request(body) == (errand, code)


@pytest.mark.parametrize("character", ["\x01", "\ud800", "🐍", '"'])
def test_the_longest_code_fits_into_a_frame_whatever_is_in_it(character: str) -> None:
    (body,) = read_all(wire.request(character * SOURCE_CHARS), 2**32)
    assert wire.parse_request(body) == (wire.Errand.EXECUTE, character * SOURCE_CHARS)


def test_a_request_longer_than_the_worker_reads_is_not_sent() -> None:
    with pytest.raises(wire.WireError, match="a request of"):
        wire.request("🐍" * (SOURCE_CHARS + 1))


def test_a_worker_says_that_it_is_ready_or_why_it_will_never_be() -> None:
    assert [wire.parse_birth(body) for body in read_all(wire.ready() + wire.cannot("no é"))] == [None, "no é"]


@pytest.mark.parametrize("body", [b"", b"\xff", b"ready", body_of(PLAIN)])
def test_nothing_else_is_taken_for_a_birth(body: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.parse_birth(body)


def test_the_reason_for_no_birth_is_bounded_and_text() -> None:
    why = wire.parse_birth(wire.cannot("x")[4:] + b"\xff\x00" * 10**6)
    assert why is not None and len(why) < 5000
    assert why.encode()


# The stream


FRAMES = [b"{}", b"", b'{"a": 1}', b"x" * 300]


@pytest.mark.parametrize("size", range(1, 40))
def test_frames_arrive_whole_however_the_stream_is_cut(size: int) -> None:
    stream = b"".join(map(framed, FRAMES))
    reader = wire.FrameReader(1000)
    bodies = [body for at in range(0, len(stream), size) for body in reader.feed(stream[at : at + size])]
    assert bodies == FRAMES
    assert not reader.holds_half_a_frame


@pytest.mark.parametrize("cut", range(1, len(wire.answer(ENDED))))
def test_half_a_frame_waits_for_its_other_half(cut: int) -> None:
    whole = wire.answer(ENDED)
    reader = wire.FrameReader(1000)
    assert reader.feed(whole[:cut]) == []
    assert reader.holds_half_a_frame
    (body,) = reader.feed(whole[cut:])
    assert wire.parse_answer(body) == ENDED
    assert not reader.holds_half_a_frame


@pytest.mark.parametrize("rest", [b"\0", framed(b"b"), framed(b"b")[:-1]])
def test_what_follows_a_whole_frame_is_not_lost(rest: bytes) -> None:
    reader = wire.FrameReader(1000)
    bodies = reader.feed(framed(b"a") + rest)
    assert bodies == ([b"a", b"b"] if rest == framed(b"b") else [b"a"])
    assert reader.holds_half_a_frame is (rest != framed(b"b"))


def test_a_frame_of_the_most_bytes_is_read_and_one_more_is_refused_at_its_length() -> None:
    assert read_all(framed(b"x" * 1000), 1000) == [b"x" * 1000]
    for sent in (struct.pack(">I", 1001), framed(b"x" * 1001)):
        with pytest.raises(wire.WireError, match="a frame of 1001 bytes; at most 1000 are read"):
            read_all(sent, 1000)


def test_the_largest_length_is_refused_before_a_byte_of_it_is_held() -> None:
    with pytest.raises(wire.WireError, match=str(2**32 - 1)):
        read_all(b"\xff\xff\xff\xff", ANSWER_FRAME_BYTES)


# What is not


@pytest.mark.parametrize("size", range(len(body_of(PLAIN))))
def test_an_answer_cut_short_is_refused(size: int) -> None:
    assert refused(body_of(PLAIN)[:size]) == "an answer that is too short"


@pytest.mark.parametrize(
    "body",
    [bytes(range(256)), b"\xff" * 100, b'{"status": "done"}' * 5, b"\x80\x04K\x01." * 20],
    ids=["bytes", "ones", "JSON", "a pickle"],
)
def test_garbage_is_an_error_of_the_wire_and_of_nothing_else(body: bytes) -> None:
    refused(body)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        *(("kind", kind, "kind") for kind in (0, 1, 3, 4, 255)),
        *(("status", status, "status") for status in (len(Status), 255)),
        *(("wall", wall, "wall") for wall in (-0.1, -1e300, float(2**53), 1e300, float("inf"), float("-inf"))),
        ("wall", float("nan"), "wall"),
        *((field, count, "count") for field in COUNTS for count in (2**53 + 1, 2**63, 2**64 - 1)),
        *(("result", length, "text") for length in (-2, -(2**31), 10**6, 2**31 - 1)),
    ],
)
def test_an_answer_with_a_wrong_field_is_refused(field: str, value: Any, told: str) -> None:
    for ended in (PLAIN, ENDED):
        assert told in refused(patched(body_of(ended), **{field: value}))


def test_any_bit_of_an_answer_may_be_flipped_without_harm() -> None:
    body = body_of(ENDED)
    for at in range(len(body) * 8):
        flipped = bytearray(body)
        flipped[at // 8] ^= 1 << at % 8
        try:
            ended = wire.parse_answer(bytes(flipped))
        except wire.WireError:
            continue
        assert isinstance(ended.truncated, bool)
        assert json.dumps(ended.outputs).isascii() and (ended.result or "").encode() is not None
        assert 0 <= ended.usage.wall_s < 2**53
        assert 0 <= min(ended.stdout_bytes, ended.stderr_bytes, ended.mark_bytes, ended.usage.memory_bytes)


@pytest.mark.parametrize(("out", "err"), [(1, 0), (0, 1), (2**53, 2**53), (100, 0)])
def test_texts_that_are_not_in_their_frame_are_refused(out: int, err: int) -> None:
    assert "text" in refused(patched(body_of(PLAIN), inside=True, out=out, err=err))


@pytest.mark.parametrize("result", [b"\xff", b"caf\xe9", "é".encode()[:1], b"\xed\xa0\x80", b"\xf4\x90\x80\x80"])
def test_a_result_that_is_not_text_is_refused(result: bytes) -> None:
    body = patched(body_of(PLAIN), result=len(result)) + result
    assert refused(body) == "result is not UTF-8"


OUTPUTS = {
    "not JSON": b"nothing",
    "not UTF-8": b'[{"a": "\xff"}]',
    "half a list": b'[{"a": "b"}',
    "two lists": b"[][]",
    "white space behind": b"[] ",
    "an object": b"{}",
    "null": b"null",
    "NaN": b"NaN",
    "a number": b"7",
    "a text": b'"x"',
    "numbers": b"[1]",
    "lists": b"[[]]",
    "null in a list": b"[null]",
    "a number in a bundle": b'[{"a": 1}]',
    "NaN in a bundle": b'[{"a": NaN}]',
    "null in a bundle": b'[{"a": null}]',
    "a bundle in a bundle": b'[{"a": {"b": "c"}}]',
    "a lone surrogate as value": b'[{"a": "\\ud800"}]',
    "a lone surrogate as key": b'[{"\\udfff": "a"}]',
    "a bundle and a number": b'[{"a": "b"}, 3]',
    "a duplicate that is wrong": b'[{"a": "b", "a": 3}]',
    "an integer of too many digits": b"[" + b"9" * 5000 + b"]",
    "lists in lists": b"[" * 200_000 + b"]" * 200_000,
    "objects in objects": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "a list never closed": b"[" * 500_000,
    "a small list never closed": b"[" * 10_000,
    "a text never closed": b'["' + b'\\"' * 500_000,
    "too many bundles": b"[" + b"{}," * 256 + b"{}]",
    "a million bundles": b"[" + b"{}," * 10**6 + b"{}]",
}


@pytest.mark.parametrize("outputs", OUTPUTS.values(), ids=OUTPUTS)
def test_outputs_that_are_no_bundles_of_text_are_refused(outputs: bytes) -> None:
    assert "output" in refused(body_of(PLAIN) + outputs)


# Bundles that are shown while code runs

BUNDLES = [
    {},
    {"text/plain": "x"},
    {"text/html": "<b>é🐍\0</b>", "image/png": "aGk="},
    {"image/png": "A" * 10**7},
    {"é": "é" * 10**6},
]


@pytest.mark.parametrize("bundle", BUNDLES, ids=range(len(BUNDLES)))
def test_a_bundle_arrives_as_it_was_shown(bundle: dict[str, str]) -> None:
    (body,) = read_all(wire.display(bundle, 7, 2**60), ANSWER_FRAME_BYTES)
    assert wire.is_display(body)
    assert wire.parse_display(body) == wire.Shown(bundle, 7, 2**60)


@pytest.mark.parametrize("body", [b"", b"\0", body_of(ENDED), wire.ready()[4:], wire.cannot("no")[4:]])
def test_no_other_frame_is_taken_for_a_bundle(body: bytes) -> None:
    assert not wire.is_display(body)


HEAD_OF_BUNDLE = wire.display({}, 0, 0)[4:-4]  # without `[{}]`
HOSTILE_BUNDLES = {
    **{f"outputs: {name}": outputs for name, outputs in OUTPUTS.items()},
    "nothing": b"",
    "no bundle": b"[]",
    "two bundles": b"[{},{}]",
}


@pytest.mark.parametrize("rest", HOSTILE_BUNDLES.values(), ids=HOSTILE_BUNDLES)
def test_what_is_no_bundle_is_an_error_of_the_wire_and_of_nothing_else(rest: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.parse_display(HEAD_OF_BUNDLE + rest)


@pytest.mark.parametrize("size", range(1, len(HEAD_OF_BUNDLE) + 4))
def test_a_bundle_cut_short_is_refused(size: int) -> None:
    body = wire.display({}, 0, 0)[4:][:size]
    assert wire.is_display(body)
    with pytest.raises(wire.WireError):
        wire.parse_display(body)


# JSON that is looked at before it is parsed


@pytest.mark.parametrize(
    ("body", "simple"),
    [
        (b"", True),
        (b"[" * 1000, True),  # small: it takes no time whatever it is
        (b'{"code": "' + b"x" * 10**6 + b'"}', True),
        (b'{"code": "' + b"\\n" * 10**6 + b'"}', True),
        (b'{"code": "' + b'\\"' * 10**6 + b'", "stdin": "' + b"\\\\" * 10**6 + b'"}', True),
        (b'{"code": "' + b"[{" * 10**6 + b'"}', True),
        (b'{"code": "1", "x": [' + b"[]," * 10**6 + b"[]]}", False),
        (b'{"code": "1", "x": [' + b'"",' * 10**6 + b'""]}', False),
        (b"{" + b'"a":1,' * 10**6 + b'"b":2}', False),
        (b" " * 10**6, False),
    ],
    ids=range(10),
)
def test_what_is_a_few_strings_is_told_from_what_is_not(body: bytes, simple: bool) -> None:
    assert wire.is_simple(body) is simple


@pytest.mark.parametrize("unit", [b'\\"', b'"', b"\\", b'"\\', b'" ', b"x", b'\\""'])
@pytest.mark.timeout(20)
def test_telling_takes_no_longer_than_reading(unit: bytes) -> None:
    for start in (b"", b'"', b'{"a": "'):
        wire.is_simple(start + unit * (10**6 // len(unit)))


# The terms of a run


def piecemeal(data: bytes, size: int) -> Callable[[int], bytes]:
    """A read() of `data` that gives at most `size` bytes at a time."""
    stream = io.BytesIO(data)
    return lambda wanted: stream.read(min(wanted, size))


TERMS = wire.Terms(64 * 2**20, ["math", "été.x"] * 1000, ["plain", "numpy"])


@pytest.mark.parametrize("size", [4, 5, 1000, 10**6])
def test_terms_arrive_as_they_were_sent_and_what_follows_is_left(size: int) -> None:
    request = wire.request("print(1)")
    read = piecemeal(wire.terms(TERMS) + request, size)
    assert wire.read_terms(read) == TERMS
    assert b"".join(iter(lambda: read(4096), b"")) == request


def test_a_queue_that_ends_has_no_terms() -> None:
    assert wire.read_terms(piecemeal(b"", 4096)) is None
