"""Files in memory that are handed to programs as descriptors, and bytes read back from them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def memory_file(content: bytes = b"") -> Iterator[int]:
    """An open file in memory that stands at its beginning; closed at the end."""
    fd = os.memfd_create("pyrunner", os.MFD_CLOEXEC)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


def read_back(fd: int, most_bytes: int) -> bytes:
    """What is in it, from its beginning, whoever wrote it."""
    parts, place = [], 0
    while place < most_bytes and (part := os.pread(fd, most_bytes - place, place)):
        parts.append(part)
        place += len(part)
    return b"".join(parts)


@contextmanager
def null() -> Iterator[int]:
    fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
