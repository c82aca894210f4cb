"""What a section gives: rows of latencies, figures with their bounds, and costs of a request."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Self

from bench.load import Leg


@dataclass(frozen=True, slots=True)
class Row:
    """Latencies of one thing, in milliseconds. Of several legs: the median over them of each percentile."""

    what: str
    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    rps: float | None = None  # requests a second, where a server was loaded

    @classmethod
    def of_seconds(cls, what: str, seconds: Sequence[float]) -> Self:
        """Of single measurements."""
        ordered = sorted(seconds)
        p50, p95, p99 = (1e3 * percentile(ordered, part) for part in (0.5, 0.95, 0.99))
        return cls(what, len(ordered), p50, p95, p99, 1e3 * ordered[-1])

    @classmethod
    def of_legs(cls, what: str, legs: Sequence[Leg]) -> Self:
        """Of runs of the load generator."""
        p50, p95, p99, most = (
            median(getattr(leg, name) for leg in legs) / 1e3 for name in ("p50_us", "p95_us", "p99_us", "max_us")
        )
        return cls(what, sum(leg.requests for leg in legs), p50, p95, p99, most, median(leg.rps for leg in legs))


@dataclass(frozen=True, slots=True)
class Figure:
    """One number and its bound. `value` is None where it could not be measured; `note` says why, or how."""

    name: str
    value: float | None
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    aim: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the bound holds; None without a value or a bound."""
        if self.value is None or (self.at_least is None and self.at_most is None):
            return None
        return self._holds(self.at_least, self.at_most)

    @property
    def aim_met(self) -> bool | None:
        """Whether the aim is reached as well; None without one."""
        if self.value is None or self.aim is None:
            return None
        return self._holds(self.aim, None) if self.at_least is not None else self._holds(None, self.aim)

    def _holds(self, least: float | None, most: float | None) -> bool:
        assert self.value is not None
        return (least is None or self.value >= least) and (most is None or self.value <= most)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one warm request costs, in microseconds of CPU and in context switches."""

    who: str
    wall_us: float
    generator_us: float
    server_us: float
    workers_us: float
    server_switches: float
    workers_switches: float


Result = Row | Figure | Cost


def percentile(ordered: Sequence[float], part: float) -> float:
    """The value below which `part` of an ascending sequence lies."""
    return ordered[round(part * (len(ordered) - 1))]
