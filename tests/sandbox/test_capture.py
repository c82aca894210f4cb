"""Tapes: bounded, in CPython's order, and readable from outside whatever a dead worker left on them."""

import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import capture
from sandbox.capture import Tape
from tests.conftest import Server

BOUND = 20_000
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def fd() -> Iterator[int]:
    fd = capture.create("tape", BOUND)
    yield fd
    os.close(fd)


@pytest.fixture
def tape(fd: int) -> Tape:
    tape = Tape(fd, BOUND)
    tape.begin()
    return tape


def text_of(tape: Tape) -> bytes:
    """What an answer would carry, read as the server reads it."""
    return capture.read(tape.fd, 0, tape.finish())


def test_an_empty_tape_has_no_text(tape: Tape) -> None:
    assert text_of(tape) == b""
    assert not tape.truncated


def test_text_comes_in_the_order_in_which_it_was_written(tape: Tape) -> None:
    for part in (b"a", b"", b"bc", "é🐍".encode()):
        tape.write_text(part)
    assert text_of(tape) == "abcé🐍".encode()


@pytest.mark.parametrize("size", [BOUND - 1, BOUND, BOUND + 1, 10 * BOUND])
@pytest.mark.parametrize("way", ["write_text", "write_buffer", "write_raw"])
def test_past_the_bound_the_rest_is_dropped_and_said_so(tape: Tape, way: str, size: int) -> None:
    data = (b"0123456789" * BOUND)[:size]
    getattr(tape, way)(data)
    assert text_of(tape) == data[:BOUND]
    assert tape.truncated is (size > BOUND)


