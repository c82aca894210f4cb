"""Namespaces of a zygote and its workers: no network interface, no host's IPC or name, a root of their own.

The root is a tmpfs with read-only bind mounts of what Python needs, at the same paths. It hides even the names of
all other files, and it lets a worker with a user id of its own read an interpreter in a private home.

There is no PID namespace: a worker would be process 1 in it, whose default signals do nothing, and the kernel's
notice that the server has died would not reach it. Landlock's scopes and the filter keep signals in.
"""

import errno
import os
import posix
import struct
from collections.abc import Iterable
from pathlib import Path

from sandbox.confine.libc import call

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWNET = 0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x40000000
_NEWPID = 0x20000000
_MS_BIND, _MS_REC, _MS_PRIVATE, _MS_RDONLY, _MS_REMOUNT = 0x1000, 0x4000, 0x40000, 0x1, 0x20
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 0x2, 0x4, 0x8
_MNT_DETACH = 2
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_ATTR_RDONLY, _ATTR_NOSUID = 0x1, 0x2
_MOUNT_POINTS = ("/mnt", "/media", "/srv", "/home", "/boot", "/var")  # one is covered by the new root, in here only
SCRATCH = "/tmp"  # noqa: S108 - of the private root, writable until it is sealed


def unshare(*, processes: bool = False) -> str:
    """Leave the host's network, IPC and host name; as an ordinary user, from within a user namespace.

    `processes`: the children of this process live in a namespace of their own, and all of them die with the first.
    """
    uid, gid = posix.geteuid(), posix.getegid()
    if uid != 0:
        call("unshare", _NEWUSER)
        for name, content in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            Path(f"/proc/self/{name}").write_text(content)
    call("unshare", _NEWNS | _NEWNET | _NEWIPC | _NEWUTS | (_NEWPID if processes else 0))
    kinds = "network, IPC, host name, mounts" + (", processes" if processes else "")
    return kinds + ("" if uid == 0 else ", in a user namespace")


def enter_private_root(readable: Iterable[str], scratch_bytes: int = 0) -> str:
    """Make a root that holds only `readable`, /proc and an empty scratch folder, and move into it.

    Needs the mount namespace of unshare(). Paths that do not exist are passed over.
    `scratch_bytes`: the scratch folder is a file system of its own, of this size, and stays writable.
    """
    paths = [path for path in (*readable, "/proc") if os.path.exists(path)]
    root = _mount_point(paths)
    call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
    call("mount", b"tmpfs", root.encode(), b"tmpfs", _MS_NOSUID | _MS_NODEV, b"mode=755,size=64m")
    try:
        _copy_links(root)
        for path in (*sorted(set(map(os.path.realpath, paths))), *paths):
            _bind(path, root)
        os.makedirs(root + SCRATCH, exist_ok=True)
        if scratch_bytes:
            options = f"mode=711,size={scratch_bytes},nr_inodes=65536".encode()
            call("mount", b"tmpfs", (root + SCRATCH).encode(), b"tmpfs", _MS_NOSUID | _MS_NODEV, options)
        os.mkdir(root + "/.old")
        os.chdir(root)
        call("pivot_root", b".", b".old")
    except OSError:
        call("umount2", root.encode(), _MNT_DETACH)
        raise
    os.chdir("/")
    call("umount2", b"/.old", _MNT_DETACH)
    os.rmdir("/.old")
    return f"a private root of {len(paths)} read-only mounts"


def seal_private_root() -> None:
    """Nothing is made in the private root any more, by the zygote either."""
    call("mount", None, b"/", None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV, None)


def _mount_point(paths: list[str]) -> str:
    for folder in _MOUNT_POINTS:
        if os.path.isdir(folder) and not os.path.islink(folder) and not any(_inside(path, folder) for path in paths):
            return folder
    raise OSError(errno.ENOENT, "no folder can be spared to mount a private root on", " ".join(_MOUNT_POINTS))


def _inside(path: str, folder: str) -> bool:
    return os.path.realpath(path).startswith(folder + "/") or path.startswith(folder + "/")


def _copy_links(root: str) -> None:
    """/lib and its like are links on most systems; paths through them must lead on."""
    for name in os.listdir("/"):
        if os.path.islink("/" + name):
            os.symlink(os.readlink("/" + name).lstrip("/"), os.path.join(root, name))


def _bind(path: str, root: str) -> None:
    """Mount `path` of the old root read-only at the same place of the new one."""
    target = root + path
    if os.path.exists(target):
        return  # below a folder that is mounted already, or reached through a link
    if os.path.isdir(path):
        os.makedirs(target)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        Path(target).touch()
    call("mount", os.path.realpath(path).encode(), target.encode(), None, _MS_BIND | _MS_REC, None)
    if path != "/proc":  # its files say themselves who may write them
        attributes = struct.pack("=4Q", _ATTR_RDONLY | _ATTR_NOSUID, 0, 0, 0)
        call("mount_setattr", _AT_FDCWD, target.encode(), _AT_RECURSIVE, attributes, len(attributes))


def own_proc() -> str:
    """Have /proc show the processes of this process namespace only. Needs to be its first process."""
    call("mount", b"proc", b"/proc", b"proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, None)
    return "/proc of its own processes"
