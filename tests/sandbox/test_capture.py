"""Tapes: bounded, in CPython's order, and readable from outside whatever a dead worker left on them."""

import ast
import mmap
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import capture
from tests.conftest import Server

BOUND = 20_000
ROOT = Path(__file__).resolve().parent.parent.parent

TAPE = f"""
import os
from sandbox import capture
BOUND = {BOUND}
fd = capture.create("tape", BOUND)
tape = capture.Tape(fd, BOUND)
tape.begin()
def text():
    return capture.read(fd, 0, tape.finish())
def tell(value):
    os.write(result, repr(value).encode())
"""


def told(program: str) -> Any:
    """What the program tells, in a process of its own: a worker's descriptors are not those of a test run."""
    read, write = os.pipe()
    with open(read, "rb") as result:
        done = subprocess.run(
            [sys.executable, "-c", f"result = {write}\n{program}"], cwd=ROOT, pass_fds=[write], timeout=20, check=False
        )
        os.close(write)
        assert done.returncode == 0
        return ast.literal_eval(result.read().decode())


def on_tape(program: str) -> Any:
    """What the program tells of the `tape` that it writes to."""
    return told(f"{TAPE}\n{program}")


def test_an_empty_tape_has_no_text() -> None:
    assert on_tape("tell((text(), tape.truncated))") == (b"", False)


def test_text_comes_in_the_order_in_which_it_was_written() -> None:
    assert on_tape("for part in (b'a', b'', b'bc', b'd'): tape.write_text(part)\ntell(text())") == b"abcd"


@pytest.mark.parametrize("way", ["write_text", "write_buffer", "write_raw"])
def test_past_the_bound_the_rest_is_dropped_and_said_so(way: str) -> None:
    kept = on_tape(f"""
kept = []
for size in (BOUND - 1, BOUND, BOUND + 1, 10 * BOUND):
    data = (b"0123456789" * BOUND)[:size]
    tape.{way}(data)
    kept.append((text() == data[:BOUND], tape.truncated))
    tape.begin()
tell(kept)""")
    assert kept == [(True, False), (True, False), (True, True), (True, True)]


def test_past_the_bound_small_writes_are_dropped_too() -> None:
    assert on_tape("""
for _ in range(BOUND): tape.write_text(b"xy")
tell((text() == b"xy" * (BOUND // 2), tape.truncated))""") == (True, True)


def test_past_the_bound_bytes_on_the_descriptor_are_dropped() -> None:
    assert on_tape("""
os.write(fd, b"r" * (BOUND + 1))
tell((text() == b"r" * BOUND, tape.truncated))""") == (True, True)


def test_text_and_descriptor_share_one_bound() -> None:
    assert on_tape("""
tape.write_text(b"t" * (BOUND - 10))
os.write(fd, b"r" * 100)
tell((len(text()), tape.truncated))""") == (BOUND, True)


def test_bytes_on_the_descriptor_overtake_what_waits() -> None:
    assert (
        on_tape("""
tape.write_text(b"text ")
tape.write_buffer(b"buffer ")
tape.write_raw(b"raw ")
os.write(fd, b"descriptor ")
tell(text())""")
        == b"raw descriptor buffer text "
    )


def test_what_was_flushed_is_not_overtaken() -> None:
    text = on_tape("""
tape.write_text(b"text ")
tape.settle()
os.write(fd, b"descriptor ")
tape.write_raw(b"raw ")
tell(text())""")
    assert text.startswith(b"text ")
    assert sorted(text.split()) == [b"descriptor", b"raw", b"text"]


def test_a_flush_of_the_buffer_leaves_the_text_waiting() -> None:
    assert (
        on_tape("""
tape.write_text(b"text ")
tape.write_buffer(b"buffer ")
tape.flush_buffer()
tape.write_raw(b"raw ")
tell(text())""")
        == b"buffer raw text "
    )


def test_more_than_a_buffer_of_text_does_not_wait() -> None:
    assert on_tape("""
tape.write_text(b"t" * 9000)
tape.write_buffer(b"|")
tell(text() == b"t" * 9000 + b"|")""")


