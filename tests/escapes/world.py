"""The world outside of a server: canaries that must stay as they are, and the oracles that look at them."""

import ctypes
import os
import secrets
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from glob import glob
from pathlib import Path
from typing import Any

_VICTIM = """
import ctypes, os, signal, sys, time
text = ctypes.create_string_buffer(os.environ["SECRET"].encode(), 64)
signal.signal(signal.SIGUSR1, lambda *_: print("signalled", flush=True))
signal.signal(signal.SIGURG, lambda *_: print("signalled", flush=True))
print(ctypes.addressof(text), flush=True)
while True:
    time.sleep(60)
"""
_SHARED_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue")


def secret(kind: str) -> str:
    """A word that nobody guesses; attackers know the shape of it."""
    return f"{kind}-{secrets.token_hex(16)}"


class World:
    """Owned by user `uid`, as the server is. `python`: an interpreter that this user can start."""

    def __init__(self, uid: int, python: str) -> None:
        self.uid = uid
        self.mark = f"escapes-{secrets.token_hex(6)}"
        self.home = Path(tempfile.mkdtemp(prefix="escapes-", dir="/tmp"))
        self.home.chmod(0o755)
        self.folder = self.home / "folder"
        self.folder.mkdir()
        self.secrets = {kind: secret(kind) for kind in ("canary", "server", "victim", "argument")}
        self.size = secrets.randbelow(9 * 10**10) + 10**10
        self._python = python
        self._listeners: dict[str, socket.socket] = {}
        self.victim: subprocess.Popen[str]
        (self.home / "stdin").write_text(self.secrets["canary"] + "\n")
        self.make()

    def make(self) -> None:
        """Everything as it was, whatever has become of it."""
        while os.path.ismount(self.folder / "empty"):
            subprocess.run(["umount", str(self.folder / "empty")], check=True)
        self.unmake()
        self._make_files()
        self._listen()
        self._start_victim()
        self._snapshot = self._files()

    def unmake(self) -> None:
        """End what make() started."""
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        if hasattr(self, "victim"):
            self.victim.kill()
            self.victim.wait()
            assert self.victim.stdout is not None
            self.victim.stdout.close()
        for path in self.folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        for path in self._elsewhere():
            with suppress(OSError):
                os.unlink(path)

    def close(self) -> None:
        self.unmake()
        shutil.rmtree(self.home)

    @property
    def facts(self) -> dict[str, object]:
        """What attackers know: names and numbers, no secrets."""
        return {
            "FOLDER": str(self.folder),
            "CANARY": str(self.folder / "canary"),
            "MARK": self.mark,
            "KEY": int(self.mark[-6:], 16),
            "TCP": self._listeners["tcp"].getsockname()[1],
            "UDP": self._listeners["udp"].getsockname()[1],
            "FREE": self.free_port,
            "VICTIM": self.victim.pid,
            "ADDRESS": self._address,
        }

    def told(self, text: str, *more: str) -> list[str]:
        """Which secrets are in a text."""
        words = {**self.secrets, "size": str(self.size), "port": f":{self.facts['TCP']:04X} "}
        return [f"told: {kind}" for kind, word in words.items() if word in text] + [
            "told: another session" for word in more if word in text
        ]

    def damage(self, effect: str, wait_s: float) -> Iterator[str]:
        """What has happened to the world. `effect`: what may need `wait_s` to be seen."""
        files = self._files()
        for path in sorted(files.keys() | self._snapshot.keys()):
            if files.get(path) != self._snapshot.get(path):
                yield f"changed: {Path(path).name}"
        for name, listener in self._listeners.items():
            with suppress(BlockingIOError):
                if listener.type == socket.SOCK_STREAM:
                    listener.accept()[0].close()
                else:
                    listener.recv(99)
                yield f"reached: {name}"
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.free_port), 1).close()
            yield "listens: on a port"
        yield from self._damage_of_victim(effect, wait_s)

    def maps(self, pid: int) -> bool:
        """Whether a process has mapped a file of the folder."""
        try:
            return str(self.folder) in Path(f"/proc/{pid}/maps").read_text()
        except OSError:
            return False

    def _damage_of_victim(self, effect: str, wait_s: float) -> Iterator[str]:
        pid = self.victim.pid
        with suppress(subprocess.TimeoutExpired):
            self.victim.wait(wait_s if effect == "killed" else 0)
            yield "killed: a process"
            return
        assert self.victim.stdout is not None
        noted = select.select([self.victim.stdout], [], [], wait_s if effect == "signalled" else 0)[0]
        if noted and os.read(self.victim.stdout.fileno(), 99):
            yield "signalled: a process"
        if is_traced(pid):
            yield "traced: a process"
        if Path(f"/proc/{pid}/limits").read_text() != self._limits:
            yield "overwritten: limits of a process"
        with open(f"/proc/{pid}/mem", "rb") as memory:
            memory.seek(self._address)
            if memory.read(64).rstrip(b"\0").decode(errors="replace") != self.secrets["victim"]:
                yield "overwritten: memory of a process"

    def _make_files(self) -> None:
        folder = self.folder
        (folder / "canary").write_text(self.secrets["canary"] + "\n")
        (folder / ".env").write_text(f"SECRET_TOKEN={self.secrets['server']}\n")
        (folder / "canary_module.py").write_text(f"secret = {self.secrets['canary']!r}\n")
        (folder / "sized").touch()
        os.truncate(folder / "sized", self.size)
        (folder / f"named-{self.secrets['canary']}").touch()
        (folder / "link").symlink_to(self.secrets["canary"])
        (folder / "empty").mkdir()
        database = sqlite3.connect(folder / "database")
        database.execute("create table t as select ? as secret", [self.secrets["canary"]])
        database.commit()
        database.close()
        libraries = (path for path in _libraries() if os.path.isfile(path))
        shutil.copy(next(libraries), folder / "library.so")
        self.has_attributes = True
        try:
            os.setxattr(folder / "canary", "user.secret", self.secrets["canary"].encode())
        except OSError:
            self.has_attributes = False

    def _listen(self) -> None:
        unix = str(self.folder / "stream"), str(self.folder / "datagram"), "\0" + self.mark
        self._listeners = {
            "tcp": _bound(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            "udp": _bound(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            "unix stream": _bound(socket.AF_UNIX, socket.SOCK_STREAM, unix[0]),
            "unix datagram": _bound(socket.AF_UNIX, socket.SOCK_DGRAM, unix[1]),
            "abstract": _bound(socket.AF_UNIX, socket.SOCK_STREAM, unix[2]),
        }
        with socket.create_server(("127.0.0.1", 0)) as unused:
            self.free_port = unused.getsockname()[1]
        for path in (self.folder, *self.folder.iterdir()):
            os.chown(path, self.uid, self.uid, follow_symlinks=False)

    def _start_victim(self) -> None:
        self.victim = subprocess.Popen(
            [self._python, "-I", "-c", _VICTIM, self.secrets["argument"]],
            env={"SECRET": self.secrets["victim"]},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **as_user(self.uid),
        )
        assert self.victim.stdout is not None
        self._address = int(self.victim.stdout.readline())
        self._limits = Path(f"/proc/{self.victim.pid}/limits").read_text()
        os.set_blocking(self.victim.stdout.fileno(), False)

    def _files(self) -> dict[str, Any]:
        """Each file of the folder, and what there is to it."""
        paths = [self.folder, *self.folder.iterdir()] if self.folder.is_dir() else []
        return (
            {str(path): _state(path) for path in paths}
            | {path: "made" for path in self._elsewhere()}
            | {path: "mount" for path in (str(self.folder / "empty/"),) if os.path.ismount(path)}
        )

    def _elsewhere(self) -> list[str]:
        return [path for folder in _SHARED_FOLDERS for path in glob(f"{folder}/*{self.mark}*")]


def as_user(uid: int) -> dict[str, Any]:
    """Arguments of Popen that start a process as this user."""
    return {} if uid == os.geteuid() else {"user": uid, "group": uid, "extra_groups": []}


def is_traced(pid: int) -> bool:
    """Whether somebody has a hand on this process."""
    try:
        return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def become_subreaper() -> None:
    """Orphans of attacks come to this process, wherever they went."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def kill_quietly(pid: int) -> None:
    """End a process that an attack has left behind, and reap it if it came to us."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _bound(family: int, kind: int, address: Any) -> socket.socket:
    bound = socket.socket(family, kind)
    bound.bind(address)
    if kind == socket.SOCK_STREAM:
        bound.listen()
    bound.setblocking(False)
    return bound


def _state(path: Path) -> tuple[Any, ...]:
    stat = path.lstat()
    content = None
    if path.is_symlink():
        content = os.readlink(path)
    elif path.is_file() and stat.st_size < 10**6:
        content = path.read_bytes()
    attributes = (
        None
        if path.is_symlink() or path.is_socket()
        else [(name, os.getxattr(path, name)) for name in os.listxattr(path)]
    )
    return stat.st_mode, stat.st_uid, stat.st_gid, stat.st_nlink, stat.st_mtime_ns, stat.st_size, content, attributes


def _libraries() -> Iterator[str]:
    """Shared libraries of the system, small ones."""
    for folder in (*glob("/usr/lib/*-linux-gnu"), "/usr/lib64", "/lib", sys.base_prefix + "/lib"):
        for name in ("libutil.so.1", "libdl.so.2", "librt.so.1", "libm.so.6"):
            yield f"{folder}/{name}"
    yield from glob("/lib/ld-musl-*")
