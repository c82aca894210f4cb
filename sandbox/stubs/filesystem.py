"""Files: only what Python and its libraries ship may be read; nothing may be changed."""

import builtins
import io
import os
import tempfile
from collections.abc import Callable
from typing import Any

from sandbox.confine.readable import PROC_FILES, libraries
from sandbox.stubs.refusal import denied, guarded, refuse

_CHANGES_A_PATH = (
    "remove unlink rmdir mkdir makedirs removedirs chmod chown lchown lchmod chflags lchflags truncate "
    "utime mknod mkfifo setxattr removexattr getxattr listxattr chroot"
)
_CHANGES_TWO_PATHS = "rename renames replace link symlink"
_CHANGES_A_DESCRIPTOR = "fchmod fchown fchdir ftruncate posix_fallocate copy_file_range sendfile memfd_create openpty"

# Of /proc/self, what leads out of it or holds more than figures.
_PROC_SECRETS = frozenset(("environ", "root", "cwd", "exe", "fd", "fdinfo", "mem", "map_files", "task", "ns"))


def install() -> None:
    """Put the stand-ins in place, in `os`, `io`, `builtins` and `tempfile`.

    `posix` and `_io` keep the real functions: the import system uses them.
    """
    may_read = _reader_of(libraries())

    def opens(file: object, mode: object = "r", *args: object, **kwargs: object) -> BaseException | None:
        if isinstance(file, int):
            return None
        reads_only = isinstance(mode, str) and not set(mode) & set("wax+")
        return None if reads_only and may_read(file) else denied(file)

    def opens_low(path: object, flags: int, *args: object, **kwargs: object) -> BaseException | None:
        changes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        return None if not changes and may_read(path) else denied(path)

    def lists(path: object = ".", *args: object, **kwargs: object) -> BaseException | None:
        return None if may_read(path) else denied(path)

    def moves(path: object = None, *args: object, **kwargs: object) -> BaseException:
        return denied(path)

    def renames(src: Any = None, dst: Any = None, **kwargs: object) -> BaseException:
        error = denied(src)
        error.filename2 = dst
        return error

    stand_in = guarded("open", io.open, opens)
    io.open = builtins.open = stand_in
    io.open_code = guarded("open_code", io.open_code, opens)
    os.open = guarded("open", os.open, opens_low)
    os.listdir = guarded("listdir", os.listdir, lists)
    os.scandir = guarded("scandir", os.scandir, lists)
    os.chdir = guarded("chdir", os.chdir, moves)
    refuse(os, _CHANGES_A_PATH, path_argument="path")
    refuse(os, _CHANGES_A_DESCRIPTOR)
    refuse(os, "sync")
    for name in _CHANGES_TWO_PATHS.split():
        setattr(os, name, guarded(name, getattr(os, name), renames))
    tempfile.tempdir = "/tmp"  # noqa: S108 - nothing can be made there; it only names the path in the error


def _reader_of(roots: tuple[str, ...]) -> Callable[[object], bool]:
    real_path, as_text = os.path.realpath, os.fsdecode
    files = frozenset(map(real_path, roots))
    folders = tuple(os.path.join(file, "") for file in files)

    def may_read(path: object) -> bool:
        if isinstance(path, int):
            return True
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        name = as_text(path)
        if name.startswith(("/proc/self/", f"/proc/{os.getpid()}/", *PROC_FILES)):
            return _PROC_SECRETS.isdisjoint(name.split("/")) and ".." not in name
        real = real_path(name)
        return real in files or real.startswith(folders)

    return may_read
