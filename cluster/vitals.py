"""How a node is: what it tells of itself, and what several come to."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue of work."""

    active: int = 0  # how many have their turn
    at_once: int = 0  # how many may have it
    waiting: int = 0
    max_waiting: int = 0

    def __add__(self, other: "Queue") -> "Queue":
        return Queue(
            self.active + other.active,
            self.at_once + other.at_once,
            self.waiting + other.waiting,
            self.max_waiting + other.max_waiting,
        )


@dataclass(frozen=True, slots=True)
class Vitals:
    """The figures of one node, or of all."""

    open_sessions: int = 0
    most_sessions: int = 0
    warm_workers: int = 0
    runs: Queue = Queue()
    warm_for_runs: dict[str, int] = field(default_factory=dict)  # of each tier
    submissions: Queue = Queue()
    versions: dict[str, str] = field(default_factory=dict)  # of gcc and valgrind
    unavailable: str | None = None  # why no submission can be judged
    workers: dict[str, str] = field(default_factory=dict)  # each tier's zygote: `ready`, `loading` or `down`
    sandbox: dict[str, str] = field(default_factory=dict)  # each step of the wall, and how it is there
    libraries: Sequence[str] = ()  # scientific ones that are installed
    nodes: int = 1

    @property
    def has_workers(self) -> bool:
        """Whether any can be had."""
        return "ready" in self.workers.values()


_BEST_FIRST = ("ready", "loading", "down")


def together(all_vitals: Iterable[Vitals]) -> Vitals:
    """The sums; of zygotes the best, and of a wall the worst: a step that one node lacks is told as it is there."""
    told = list(all_vitals)
    able = [vitals for vitals in told if vitals.unavailable is None]
    return Vitals(
        open_sessions=sum(vitals.open_sessions for vitals in told),
        most_sessions=sum(vitals.most_sessions for vitals in told),
        warm_workers=sum(vitals.warm_workers for vitals in told),
        runs=sum((vitals.runs for vitals in told), Queue()),
        warm_for_runs=dict(sum((Counter(vitals.warm_for_runs) for vitals in told), Counter())),
        submissions=sum((vitals.submissions for vitals in able), Queue()),
        versions=able[0].versions if able else {},
        unavailable=None if able else next((vitals.unavailable for vitals in told), "no node is there"),
        workers=_first((vitals.workers for vitals in told), _BEST_FIRST.index),
        sandbox=_first((vitals.sandbox for vitals in told), lambda how: not how.startswith("absent")),
        libraries=[name for name in (told[0].libraries if told else ()) if all(name in v.libraries for v in told)],
        nodes=len(told),
    )


def _first(words: Iterable[dict[str, str]], rank: Callable[[str], int]) -> dict[str, str]:
    """For each name the word of the lowest rank."""
    chosen: dict[str, str] = {}
    for each in words:
        for name, word in each.items():
            if name not in chosen or rank(word) < rank(chosen[name]):
                chosen[name] = word
    return chosen
