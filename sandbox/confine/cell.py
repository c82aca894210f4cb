"""The wall around a program that is not a worker: the same steps, for a process that becomes another by exec.

The launcher builds once what all of them inherit; each child of it takes the rest, as its profile says, and execs.
"""

import fcntl
import os
import posix
import shutil
import signal
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from sandbox.confine import descriptors, namespaces, privileges, rlimits
from sandbox.confine.jail import Jail, Plan, StepMissing
from sandbox.confine.landlock import Landlock
from sandbox.confine.programs import EXEC_FD, POLICIES
from sandbox.confine.seccomp import Seccomp
from sandbox.limits import MIB, Limits

SCRATCH_BYTES = 512 * MIB  # of all submissions together
UID_BASE = 1 << 29  # above those of workers, which end below this plus the highest process id
_UIDS = 256  # for each launcher, more than it runs programs at once
_SCRATCH_PREFIX = "pyrunner-scratch-"
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - folders in it are made by mkdtemp


@dataclass(frozen=True, slots=True)
class Profile:
    """What one kind of program may do. Paths are as the host names them."""

    policy: str  # of programs.POLICIES
    readable: tuple[str, ...]
    executable: tuple[str, ...]  # besides the program itself
    writes: bool = False  # into its scratch folder
    own_proc: bool = True  # may read /proc/self


@dataclass(frozen=True, slots=True)
class Launch:
    """One program to be run."""

    profile: str
    argv: tuple[str, ...]
    path: str  # of the program; one that is not absolute is in the folder
    folder: str  # its scratch folder, where it starts
    env: dict[str, str]
    wall_s: float
    cpu_s: int
    data_bytes: int  # for each process of it
    file_bytes: int
    processes: int = 64  # threads and processes at once
    address_space: bool = True
    resident_bytes: int = 0  # past this the watchdog kills it; 0: nobody looks


@dataclass(slots=True)
class Cell(Jail):
    """The steps of a plan for programs. Those that only workers take are passed over."""

    profiles: dict[str, Profile] = field(default_factory=dict)
    scratch: str = ""
    _base: int = 0
    _landlocks: dict[str, Landlock] = field(default_factory=dict)
    _filters: dict[str, Seccomp] = field(default_factory=dict)

    def leave_host(self) -> bool:
        """In the launcher's parent: whether its children live in namespaces of their own."""
        self._base = UID_BASE + posix.getpid() * _UIDS
        self._take("namespaces", lambda: namespaces.unshare(processes=True))
        return self._holds("namespaces")

    def build(self) -> None:
        """In the launcher: what all programs inherit. Raises StepMissing."""
        if self._holds("namespaces"):
            self._take("root", self._private_root)
        else:
            self._miss("root", "it needs the step namespaces")
        if self._holds("root"):
            self.scratch = namespaces.SCRATCH
        else:
            self.scratch = _shared_scratch()
        self._take("landlock", self._make_landlock)
        self._take("seccomp", self._make_seccomp)

    def uid(self, slot: int) -> int:
        """A user id that no other process has."""
        return self._base + slot

    def become(self, launch: Launch, standard: Sequence[int], tell: int, uid: int) -> NoReturn:
        """In a child: be confined as the profile says, and become the program. Raises StepMissing or OSError.

        What goes wrong is told by the caller on `tell`, which is closed when the program begins.
        """
        profile = self.profiles[launch.profile]
        folder = os.path.join(self.scratch, launch.folder)
        path = os.path.join(folder, launch.path)
        program = posix.open(path, os.O_RDONLY | os.O_CLOEXEC)
        posix.setsid()
        posix.chdir(folder)
        descriptors.place(standard, (program, EXEC_FD), (tell, EXEC_FD - 1))
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.SIG_DFL)
        # SIGXFSZ stays ignored, as Python has it: output past its limit is dropped, and the program goes on.
        self._take("user", lambda: self._become_nobody_else(uid))
        self._take("parent", privileges.die_with_parent)  # after a change of user, which would take it back
        self._take("limits", lambda: self._bound(launch))
        self._take("capabilities", privileges.drop_capabilities)
        self._take("no_new_privs", privileges.gain_nothing)
        if launch.profile in self._landlocks:
            writable = (folder,) if profile.writes else ()
            self._take(
                "landlock",
                lambda: self._landlocks[launch.profile].enter(
                    own_proc=profile.own_proc, writable=writable, executable=(path,)
                ),
            )
        if launch.profile in self._filters:
            self._take("seccomp", self._filters[launch.profile].enter)
        os.execve(EXEC_FD, launch.argv, launch.env)  # noqa: S606 - no shell is wanted

    def _private_root(self) -> str:
        paths = [path for profile in self.profiles.values() for path in (*profile.readable, *profile.executable)]
        told = namespaces.enter_private_root(dict.fromkeys(paths), SCRATCH_BYTES)
        try:
            told += ", " + namespaces.own_proc()
        except OSError as error:  # the host hides parts of its own: programs may read their own entry only
            told += f", the host's /proc ({error.strerror})"
        namespaces.seal_private_root()
        return told

    def _become_nobody_else(self, uid: int) -> str:
        if posix.geteuid() != 0:
            return privileges.become_nobody_else()
        privileges.become(uid)
        return "a user id of its own"

    def _bound(self, launch: Launch) -> str:
        return rlimits.set_program_limits(
            launch.data_bytes,
            launch.file_bytes,
            launch.cpu_s,
            launch.processes,
            address_space=launch.address_space,
            counted_apart=self._holds("user"),
        )

    def _make_landlock(self) -> str:
        for name, profile in self.profiles.items():
            self._landlocks[name] = Landlock(profile.readable, profile.executable)
        return f"ABI {self._landlocks[name].abi}"

    def _make_seccomp(self) -> str:
        self._filters = {name: Seccomp(POLICIES[profile.policy]) for name, profile in self.profiles.items()}
        return "made"


def _shared_scratch() -> str:
    """A scratch folder among other processes' files. A lock on it tells that its owner lives."""
    place = _place_to_start_from()
    for left in place.glob(_SCRATCH_PREFIX + "*"):
        with suppress(OSError):  # another user's, or in use, or gone already
            _remove_if_left(left)
    folder = tempfile.mkdtemp(prefix=_SCRATCH_PREFIX, dir=place)
    fcntl.flock(posix.open(folder, os.O_RDONLY | os.O_CLOEXEC), fcntl.LOCK_SH)
    posix.chmod(folder, 0o711)
    return folder


def _place_to_start_from() -> Path:
    """Containers mount /dev/shm, most of them, so that nothing that is written there can be started."""
    places = dict.fromkeys((_SHARED_MEMORY, tempfile.gettempdir()))
    for place in places:
        if os.access(place, os.W_OK) and not os.statvfs(place).f_flag & os.ST_NOEXEC:
            return Path(place)
    raise StepMissing(f"scratch: programs can be written to and started from neither {' nor '.join(places)}")


def _remove_if_left(folder: Path) -> None:
    fd = posix.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(fd).st_uid == posix.geteuid():
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        posix.close(fd)


def make_cell(plan: dict[str, Any], profiles: dict[str, dict[str, Any]]) -> Cell:
    """A cell of what came as JSON."""
    made = {
        name: Profile(
            told["policy"], tuple(told["readable"]), tuple(told["executable"]), told["writes"], told["own_proc"]
        )
        for name, told in profiles.items()
    }
    return Cell(Plan(tuple(plan["steps"]), frozenset(plan["required"])), Limits(), profiles=made)
