"""A column of the table: one server, as one user, with the wall or without; it runs rows and tells what got through."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import requests

from sandbox.limits import MIB
from tests.conftest import ROOT, Server
from tests.escapes.inside import prelude
from tests.escapes.row import Row
from tests.escapes.world import World, as_user, become_subreaper, is_traced, kill_quietly, secret

ORDINARY_UID = 54321
WITHOUT_WALL = {"SANDBOX_STEPS": "session,descriptors,parent", "ALLOW_STUBS_ONLY": "true"}

_SETTINGS = {
    "SESSION_LIBRARIES": "plain",
    "RUN_LIBRARIES": "plain",
    "RUN_POOL_SIZE": 0,
    "TIMEOUT_SECONDS": 0.5,
    "MEMORY_LIMIT_MB": 32,
    "POOL_SIZE": 3,
    "IDLE_TIMEOUT_SECONDS": 600,
}
_PROMISED_S = 0.5 + 0.3  # the answer is out by then
_SLACK_S = 1.2  # for a machine that does other things, too
_MEMORY_BYTES = 100 * MIB  # three times the limit
_MOST_THREADS = 140
_MORE_TRIES = 2
_LOOKED_FOR = frozenset(("memory", "threads", "late", "burns"))  # effects that are gone with the answer
_MOST_SOCKETS = 128  # twice the descriptors; each buffers some 200 KiB
_GONE_S = 2.0
_ANSWER_BYTES = 16 * MIB  # two streams of a MiB, each byte escaped
# Kinds of descriptors that reach nobody: a worker's own, and files, which are the business of "told".
_KNOWN_KINDS = re.compile(r"/memfd:(stdin|stdout|stderr) |/(?!memfd)|pipe:|anon_inode:\[(eventpoll|eventfd|timerfd)\]")


_OF_THE_WORLD = {"changed", "killed", "signalled", "traced", "overwritten", "listens", "outlives", "processes"}
_OF_THE_SERVER = {"killed", "traced", "fault", "late", "outlives"}
_IDENTITY = (
    *("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"),
    *("NoNewPrivs", "Seccomp", "Seccomp_filters", "Cpus_allowed", "VmLck"),
)


@dataclass
class Result:
    """How one row went. `through`: what the oracles say, `effect: detail`, nothing when all is well."""

    answer: dict[str, Any] | None
    through: list[str]
    took_s: float

    @property
    def effects(self) -> set[str]:
        return {line.partition(":")[0] for line in self.through}


class Unavailable(Exception):
    """This column cannot be had here; the text says why."""


class EscapeServer(Server):
    """run.py as user `uid`, with secrets around it."""

    def __init__(self, world: World, python: str, **env: object) -> None:
        self.log = world.home / "server.log"
        settings = {f"PYRUNNER_{name}": str(value) for name, value in env.items()}
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYRUNNER_")}
        with self.log.open("ab") as stderr, (world.home / "stdin").open() as stdin:
            self.process = subprocess.Popen(
                [python, str(ROOT / "run.py"), "--port", "0"],
                cwd=world.folder,
                env=clean | settings | {"SECRET_TOKEN": world.secrets["server"], "HOME": "/"},
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                **as_user(world.uid),
            )
        assert self.process.stdout is not None
        banner = self.process.stdout.readline()
        match = re.search(r"(http://\S+)/docs", banner)
        assert match, f"no banner: {banner!r} {self.log.read_text()}"
        self.url = match[1]
        self.http = requests.Session()
        self.wait_ready("plain")

    @property
    def zygote(self) -> int:
        return _started_as(b"sandbox.zygote", _children(self.process.pid))[0]


@dataclass
class Column:
    """`user`: `root` or `ordinary`. Close it."""

    user: str
    wall: bool
    python: str
    done: dict[Row, Result] = field(default_factory=dict)

    def __post_init__(self) -> None:
        become_subreaper()
        self.world = World(uid_of(self.user), self.python)
        self._start()

    def close(self) -> None:
        self.server.stop()
        self.world.close()

    def result(self, row: Row) -> Result:
        """Run a row; again if what speaks against it may be somebody else's doing."""
        if row not in self.done:
            result = self._run(row)
            for _ in range(_MORE_TRIES):
                if not self._is_doubtful(row, result):
                    break
                result = self._run(row)
            self.done[row] = result
        return self.done[row]

    def _is_doubtful(self, row: Row, result: Result) -> bool:
        """Whether it was judged by figures that others on this machine move, or by looks that may have come late."""
        if self.wall:
            return result.effects == {"memory"}
        return row.effect in _LOOKED_FOR and self.is_open(row) is True and row.effect not in result.effects

    def skips(self, row: Row) -> str | None:
        """Why a row cannot be run here."""
        if row.machine not in ("", os.uname().machine):
            return f"it is written for {row.machine}"
        if row.name == "an attribute" and not self.world.has_attributes:
            return "the file system has no attributes"
        if not self.wall and not row.tried_without_wall:
            return "it would reach the whole machine"
        if self.wall and row.step and self.server.health()["sandbox"].get(row.step, "absent").startswith("absent"):
            return f"the step {row.step} cannot be taken here"
        if row.module and subprocess.run([self.python, "-c", f"import {row.module}"], capture_output=True).returncode:
            return f"{row.module} is not installed"
        return None

    def is_open(self, row: Row) -> bool | None:
        """Whether the row says that it gets through in this column; None: it may."""
        if self.wall:
            return False
        return False if self.user == "ordinary" and row.ordinary_stopped_by else row.open_without_wall

    def _start(self) -> None:
        self.server = EscapeServer(self.world, self.python, **_SETTINGS, **({} if self.wall else WITHOUT_WALL))
        self._zygote = self.server.zygote
        self._open_other()

    def _open_other(self) -> None:
        self.other_secret = secret("other")
        half = len(self.other_secret) // 2  # the request that made it shall not be found
        parts = self.other_secret[:half], self.other_secret[half:]
        code = f"secret = ''.join({parts!r})\nprint(secret)\nimport os\nos.getpid()"
        answer = self.server.execute(code)
        self.other, self._other_pid = answer["id"], int(answer["result"])

    def _run(self, row: Row) -> Result:
        strangers = set(_children(os.getpid()))
        before = self.server.execute(self._prelude())
        pid = int(before["result"])
        number = 10000 + int.from_bytes(os.urandom(2)) % 50000 & ~1
        if row.receiver:
            self.server.execute(f"SECRET = {number}", before["id"])
        identity = _identity(pid)
        watch = Watch(pid, self.server.url if row.busy else None)
        started = time.monotonic()
        answer, trouble = self._ask(row, before["id"])
        took = time.monotonic() - started
        through = trouble + list(watch.stop(answer))
        heard = json.dumps(answer)
        received = self._receive(row) if row.receiver else ""
        if row.effect in ("late", "threads") and took > _PROMISED_S + _SLACK_S:
            through.append(f"late: {took:.1f} s")
        if len(heard) > _ANSWER_BYTES:
            through.append(f"flood: {len(heard)} bytes")
        through += self.world.told(heard, self.other_secret)
        if re.search(rf"\b{number}\b", received):
            through.append("told: what another session wrote")
        if row.after_s:
            through += self._burns(pid, row)
        through += self._differs(pid, identity)
        through += self.world.damage(row.effect, 0.1 if self.wall else 2)
        through += self._processes(strangers)
        through += self._close(before["id"], pid)
        through += self._faults()
        result = Result(answer, through, time.monotonic() - started)
        self._repair(strangers, result.effects)
        return result

    def _prelude(self) -> str:
        server = self.server.process.pid
        own = {"SERVER": server, "ZYGOTE": self.server.zygote, "OTHER": self._other_pid}
        port = int(self.server.url.rpartition(":")[2])
        return prelude(self.world.facts | own | {"PORT": port})

    def _ask(self, row: Row, id: str) -> tuple[dict[str, Any] | None, list[str]]:
        try:
            body = {"code": row.code, "id": id, "timeout": row.wall_s}
            reply = self.server.http.post(f"{self.server.url}/execute", json=body, timeout=20)
        except requests.RequestException as error:
            return None, [f"fault: no answer ({type(error).__name__})"]
        if reply.status_code != 200:
            return None, [f"fault: HTTP {reply.status_code} {reply.text}"]
        return reply.json(), []

    def _receive(self, row: Row) -> str:
        receiver = self.server.execute(self._prelude())
        answer = self.server.execute(row.receiver, receiver["id"])
        self.server.close(receiver["id"])
        return str(answer["stdout"])

    def _burns(self, pid: int, row: Row) -> Iterator[str]:
        time.sleep(row.after_s)
        try:
            times = [sum(psutil.Process(pid).cpu_times()[:2])]
            time.sleep(0.3)
            times.append(sum(psutil.Process(pid).cpu_times()[:2]))
        except psutil.Error:
            return
        if times[1] - times[0] > 0.1:
            yield f"burns: {times[1] - times[0]:.2f} s of 0.3 s after its answer"

    def _differs(self, pid: int, before: dict[str, str]) -> Iterator[str]:
        after = _identity(pid)
        for name in after:
            if after[name] != before.get(name):
                kind = "holds" if name.startswith("fd ") else "privileged"
                yield f"{kind}: {name} {before.get(name, '')} -> {after[name]}"
        if any(map(is_traced, (self.server.process.pid, self._zygote, self._other_pid))):
            yield "traced: the server, its zygote or another session"
        if self.world.maps(pid):
            yield "mapped: a file of the folder"

    def _processes(self, strangers: set[int]) -> Iterator[str]:
        for _ in range(4):
            found = self._strange(strangers)
            if not found:
                return
            time.sleep(0.05)  # a worker of the pool may be a moment old
        yield f"processes: {len(found)} that are no workers"

    def _strange(self, known: set[int]) -> list[int]:
        """Processes that came of the server's and are not its zygote, workers and launcher."""
        children = set(_children(self.server.process.pid))
        own = {self._zygote, *_started_as(b"sandbox.launch", children)}
        orphans = (set(_children(os.getpid())) - known) | (children - own)
        found = [pid for pid in orphans if not _is_zombie(pid)]
        for worker in _children(self._zygote):
            found += _children(worker)
            with suppress(ProcessLookupError):
                if os.getsid(worker) != worker and not _is_zombie(worker):
                    found.append(worker)
        return found

    def _close(self, id: str, pid: int) -> Iterator[str]:
        with suppress(requests.RequestException):
            self.server.close(id)
        deadline = time.monotonic() + _GONE_S
        while psutil.pid_exists(pid):
            if time.monotonic() > deadline:
                yield "outlives: its worker is there after its session"
                return
            time.sleep(0.005)

    def _faults(self) -> Iterator[str]:
        try:
            zygote = self.server.zygote
            if self.server.process.poll() is not None or zygote != self._zygote:
                raise LookupError
            answer = self.server.execute("secret", self.other)
        except (requests.RequestException, IndexError, LookupError):
            yield "killed: the server or its zygote"
            return
        if answer["result"] != repr(self.other_secret):
            yield f"killed: another session ({answer['error']}, {answer['detail']})"
        text = self.server.log.read_text()
        if "Traceback" in text or "never retrieved" in text or " ERROR " in text:
            yield f"fault: {text[-2000:]}"

    def _repair(self, known: set[int], effects: set[str]) -> None:
        """Everything as it was before."""
        broken = bool(effects & _OF_THE_SERVER)
        if broken:
            self.server.stop(9)
        for pid in self._strange(known):
            kill_quietly(pid)
        if effects & _OF_THE_WORLD:
            self.world.make()
        if broken:
            self.server.log.unlink()
            self._start()


