"""What this process has done and what it holds, for Prometheus.

Counters and histograms are added to when something has ended. All else is read from its owner at the scrape, so that
it costs nothing in between.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from server.endings import EXECUTIONS, RUNS, SUBMISSIONS, WITHOUT_LATENCY

BUCKETS_S = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
)
UNMATCHED = "unmatched"  # the route of a path that is none of ours
_UNREAD = "unread"  # of a request that was refused before it was complete
_METHODS = frozenset(("GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"))
_OTHER = "other"  # any method else: a client may invent them

Increase = Callable[[], None]
Observe = Callable[[float], None]


class _Tally(NamedTuple):
    """Where work of one kind is counted. The children are looked up once: an entry costs no search for its labels."""

    endings: Mapping[str, Increase]
    latency: Observe
    cpu: Observe


class Metrics:
    """One per process."""

    def __init__(self, role: str, version: str) -> None:
        self._role = role
        self._registry = registry = CollectorRegistry(auto_describe=False)
        cpu = Counter("pyrunner_cpu_seconds", "Processor time of the code that was run.", ("kind",), registry=registry)

        def tally(plural: str, kind: str, endings: Iterable[str]) -> _Tally:
            counted = Counter(
                f"pyrunner_{plural}", f"{plural.capitalize()} by how they ended.", ("outcome",), registry=registry
            )
            latency = Histogram(
                f"pyrunner_{kind}_seconds",
                f"Wall time of {plural} from the request to the answer, waiting included.",
                buckets=BUCKETS_S,
                registry=registry,
            )
            children = {ending: counted.labels(ending).inc for ending in endings}
            return _Tally(children, latency.observe, cpu.labels(kind).inc)

        self._executions = tally("executions", "execution", EXECUTIONS)
        self._runs = tally("runs", "run", RUNS)
        self._submissions = tally("submissions", "submission", SUBMISSIONS)
        self._requests = Counter(
            "pyrunner_http_requests",
            "Answers to HTTP requests, by the template of their path.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._requests_known: dict[tuple[str, str, int], Increase] = {}
        registry.register(_Constant(version))
        ProcessCollector(registry=registry)

    def watch(self, source: Collector) -> None:
        """Read it at each scrape."""
        self._registry.register(source)

    def executed(self, ending: str, seconds: float, cpu_s: float) -> None:
        """An execution has ended: one of EXECUTIONS."""
        _enter(self._executions, ending, seconds, cpu_s)

    def ran(self, ending: str, seconds: float, cpu_s: float) -> None:
        """A run has ended: one of RUNS."""
        _enter(self._runs, ending, seconds, cpu_s)

    def submitted(self, ending: str, seconds: float, cpu_s: float) -> None:
        """A submission has ended: one of SUBMISSIONS."""
        _enter(self._submissions, ending, seconds, cpu_s)

    def answered(self, method: str, route: str, status: int) -> None:
        """An answer goes out. `route`: a template, never a path that a client made up."""
        try:
            increase = self._requests_known[method, route, status]
        except KeyError:
            known = method if method in _METHODS else _OTHER
            increase = self._requests.labels(known, route, status).inc
            if known is method:
                self._requests_known[method, route, status] = increase
        increase()

    def refused(self, status: int) -> None:
        """A request was answered before it was complete, or in the place of one."""
        self.answered(_OTHER, _UNREAD, status)

    def render(self, accept: str) -> tuple[bytes, str]:
        """All of it in the format that the header Accept asks for, and that format's name."""
        encode, media_type = choose_encoder(accept)
        return encode(self), media_type

    def collect(self) -> Iterator[Metric]:
        """Each metric, with the role in each sample."""
        for metric in self._registry.collect():
            metric.samples = [
                sample._replace(labels={"role": self._role, **sample.labels})
                for sample in metric.samples
                if not sample.name.endswith("_created")  # twice as many series, for what `up` tells as well
            ]
            yield metric


def _enter(tally: _Tally, ending: str, seconds: float, cpu_s: float) -> None:
    tally.endings[ending]()
    if ending not in WITHOUT_LATENCY:
        tally.latency(seconds)
        tally.cpu(cpu_s)


class _Constant(Collector):
    """What it is that is scraped."""

    def __init__(self, version: str) -> None:
        self._version = version

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily("pyrunner_build_info", "Always 1: which version answers.", labels=("version",))
        info.add_metric((self._version,), 1)
        yield info
