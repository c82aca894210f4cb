"""Descriptors misused, answers forged, output without end."""

from tests.escapes.row import Row

_CHECKED = "sandbox.wire: whatever breaks the grammar ends the session"


def _row(name: str, code: str, effect: str = "fault", stopped_by: str = _CHECKED, **more: object) -> Row:
    return Row(
        name,
        "descriptors and forged frames",
        effect,
        code,
        open_without_wall=False,
        stopped_by=stopped_by,
        **more,  # type: ignore[arg-type]
    )


def _flood(name: str, code: str, **more: object) -> Row:
    held = {"effect": "flood", "open_without_wall": False, "stopped_by": "the tapes"}
    return Row(name, "output floods", code=code, **held | more)  # type: ignore[arg-type]


def _instead(body: str) -> str:
    """Code that has the worker's answer written by a function of the attacker's: `write(fd, data)` is the real one."""
    return f"def forge(fd, data, write=posix.write):\n    {body}\n    return len(data)\nposix.write = forge"


def _frame(body: str) -> str:
    return _instead(f"body = {body}; write(fd, struct.pack('>I', len(body)) + body)")


def _shown(bundles: str, out: str = "0", times: str = "1", *, last: bool = False) -> str:
    """Frames of outputs in front of the worker's own answer, or behind it."""
    frame = f"body = struct.pack('>BQQ', 3, {out}, 0) + {bundles}; frame = struct.pack('>I', len(body)) + body"
    shown = f"[write(fd, frame[at:at + 65536]) for _ in range({times}) for at in range(0, len(frame), 65536)]"
    return _instead(f"{frame}; {f'write(fd, data); {shown}' if last else f'{shown}; write(fd, data)'}")


def _head(changes: str, tail: str = "b''") -> str:
    """The worker's own answer, fields of its head replaced, and another `tail`."""
    return f"""
from sandbox import wire
def forge(fd, data, write=posix.write):
    head = dict(zip(NAMES, wire._HEAD.unpack_from(data, 4))) | dict({changes})
    body = wire._HEAD.pack(*head.values()) + {tail}
    write(fd, struct.pack(">I", len(body)) + body)
    return len(data)
NAMES = "kind status truncated inside wall memory out err mark threads length".split()
posix.write = forge
"""


_BROKEN = "broke the protocol"

