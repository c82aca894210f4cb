"""`os.write` to the standard streams, dropped past their bound instead of failing there."""

import os
from collections.abc import Callable
from typing import Any

from sandbox.capture import Capture
from sandbox.stubs.refusal import guarded


def install(capture: Capture) -> None:
    """Put the stand-in in place in `os`, writing to this worker's tapes."""
    os.write = guarded("write", _writer(os.write, capture), lambda *args: None)


def _writer(real: Callable[..., int], capture: Capture) -> Callable[..., int]:
    tapes = {1: capture.out, 2: capture.err}

    def write(fd: int, data: Any, /) -> int:
        tape = tapes.get(fd)
        if tape is None or not os.path.sameopenfile(fd, tape.fd):
            return real(fd, data)
        if isinstance(data, str):
            return real(fd, data)  # which says what is wrong with it
        with memoryview(data) as view:
            tape.write_raw(view.tobytes())
            return view.nbytes

    return write