def test_past_the_bound_small_writes_are_dropped_too(tape: Tape) -> None:
    for _ in range(BOUND):
        tape.write_text(b"xy")
    assert text_of(tape) == b"xy" * (BOUND // 2)
    assert tape.truncated


def test_past_the_bound_bytes_on_the_descriptor_are_dropped(tape: Tape) -> None:
    os.write(tape.fd, b"r" * (BOUND + 1))
    assert text_of(tape) == b"r" * BOUND
    assert tape.truncated


def test_text_and_descriptor_share_one_bound(tape: Tape) -> None:
    tape.write_text(b"t" * (BOUND - 10))
    os.write(tape.fd, b"r" * 100)
    text = text_of(tape)
    assert len(text) == BOUND
    assert tape.truncated


def test_bytes_on_the_descriptor_overtake_what_waits(tape: Tape) -> None:
    tape.write_text(b"text ")
    tape.write_buffer(b"buffer ")
    tape.write_raw(b"raw ")
    os.write(tape.fd, b"descriptor ")
    assert text_of(tape) == b"raw descriptor buffer text "


def test_what_was_flushed_is_not_overtaken(tape: Tape) -> None:
    tape.write_text(b"text ")
    tape.settle()
    os.write(tape.fd, b"descriptor ")
    tape.write_raw(b"raw ")
    assert sorted(text_of(tape).split()) == [b"descriptor", b"raw", b"text"]
    assert capture.read(tape.fd, 0, 5) == b"text "


def test_a_flush_of_the_buffer_leaves_the_text_waiting(tape: Tape) -> None:
    tape.write_text(b"text ")
    tape.write_buffer(b"buffer ")
    tape.flush_buffer()
    tape.write_raw(b"raw ")
    assert text_of(tape) == b"buffer raw text "


def test_more_than_a_buffer_of_text_does_not_wait(tape: Tape) -> None:
    tape.write_text(b"t" * 9000)
    tape.write_buffer(b"|")
    assert text_of(tape) == b"t" * 9000 + b"|"


def test_what_was_answered_is_gone_and_what_came_late_begins_the_next_text(tape: Tape) -> None:
    tape.write_text(b"first")
    assert text_of(tape) == b"first"
    tape.write_text(b"late ")
    tape.begin()
    tape.write_text(b"second")
    assert text_of(tape) == b"late second"
    tape.begin()
    assert text_of(tape) == b""


def test_a_full_tape_begins_anew_and_gives_its_pages_back(fd: int) -> None:
    most = 2**20
    big = capture.create("big", most)
    tape = Tape(big, most)
    tape.begin()
    tape.write_text(b"x" * (most + 1))
    assert tape.truncated and len(text_of(tape)) == most
    full = os.fstat(big).st_blocks
    tape.begin()
    assert not tape.truncated
    assert os.fstat(big).st_blocks < full // 2
    tape.write_text(b"small")
    assert text_of(tape) == b"small"
    os.close(big)


def test_salvage_reads_what_print_and_the_descriptor_had_taken(tape: Tape) -> None:
    tape.write_text(b"printed ")
    os.write(tape.fd, b"raw")
    assert capture.salvage(tape.fd, BOUND) == (b"printed raw", False)


def test_salvage_tells_that_some_is_missing(tape: Tape) -> None:
    os.write(tape.fd, b"r" * (BOUND + 1))
    assert capture.salvage(tape.fd, BOUND) == (b"r" * BOUND, True)


@pytest.mark.parametrize("length", [0, 1, 7, BOUND, BOUND + 1, 2**31, 2**32, 2**63, 2**64 - 1])
def test_salvage_clamps_a_length_that_lies(tape: Tape, length: int) -> None:
    tape.write_text(b"printed")
    os.pwrite(tape.fd, struct.pack("<Q", length), 0)
    text, truncated = capture.salvage(tape.fd, BOUND)
    assert text == (b"printed" + bytes(BOUND))[: min(length, BOUND)]
    assert truncated is (length > BOUND)


@pytest.mark.parametrize("offset", [0, 1, 2**20, 2**40, 2**62, 2**63 - 1])
def test_salvage_bears_any_file_offset(tape: Tape, offset: int) -> None:
    tape.write_text(b"printed")
    os.lseek(tape.fd, offset, os.SEEK_SET)
    text, _ = capture.salvage(tape.fd, BOUND)
    assert text == b"printed"


@pytest.mark.parametrize("size", [0, 1, 7, 8, 4096, 4100])
def test_salvage_bears_a_tape_cut_short(fd: int, size: int) -> None:
    os.pwrite(fd, struct.pack("<Q", 100), 0)
    os.pwrite(fd, b"t" * 100, 4096)
    os.ftruncate(fd, size)
    text, _ = capture.salvage(fd, BOUND)
    assert text == b"t" * max(0, size - 4096)


def test_salvage_of_a_tape_blown_up_reads_no_more_than_the_bound(fd: int) -> None:
    os.pwrite(fd, b"\xff" * 8, 0)
    os.ftruncate(fd, 2**40)
    os.lseek(fd, 2**40, os.SEEK_SET)
    text, truncated = capture.salvage(fd, BOUND)
    assert (len(text), truncated) == (BOUND, True)


@pytest.mark.parametrize(("start", "end"), [(0, 0), (5, 5), (9, 5), (2**40, 2**40 + 1)])
def test_reading_nothing_is_reading_nothing(tape: Tape, start: int, end: int) -> None:
    tape.write_text(b"printed")
    assert capture.read(tape.fd, start, end) == b""


@pytest.mark.parametrize("cut", range(1, 4))
def test_a_character_halved_by_the_bound_goes(cut: int) -> None:
    assert capture.decode(b"ab" + "🐍".encode()[:cut], cut=True) == "ab"


def test_a_character_halved_by_the_code_is_escaped() -> None:
    assert capture.decode(b"ab" + "🐍".encode()[:2], cut=False) == "ab\\xf0\\x9f"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"a\x00b", "a\0b"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
        (b"caf\xe9 \xc3\xa9", "caf\\xe9 é"),
        (b"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"),
    ],
)
@pytest.mark.parametrize("cut", [True, False])
def test_any_bytes_become_text_that_json_can_carry(data: bytes, text: str, cut: bool) -> None:
    assert capture.decode(data, cut=cut) == text
    text.encode()


STREAMS = """
import os, sys
from sandbox import capture
from sandbox.capture import Capture, Tape
tapes = [Tape(capture.create(name, 10_000), 10_000) for name in ("out", "err")]
result = os.dup(1)
stdin = os.memfd_create("stdin")
os.dup2(stdin, 0), os.dup2(tapes[0].fd, 1), os.dup2(tapes[1].fd, 2)
streams = Capture(stdin, *tapes)
def run(source, text=""):
    os.ftruncate(stdin, 0), os.pwrite(stdin, text.encode(), 0)
    streams.begin()
    exec(source, {"sys": sys, "os": os})
    streams.flush()
    return [capture.decode(capture.read(tape.fd, 0, tape.finish()), cut=False) for tape in tapes]
def tell(value):
    os.write(result, repr(value).encode())
"""