ROWS = (
    _row(
        "noise on every descriptor",
        "for fd in range(3, 256):\n    try: posix.write(fd, b'noise' * 999)\n    except OSError: pass",
    ),
    _row("every descriptor is closed", "posix.closerange(0, 256)"),
    _row(
        "every descriptor is another one", "for fd in range(256):\n    try: posix.dup2(0, fd)\n    except OSError: pass"
    ),
    _row("no descriptor is left", "try:\n    while True: posix.dup(0)\nexcept OSError: pass"),
    _row("the requests are read by the code", "posix.set_blocking(48, False)\nprint(posix.read(48, 9))"),
    _row("the answer twice", _instead("write(fd, data); write(fd, data)")),
    _row("an answer after the answer", _instead("write(fd, data); time.sleep(0.05); write(fd, data)"), after_s=0.1),
    _row("half an answer", _instead("write(fd, data[:-9])"), effect="late"),
    _row("half an answer, and the end", _instead("write(fd, data[:-9]); posix._exit(0)")),
    _row("an answer of 4 GiB", _instead("write(fd, b'\\xff\\xff\\xff\\xff')")),
    _row(
        "an answer of 15 MiB that never ends",
        _instead("write(fd, struct.pack('>I', 15 * MIB)); write(fd, bytes(14 * MIB))"),
        effect="late",
    ),
    _row("an empty answer", _frame("b''"), ends=_BROKEN),
    _row("an answer of noise", _frame("b'\\x80\\x04N.' * 99"), ends=_BROKEN),
    _row("an answer of another kind", _head("kind=0"), ends=_BROKEN),
    _row("a status that there is not", _head("status=200"), ends=_BROKEN),
    _row("seconds below zero", _head("wall=-1.0"), ends=_BROKEN),
    _row("seconds without end", _head("wall=float('inf')"), ends=_BROKEN),
    _row("seconds that are no number", _head("wall=float('nan')"), ends=_BROKEN),
    _row("2**64 bytes of output", _head("out=2**64 - 1"), ends=_BROKEN),
    _row("2**53 bytes of output, on the tape", _head("out=2**53, inside=False")),
    _row("2**53 bytes of output, in the frame", _head("out=2**53, inside=True"), ends=_BROKEN),
    _row("a mark that lies behind its text", _head("mark=2**53")),
    _row("more memory than there is", _head("memory=2**52"), ends="killed: used"),
    _row("2**53 threads", _head("threads=2**53")),
    _row("a result of 2 GiB", _head("length=2**31 - 1"), ends=_BROKEN),
    _row("a result of -9 bytes", _head("length=-9"), ends=_BROKEN),
    _row("a result that is no text", _head("length=2", "b'\\xff\\xfe'"), ends=_BROKEN),
    _row("a result that is half a surrogate", _head("length=3", "b'\\xed\\xa0\\x80'"), ends=_BROKEN),
    _row("outputs that are no JSON", _head("length=-1", "b'nonsense'"), ends=_BROKEN),
    _row("outputs that are no bundles", _head("length=-1", "b'[[[]]]'"), ends=_BROKEN),
    _row("outputs that are half a surrogate", _head("length=-1", 'br\'[{"a": "\\ud800"}]\''), ends=_BROKEN),
    _row("outputs that are deep", _head("length=-1", "b'[' * 60000"), ends=_BROKEN),
    _row("outputs of a million values", _head("length=-1", "b'[' + b'0,' * MIB + b'0]'"), ends=_BROKEN),
    _row("outputs of a million escapes", _head("length=-1", "b'[{\"a\":\"' + b'\\\\\\\\' * MIB + b'\"}]'")),
    _row("outputs that are a number of 60,000 digits", _head("length=-1", "b'9' * 60000"), ends=_BROKEN),
    _row("a bundle of noise", _frame("b'\\x03' * 99"), ends=_BROKEN),
    _row("a bundle that is none", _shown("b'[]'"), ends=_BROKEN),
    _row("a bundle that is deep", _shown("b'[' * 60000"), ends=_BROKEN),
    _row("a bundle of a million values", _shown("b'[{' + b'\"a\":0,' * MIB + b'}]'"), ends=_BROKEN),
    _row("a bundle behind text that there is not", _shown("b'[{}]'", out="2**64 - 1")),
    _row("bundles without end", _shown("b'[{}]'", times="999"), ends=_BROKEN),
    _row("bundles of 40 MiB", _shown("b'[{\"a\":\"' + b'x' * MIB + b'\"}]'", times="40"), ends=_BROKEN),
    _row("a bundle behind the answer", _shown("b'[{}]'", last=True), after_s=0.1),
    _row("half a bundle", _instead("write(fd, struct.pack('>IB', 99, 3)); write(fd, data)"), effect="late"),
    _row("a tape whose length is a lie", "import mmap\nmmap.mmap(1, 4096)[:8] = b'\\xff' * 8\nposix._exit(0)"),
    _row("a tape at whose end nothing is", "posix.lseek(1, 2**62, 0)\nposix._exit(0)"),
    _row(
        "the marks of the descriptors that the server has, too (O_APPEND, O_DIRECT, O_ASYNC)",
        """
import fcntl
for fd in range(256):
    try: fcntl.fcntl(fd, fcntl.F_SETFL, 0o62000 | os.O_NONBLOCK)
    except OSError: pass
""",
    ),
    _flood("print", "while True: print('x' * 9999)"),
    _flood("stderr", "while True: sys.stderr.write('x' * 9999)"),
    _flood("a line of a gigabyte", "print('x' * 10**7 * 3)"),
    _flood("write() of the C library", "while True: libc.write(1, b'x' * 99999, 99999)"),
    _flood("characters that JSON escapes", "while True: print('\\x00' * 9999)"),
    _flood("bytes that are no text", "while True: sys.stdout.buffer.write(b'\\xff' * 9999)"),
    _flood("a traceback without end", "class E(Exception):\n    def __str__(self): return 'x' * 10**7\nraise E"),
    _flood("a long result", "'x' * 10**7"),
)
