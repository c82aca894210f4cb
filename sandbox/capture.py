"""What code prints: bounded, in order, and readable from outside after the worker was killed.

Each stream has a tape, a memory file that worker and server share. `print` copies into its text region (no
system call, no wake-up); what is written to the descriptor itself (C code, `printf`) lands in the raw region
behind it and is merged in. Past the bound the rest is dropped here.

The order is CPython's for a pipe: text waits in the text stream, then in its buffer, and only then reaches the
descriptor; bytes that enter further down overtake it. So the end of a tape is `buffered` bytes, then `text` bytes
that nobody has flushed yet.
"""

import codecs
import errno
import io
import mmap
import os
import posix
import struct
import sys
import threading
from io import BufferedReader, FileIO, TextIOWrapper  # bound here: user code may patch io
from typing import Any

_LENGTH = struct.Struct("<Q")
_WANTED_AT = 8  # behind the length: the number of the execution that is to be interrupted
_ANSWERED_AT = 16  # how much of the text has been answered
_TRUNCATED_AT = 24  # whether some was dropped
_BEGUN_AT = 32  # the number of the execution whose text it is
_MARK_AT = 40  # one more than the length before the traceback of an interrupt, which nobody may be told
_TEXT = mmap.PAGESIZE  # the text region begins behind one page of header, which holds its length
_PYTHON_BUFFER = io.DEFAULT_BUFFER_SIZE  # what more than this waits, CPython passes on
_KEEP = 64 * 1024  # pages beyond this are given back after a long output