class Watch:
    """Looks at a worker from outside while its code runs."""

    def __init__(self, pid: int, url: str | None) -> None:
        self._pid = pid
        self._url = url
        self._own = self._threads = self._sockets = 0
        self._children: set[int] = set()
        self._slowest_s = 0.0
        self._machine, self._most = _machine(), [0, 0]
        self._first = self._read()
        self._first_sockets = _unix_sockets(pid)
        self._done = threading.Event()
        self._looker = threading.Thread(target=self._look)
        self._looker.start()

    def stop(self, answer: dict[str, Any] | None) -> Iterator[str]:
        """What it has seen."""
        self._done.set()
        self._looker.join()
        claims = re.findall(r"HELD (\d+)", json.dumps(answer))
        held = min(max(self._most), max(map(int, claims), default=0))  # others use memory, too
        grown = max(self._own - self._first, held)
        if grown > _MEMORY_BYTES:
            yield f"memory: {grown // MIB} MiB"
        if self._sockets - self._first_sockets > _MOST_SOCKETS:
            yield f"memory: of {self._sockets - self._first_sockets} sockets"
        if self._children:
            yield f"processes: {len(self._children)} of the worker's"
        if self._threads > _MOST_THREADS:
            yield f"threads: {self._threads}"
        if self._slowest_s > 1.0:
            yield f"late: the server's own answers took {self._slowest_s:.1f} s"

    def _look(self) -> None:
        session = requests.Session()
        while not self._done.wait(0.01):
            self._own = max(self._own, self._read())
            self._children.update(_children(self._pid))
            self._sockets = max(self._sockets, _unix_sockets(self._pid))
            self._most = [
                max(most, now - before) for most, now, before in zip(self._most, _machine(), self._machine, strict=True)
            ]
            if self._url is not None:
                started = time.monotonic()
                with suppress(requests.RequestException):
                    session.get(self._url, timeout=10)
                self._slowest_s = max(self._slowest_s, time.monotonic() - started)
        session.close()

    def _read(self) -> int:
        """Memory of the worker's own, with its page tables."""
        try:
            status = Path(f"/proc/{self._pid}/status").read_text()
        except OSError:
            return 0
        fields = dict(re.findall(r"^(\w+):\s*(\d+)", status, re.MULTILINE))
        self._threads = max(self._threads, int(fields.get("Threads", 0)))
        return sum(int(fields.get(name, 0)) for name in ("RssAnon", "RssShmem", "VmPTE")) * 1024