def test_what_was_answered_is_gone_and_what_came_late_begins_the_next_text() -> None:
    assert on_tape("""
tape.write_text(b"first")
texts = [text()]
tape.write_text(b"late ")
tape.begin()
tape.write_text(b"second")
texts.append(text())
tape.begin()
texts.append(text())
tell(texts)""") == [b"first", b"late second", b""]


def test_a_full_tape_begins_anew_and_gives_its_pages_back() -> None:
    full, kept, next_text = on_tape("""
most, small = 2**20, tape
fd = capture.create("big", most)
tape = capture.Tape(fd, most)
tape.begin()
tape.write_text(b"x" * (most + 1))
assert tape.truncated and len(text()) == most
full = os.fstat(fd).st_blocks
tape.begin()
kept = os.fstat(fd).st_blocks
assert not tape.truncated
tape.write_text(b"small")
tell((full, kept, text()))""")
    assert kept < full // 2
    assert next_text == b"small"


def test_salvage_reads_what_was_printed_since_the_last_answer() -> None:
    assert on_tape("""
tape.write_text(b"answered")
text()
salvaged = [capture.salvage(fd, BOUND)]
tape.write_text(b"late ")
tape.begin()
tape.write_text(b"printed ")
os.write(fd, b"raw")
salvaged.append(capture.salvage(fd, BOUND))
tell(salvaged)""") == [(b"", False), (b"late printed raw", False)]


@pytest.fixture
def fd() -> Iterator[int]:
    """A tape on which a worker that is dead now had printed `printed`."""
    fd = capture.create("tape", BOUND)
    os.pwrite(fd, struct.pack("<Q", len(b"printed")), 0)
    os.pwrite(fd, b"printed", mmap.PAGESIZE)
    yield fd
    os.close(fd)


def test_salvage_tells_that_some_is_missing(fd: int) -> None:
    os.write(fd, b"r" * (BOUND + 1))
    text, truncated = capture.salvage(fd, BOUND)
    assert (text[:10], len(text), truncated) == (b"printedrrr", BOUND, True)


@pytest.mark.parametrize("length", [0, 1, 7, BOUND, BOUND + 1, 2**31, 2**32, 2**63, 2**64 - 1])
def test_salvage_clamps_a_length_that_lies(fd: int, length: int) -> None:
    os.pwrite(fd, struct.pack("<Q", length), 0)
    text, truncated = capture.salvage(fd, BOUND)
    assert text == (b"printed" + bytes(BOUND))[: min(length, BOUND)]
    assert truncated is (length > BOUND)


@pytest.mark.parametrize("header", [b"\xff" * 4096, bytes(4096), bytes(8) + b"\xff" * 4088, b"\xff" * 8 + bytes(4088)])
def test_salvage_bears_any_header(fd: int, header: bytes) -> None:
    os.pwrite(fd, header, 0)
    text, _ = capture.salvage(fd, BOUND)
    assert len(text) <= BOUND


@pytest.mark.parametrize("offset", [0, 1, 2**20, 2**40, 2**62, 2**63 - 1])
def test_salvage_bears_any_file_offset(fd: int, offset: int) -> None:
    os.lseek(fd, offset, os.SEEK_SET)
    text, _ = capture.salvage(fd, BOUND)
    assert text == b"printed"


@pytest.mark.parametrize("size", [0, 1, 7, 8, 4096, 4100])
def test_salvage_bears_a_tape_cut_short(fd: int, size: int) -> None:
    os.ftruncate(fd, size)
    text, _ = capture.salvage(fd, BOUND)
    assert text == b"printed"[: max(0, size - mmap.PAGESIZE)]


def test_salvage_of_a_tape_blown_up_reads_no_more_than_the_bound(fd: int) -> None:
    os.pwrite(fd, b"\xff" * 8, 0)
    os.ftruncate(fd, 2**40)
    os.lseek(fd, 2**40, os.SEEK_SET)
    text, truncated = capture.salvage(fd, BOUND)
    assert (len(text), truncated) == (BOUND, True)


@pytest.mark.parametrize(("start", "end"), [(0, 0), (5, 5), (9, 5), (2**40, 2**40 + 1)])
def test_reading_nothing_is_reading_nothing(fd: int, start: int, end: int) -> None:
    assert capture.read(fd, start, end) == b""


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
    """What the program tells, in a process whose standard streams are a Capture's."""
    return told(STREAMS + program)


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