def with_streams(program: str) -> Any:
    """What `program` tells, in a process whose standard streams are a Capture's."""
    done = subprocess.run(
        [sys.executable, "-c", STREAMS + program], cwd=ROOT, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0
    return eval(done.stdout)


def test_the_two_streams_are_kept_apart() -> None:
    assert with_streams("tell(run('print(1); print(2, file=sys.stderr); print(3)'))") == ["1\n3\n", "2\n"]


def test_what_was_written_to_the_descriptors_is_merged_in() -> None:
    assert with_streams('tell(run(\'print(1, flush=True); os.write(1, b"raw"); os.write(2, b"err")\'))') == [
        "1\nraw",
        "err",
    ]


def test_stdin_is_new_for_each_execution() -> None:
    told = with_streams("tell([run('print(sys.stdin.read())', text)[0] for text in ('one', '', 'é')])")
    assert told == ["one\n", "\n", "é\n"]


@pytest.mark.parametrize(
    "harm", ["sys.stdout.close()", "sys.stdout = None", "del sys.stdout", "os.close(1)", "sys.stdout.detach()"]
)
def test_a_harmed_stdout_is_mended_for_the_next_execution(harm: str) -> None:
    assert with_streams(f"run({harm!r}); tell(run('print(1, flush=True); os.write(1, b\"raw\")'))") == ["1\nraw", ""]


def test_a_replaced_stdout_stays_and_is_flushed() -> None:
    mine = "import io; sys.stdout = io.TextIOWrapper(open(1, 'wb', closefd=False)); print('mine')"
    assert with_streams(f"tell([run({mine!r}), run('print(2)')])") == [["mine\n", ""], ["2\n", ""]]


@pytest.mark.parametrize(
    ("stream", "way"),
    [(stream, way) for stream in ("stdout", "stderr") for way in ("print", "buffer", "os.write", "printf")],
)
def test_a_flood_is_cut_at_the_bound_and_the_run_goes_on(
    session: Callable[..., dict[str, Any]], stream: str, way: str
) -> None:
    number = {"stdout": 1, "stderr": 2}[stream]
    flood = {
        "print": f"for _ in range(2**21 // 1024): print('f' * 1023, file=sys.{stream})",
        "buffer": f"for _ in range(2**21 // 1024): sys.{stream}.buffer.write(b'f' * 1024)",
        "os.write": f"for _ in range(2**21 // 1024): os.write({number}, b'f' * 1024)",
        "printf": f"for _ in range(2**21 // 1024): ctypes.CDLL(None).write({number}, b'f' * 1024, 1024)",
    }[way]
    answer = session(f"import ctypes, os, sys\n{flood}\nafter = 'reached'\nafter")
    assert answer["error"] is None
    assert answer["result"] == "'reached'"
    assert answer["truncated"] is True
    assert len(answer[stream]) == 2**20
    small = session("print('next')")
    assert (small["stdout"], small["truncated"]) == ("next\n", False)


def test_the_bound_is_a_setting(start_server: Callable[..., Server]) -> None:
    server = start_server(OUTPUT_LIMIT_KB=4, SESSION_LIBRARIES="plain", POOL_SIZE=1)
    answer = server.execute("import sys\nprint('é' * 4096)\nprint('e' * 5000, file=sys.stderr)\n'r' * 5000")
    assert answer["stdout"] == "é" * 2048
    assert answer["stderr"] == "e" * 4096
    assert len(answer["result"]) == 4096
    assert answer["truncated"] is True


def test_what_was_printed_in_halves_of_a_character_is_put_together(session: Callable[..., dict[str, Any]]) -> None:
    first, second = "🐍".encode()[:2], "🐍".encode()[2:]
    answer = session(f"import sys\nb = sys.stdout.buffer\nb.write({first!r})\nb.flush()\nb.write({second!r})")
    assert answer["stdout"] == "🐍"
    assert session("sys.stdout.buffer.write(b'ab\\xf0\\x9f')")["stdout"] == "ab\\xf0\\x9f"