def uid_of(user: str) -> int:
    """The user id that a column's server has."""
    return 0 if user == "root" else os.geteuid() or ORDINARY_UID


def interpreter_for(uid: int, home: Path) -> str:
    """An interpreter that this user can start, with all that the server needs. Raises Unavailable."""
    candidates = [sys.executable]
    if uid != os.geteuid():
        candidates.append(_system_interpreter(home))
    for python in candidates:
        command = [python, "-c", "import uvicorn, starlette, pydantic_settings, psutil, sandbox.zygote"]
        with suppress(OSError):
            if subprocess.run(command, cwd=ROOT, capture_output=True, **as_user(uid)).returncode == 0:
                return python
    raise Unavailable(f"user {uid} can start none of {', '.join(candidates)} with the server's packages")


def _system_interpreter(home: Path) -> str:
    """A virtual environment of the system's Python with this one's packages, if it is of the same version."""
    venv = home / "venv"
    system = "/usr/bin/python3"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    with suppress(OSError, subprocess.SubprocessError):
        found = subprocess.check_output([system, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], text=True)
        if found.strip() == version:
            subprocess.run([system, "-m", "venv", "--without-pip", venv], check=True, capture_output=True)
            packages = [path for path in sys.path if path.endswith("site-packages")]
            (venv / f"lib/python{version}/site-packages/shared.pth").write_text("\n".join(packages) + "\n")
    return str(venv / "bin" / "python")