def raw_start(output_bytes: int) -> int:
    """Where a tape's raw region begins, for a bound of `output_bytes`."""
    pages = -(-output_bytes // mmap.PAGESIZE)
    return _TEXT + pages * mmap.PAGESIZE


def create(name: str, output_bytes: int) -> int:
    """A new, empty tape: its descriptor, placed so that writing to it appends to the raw region."""
    fd = posix.memfd_create(name)
    posix.ftruncate(fd, raw_start(output_bytes))
    posix.lseek(fd, 0, os.SEEK_END)
    return fd


def read(fd: int, start: int, end: int) -> bytes:
    """The bytes of a tape's text region from `start` to `end`, fewer if they are not there."""
    return posix.pread(fd, end - start, _TEXT + start) if end > start else b""


def want_interrupt(fd: int, number: int) -> None:
    """Note on a stdout tape which execution the interrupt that follows is for: it may not have begun."""
    posix.pwrite(fd, _LENGTH.pack(number), _WANTED_AT)


def unread(fd: int, start: int, output_bytes: int) -> bytes:
    """What the execution that runs has printed beyond `start` bytes; nothing when it has not begun, or has ended."""
    head = posix.pread(fd, _MARK_AT + 8, 0).ljust(_MARK_AT + 8, b"\xff")
    length, answered, mark = (_LENGTH.unpack_from(head, at)[0] for at in (0, _ANSWERED_AT, _MARK_AT))
    end = min(length, mark - 1 if mark else length, output_bytes)
    return read(fd, start, end) if answered == 0 else b""


def salvage(fd: int, output_bytes: int, number: int | None = None) -> tuple[bytes, bool]:
    """What a worker that died had printed since its last answer, and whether some was dropped.

    `number`: the execution whose answer has not arrived: its text counts also if the worker had done with it.
    Everything on the tape is hostile: lengths are clamped and reads are bounded.
    """
    places = (0, _ANSWERED_AT, _TRUNCATED_AT, _BEGUN_AT)
    length, answered, truncated, begun = (_LENGTH.unpack(posix.pread(fd, 8, at).ljust(8, b"\0"))[0] for at in places)
    if begun == number:
        answered = 0
    start = raw_start(output_bytes)
    raw = max(0, posix.lseek(fd, 0, os.SEEK_CUR) - start)
    text = read(fd, min(answered, output_bytes), min(length, output_bytes))
    text += posix.pread(fd, min(raw, output_bytes - len(text)), start)
    return text, bool(truncated) or length + raw > output_bytes


def decode(data: bytes, *, cut: bool) -> str:
    """Text of printed bytes; what is not UTF-8 is escaped. `cut`: a character halved by the bound goes."""
    if not cut:
        return data.decode("utf-8", "backslashreplace")
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    return decoder.decode(data)


def _map(fd: int, length: int) -> mmap.mmap:
    """The file in memory. The descriptor that the map keeps for itself is closed: code is to find its number free."""
    kept = posix.dup(fd)  # the lowest that is free, which the map will take
    posix.close(kept)
    mapped = mmap.mmap(fd, length)
    posix.close(kept)
    return mapped


class Tape:
    """The worker's hand on one tape."""

    def __init__(self, fd: int, output_bytes: int) -> None:
        self.fd = fd
        self._bound = output_bytes
        self._raw_start = raw_start(output_bytes)
        self._map = _map(fd, _TEXT + output_bytes)
        self._lock = threading.RLock()
        self._length = 0
        self._answered = 0
        self._text = 0  # bytes at the end that CPython would still hold in its text stream
        self._buffered = 0  # bytes before those that it would still hold in the stream's buffer
        self.truncated = False

    @property
    def length(self) -> int:
        return self._length

    @property
    def wanted(self) -> int:
        """The number of the last execution that was to be interrupted."""
        number: int = _LENGTH.unpack_from(self._map, _WANTED_AT)[0]
        return number

    def begin(self, number: int = 0) -> None:
        """Drop what has been answered; what threads printed since stays, as the beginning of the next text."""
        with self._lock:
            late = self._map[_TEXT + self._answered : _TEXT + self._length] if self._length > self._answered else b""
            if self._length > _KEEP:
                self._map.madvise(mmap.MADV_REMOVE, _TEXT, self._length)
            self._length = self._answered = self._text = self._buffered = 0
            self.truncated = False
            _LENGTH.pack_into(self._map, _TRUNCATED_AT, 0)
            _LENGTH.pack_into(self._map, _MARK_AT, 0)
            if late:
                self._insert(late)
            self._note_length()
            _LENGTH.pack_into(self._map, _ANSWERED_AT, 0)  # behind it: what was answered never looks unread
            _LENGTH.pack_into(self._map, _BEGUN_AT, number)

    def write_text(self, data: bytes) -> None:
        """Append what `print` writes."""
        with self._lock:
            self._text += self._insert(data)
            if self._text > _PYTHON_BUFFER:
                self._pass_text_on()
            self._note_length()

    def write_buffer(self, data: bytes) -> None:
        """Bytes for the stream's buffer: they overtake text that waits."""
        with self._lock:
            self._buffered += self._insert(data, before=self._text)
            if self._buffered > _PYTHON_BUFFER:
                self._merge_raw()
            self._note_length()

    def write_raw(self, data: bytes) -> None:
        """Bytes for the descriptor itself: they overtake everything that waits."""
        with self._lock:
            self._insert(data, before=self._buffered + self._text)
            self._note_length()

    def flush_buffer(self) -> None:
        """Nothing waits in the buffer any more; text may."""
        with self._lock:
            self._merge_raw()
            self._note_length()

    def mark(self) -> int:
        """Note that what follows is the traceback of an interrupt: the length of the text so far."""
        with self._lock:
            _LENGTH.pack_into(self._map, _MARK_AT, self._length + 1)
            return self._length

    def settle(self) -> None:
        """Nothing waits any more."""
        with self._lock:
            self._pass_text_on()
            self._merge_raw()
            self._note_length()

    def finish(self) -> int:
        """Settle, and count what there is as answered: the length of the text in bytes."""
        with self._lock:
            self.settle()
            self._answered = self._length
            _LENGTH.pack_into(self._map, _ANSWERED_AT, self._answered)
            return self._length

    def answered(self) -> bytes:
        """The text that finish() has counted."""
        return self._map[_TEXT : _TEXT + self._answered]

    def _pass_text_on(self) -> None:
        self._buffered += self._text
        self._text = 0
        if self._buffered > _PYTHON_BUFFER:
            self._merge_raw()

    def _merge_raw(self) -> None:
        """Bring in what was written to the descriptor, before what the buffer then passes on to it."""
        try:
            raw = posix.lseek(self.fd, 0, os.SEEK_CUR) - self._raw_start
            if raw > 0:
                posix.lseek(self.fd, self._raw_start, os.SEEK_SET)
                written = posix.pread(self.fd, min(raw, self._bound), self._raw_start)
                self._insert(written, before=self._buffered + self._text)
                if raw > self._bound:
                    self._drop()
        finally:
            self._buffered = 0

    def _insert(self, data: bytes, before: int = 0) -> int:
        room = self._bound - self._length
        if len(data) > room:
            data = data[:room]
            self._drop()
        at = _TEXT + self._length - before
        tail = self._map[at : at + before] if before else b""
        self._map[at : at + len(data)] = data
        if before:
            self._map[at + len(data) : at + len(data) + before] = tail
        self._length += len(data)
        return len(data)

    def _drop(self) -> None:
        self.truncated = True
        _LENGTH.pack_into(self._map, _TRUNCATED_AT, 1)

    def _note_length(self) -> None:
        _LENGTH.pack_into(self._map, 0, self._length)


class _Below(io.BufferedIOBase):
    """Under a standard stream: takes its text to the tape as it is written."""

    def __init__(self, tape: Tape, name: str, *, line_buffered: bool) -> None:
        self._tape = tape
        self._line_buffered = line_buffered
        self.name = name

    def write(self, data: Any) -> int:
        data = bytes(data)
        self._tape.write_text(data)
        if self._line_buffered and b"\n" in data:
            self._tape.settle()
        return len(data)

    def flush(self) -> None:
        if not self.closed:
            self._tape.settle()

    def writable(self) -> bool:
        return True


class _Buffer(io.BufferedIOBase):
    """What code finds as `sys.stdout.buffer`."""

    def __init__(self, tape: Tape, name: str, fileno: int) -> None:
        self._tape = tape
        self._fileno = fileno
        self.name = name

    def write(self, data: Any) -> int:
        if self.closed:
            raise ValueError("write to closed file")
        with memoryview(data) as view:
            self._tape.write_buffer(view.tobytes())
            return view.nbytes

    def flush(self) -> None:
        if self.closed:
            raise ValueError("flush of closed file")
        self._tape.flush_buffer()

    def fileno(self) -> int:
        return self._fileno

    def writable(self) -> bool:
        return True


class _Stream(TextIOWrapper):
    """A standard stream, as `sys.stdout`."""

    def __init__(self, tape: Tape, name: str, fileno: int, *, line_buffered: bool) -> None:
        below = _Below(tape, name, line_buffered=line_buffered)
        super().__init__(below, "utf-8", "backslashreplace", write_through=True)
        self._buffer = _Buffer(tape, name, fileno)
        self.__dict__["mode"] = "w"

    @property
    def buffer(self) -> Any:
        return self._buffer

    def fileno(self) -> int:
        return self._buffer.fileno()


_Stream.__name__ = _Stream.__qualname__ = "TextIOWrapper"
_Stream.__module__ = "_io"


class Capture:
    """The three standard streams of one worker. `stdin`: the descriptor of a file that the server fills."""

    def __init__(self, stdin: int, out: Tape, err: Tape) -> None:
        self.out = out
        self.err = err
        self._stdin = stdin
        self._stdin_bytes = 0
        self._read_stream: TextIOWrapper | None = None
        self._streams: dict[str, _Stream] = {}
        sys.stdout = sys.stderr = None  # the zygote's; begin() puts ours there

    def begin(self, number: int = 0) -> None:
        """Fresh tapes and stdin from its beginning. A closed or missing standard stream is put back, a replaced
        one stays.
        """
        self.out.begin(number)
        self.err.begin(number)
        self._mend("stdout", self.out, 1, line_buffered=False)
        self._mend("stderr", self.err, 2, line_buffered=True)
        _mend_descriptor(0, self._stdin)
        if self._is_stdin_fresh():
            return
        posix.lseek(self._stdin, 0, os.SEEK_SET)
        raw = FileIO(0, "r", closefd=False)
        raw.name = "<stdin>"
        stream = TextIOWrapper(BufferedReader(raw), "utf-8", "surrogateescape")
        stream.__dict__["mode"] = "r"
        sys.stdin = sys.__stdin__ = self._read_stream = stream  # type: ignore[misc]

    def _is_stdin_fresh(self) -> bool:
        """Whether the stream of the last execution can serve again: the file is empty, and was."""
        before, self._stdin_bytes = self._stdin_bytes, posix.lseek(self._stdin, 0, os.SEEK_END)
        stream = self._read_stream
        return before == self._stdin_bytes == 0 and getattr(sys, "stdin", None) is stream and _is_open(stream)

    def text(self) -> bytes:
        """What has been printed and counted as answered: stdout, then stderr."""
        return self.out.answered() + self.err.answered()

    def flush(self) -> None:
        """What CPython does last: flush the standard streams that the code put in place of ours."""
        for name, own in self._streams.items():
            stream: Any = getattr(sys, name, None)
            if stream is own:
                continue
            try:
                if _is_open(stream) and hasattr(stream, "flush"):
                    stream.flush()
            except (KeyboardInterrupt, MemoryError):
                raise
            except BaseException as error:
                if name == "stdout":  # CPython ignores stderr's
                    print(f"Exception ignored in: {stream!r}", file=getattr(sys, "stderr", None))
                    trace = error.__traceback__.tb_next if error.__traceback__ else None
                    sys.__excepthook__(type(error), error.with_traceback(trace), trace)

    def _mend(self, name: str, tape: Tape, fileno: int, *, line_buffered: bool) -> None:
        own = self._streams.get(name)
        if own is None or not _is_open(own) or own.buffer.closed:
            own = self._streams[name] = _Stream(tape, f"<{name}>", fileno, line_buffered=line_buffered)
            setattr(sys, f"__{name}__", own)
        if not _is_open(getattr(sys, name, None)):
            setattr(sys, name, own)
        _mend_descriptor(fileno, tape.fd)


def _mend_descriptor(number: int, fd: int) -> None:
    try:
        posix.lseek(number, 0, os.SEEK_CUR)
    except OSError as error:
        if error.errno == errno.EBADF:  # the code closed it
            posix.dup2(fd, number)


def _is_open(stream: object) -> bool:
    try:
        return stream is not None and not getattr(stream, "closed", False)
    except Exception:  # detached, or a stream of the user's making, which may do anything when asked
        return False
