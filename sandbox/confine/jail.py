"""The wall as an ordered, named list of steps.

A zygote builds what its workers can inherit; each worker enters the rest, before it reads the first byte of
anyone's code. A step that the host lacks is reported; if it is required, it ends the process that needed it.
"""

import posix
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox.capture import raw_start
from sandbox.confine import descriptors, namespaces, parent, privileges, rlimits
from sandbox.confine.landlock import Landlock
from sandbox.confine.readable import everything
from sandbox.confine.seccomp import Seccomp
from sandbox.limits import Limits

ZYGOTE_STEPS = ("namespaces", "root")
BIRTH_STEPS = ("session", "descriptors", "parent")  # before a worker warms itself
WORKER_STEPS = ("user", "limits", "capabilities", "hidden", "no_new_privs", "landlock", "seccomp")
STEPS = ZYGOTE_STEPS + BIRTH_STEPS + WORKER_STEPS


class StepMissing(Exception):
    """A required step cannot be taken here. Its text begins with the step's name."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which steps are taken, in which order within their half, and which must succeed."""

    steps: tuple[str, ...] = STEPS
    required: frozenset[str] = frozenset(STEPS) - {"namespaces", "root", "user"}


@dataclass(slots=True)
class Jail:
    """A plan, and what is made once for all workers. `report`: how each step went."""

    plan: Plan
    limits: Limits
    report: dict[str, str] = field(default_factory=dict)
    _landlock: Landlock | None = None
    _seccomp: Seccomp | None = None

    def build(self) -> None:
        """In the zygote, before it loads libraries: the steps that workers inherit. Raises StepMissing."""
        self._take("namespaces", namespaces.unshare)
        if self._holds("namespaces"):
            self._take("root", lambda: namespaces.enter_private_root(everything()))
        else:
            self._miss("root", "it needs the step namespaces")

    def close(self) -> None:
        """In the zygote, when it has loaded its libraries: what each worker will need in a moment."""
        if self._holds("root"):
            namespaces.seal_private_root()
        self._take("landlock", self._make_landlock)
        self._take("seccomp", self._make_seccomp)

    def birth(self, kept: Sequence[int], liveness: int) -> list[int]:
        """In a new worker: apart from its parent. Returns the new numbers of the descriptors `kept`."""
        numbers = list(kept)
        self._take("session", _new_session)
        if "descriptors" in self.plan.steps:
            numbers = descriptors.keep_only(kept)
            self.report["descriptors"] = f"{len(kept)} kept"
        self._take("parent", lambda: parent.die_with(numbers[kept.index(liveness)]))
        return numbers

    def enter(self) -> None:
        """In a worker, before the first byte of anyone's code: the rest. Raises StepMissing."""
        doors: dict[str, Callable[[], str]] = {
            "user": privileges.become_nobody_else,
            "limits": self._set_limits,
            "capabilities": privileges.drop_capabilities,
            "hidden": privileges.hide,
            "no_new_privs": privileges.gain_nothing,
            "landlock": lambda: self._landlock.enter() if self._landlock else "",
            "seccomp": lambda: self._seccomp.enter() if self._seccomp else "",
        }
        for name in (step for step in self.plan.steps if step in doors):
            self._take(name, doors[name])

    def lower_memory(self, memory_bytes: int) -> None:
        """In a confined worker: allow less memory than `limits` do."""
        if self._holds("limits"):
            rlimits.lower_memory(memory_bytes)

    def _set_limits(self) -> str:
        file_bytes = (
            raw_start(self.limits.output_bytes) + self.limits.output_bytes + 1
        )  # one more tells of missing ones
        return rlimits.set_limits(self.limits.memory_bytes, file_bytes, counted_apart=self._holds("user"))

    def _make_landlock(self) -> str:
        self._landlock = Landlock(everything())
        return f"ABI {self._landlock.abi}"

    def _make_seccomp(self) -> str:
        self._seccomp = Seccomp()
        return "made"

    def _holds(self, name: str) -> bool:
        return name in self.plan.steps and name in self.report and not self.report[name].startswith("absent")

    def _take(self, name: str, step: Callable[[], Any]) -> None:
        if name not in self.plan.steps or self.report.get(name, "").startswith("absent"):
            return
        try:
            self.report[name] = step()
        except OSError as error:
            place = f": {error.filename}" if isinstance(error.filename, str) else ""
            self._miss(name, (error.strerror or str(error)) + place)

    def _miss(self, name: str, why: str) -> None:
        if name not in self.plan.steps:
            return
        self.report[name] = f"absent: {why}"
        if name in self.plan.required:
            raise StepMissing(f"{name}: {why}")


def _new_session() -> str:
    posix.setsid()
    return "a session and process group of its own"