def _children(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(word) for word in path.read_text().split()]
    return found


def _started_as(module: bytes, pids: Iterable[int]) -> list[int]:
    found = []
    for pid in pids:
        with suppress(OSError):
            if module in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def _pairs(base: Path) -> set[str]:
    """The connected pairs of stream sockets without a name: event loops wake themselves with them."""
    lines = (line.split() for line in (base / "net" / "unix").read_text().splitlines()[1:])
    return {f"socket:[{words[6]}]" for words in lines if words[4:6] == ["0001", "03"] and len(words) == 7}


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _unix_sockets(pid: int) -> int:
    """How many there are in a process's network namespace."""
    try:
        return Path(f"/proc/{pid}/net/unix").read_text().count("\n")
    except OSError:
        return 0


def _machine() -> tuple[int, int]:
    """Bytes of the whole machine: shared memory, and what cannot be had any more."""
    sizes = dict(re.findall(r"^(\w+):\s*(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE))
    return int(sizes["Shmem"]) * 1024, -int(sizes["MemAvailable"]) * 1024


def _identity(pid: int) -> dict[str, str]:
    """Who a process is: ids, capabilities, namespaces, limits, folders, scheduling, kinds of descriptors."""
    base = Path(f"/proc/{pid}")
    try:
        status = dict(line.split(":\t") for line in (base / "status").read_text().splitlines())
        found = {name: status.get(name, "") for name in _IDENTITY}
        for name in ("limits", "oom_score_adj", "personality"):
            found[name] = (base / name).read_text()
        for link in (base / "root", base / "cwd", *(base / "ns").iterdir()):
            found[link.name] = os.readlink(link)
        scheduling = (base / "stat").read_text().rpartition(")")[2].split()
        found["nice"], found["policy"] = scheduling[16], scheduling[38]
        found["dumpable"] = str(base.stat().st_uid)
        tables = {frozenset(os.listdir(task / "fd")) for task in (base / "task").iterdir()}
        found["descriptor tables"] = str(len(tables))
        pairs = _pairs(base)
        for fd in (base / "fd").iterdir():
            with suppress(OSError):
                kind = os.readlink(fd)
                if not _KNOWN_KINDS.match(kind) and kind not in pairs:
                    found[f"fd {kind.split(':[')[0]}"] = "held"
        return found if status["State"][0] not in "ZX" and status.get("VmLck") else {}  # not while it dies
    except (OSError, ValueError):
        return {}
