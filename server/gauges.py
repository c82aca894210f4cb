"""What a scrape reads from those who own it."""

from collections.abc import Callable, Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cluster.backend import Backend
from cluster.node import Node
from cluster.remote import Cluster
from cluster.service import Service
from cluster.vitals import Queue
from server.readiness import node_of, trouble
from sessions.lifecycle import Cause, State

_OPEN = (State.STARTING, State.IDLE, State.BUSY)
_ZYGOTE_STATES = ("ready", "loading", "down")


def of_backend(backend: Backend, connections: Callable[[], int]) -> Iterator[Collector]:
    """All that there are of it. `connections`: how many are open."""
    yield _Server(backend, connections)
    if (node := node_of(backend)) is not None:
        yield _Node(node)
    yield _Queues(backend)
    if isinstance(backend, Cluster | Service):
        yield _Connection(backend)


class _Server(Collector):
    """Of every role."""

    def __init__(self, backend: Backend, connections: Callable[[], int]) -> None:
        self._backend = backend
        self._connections = connections

    def collect(self) -> Iterator[Metric]:
        yield _one("pyrunner_ready", "Whether /readyz answers 200.", trouble(self._backend) is None)
        yield _one("pyrunner_draining", "Whether it shuts down.", self._backend.draining)
        yield _one("pyrunner_open_connections", "HTTP connections.", self._connections())


class _Connection(Collector):
    """Of what is joined by NATS."""

    def __init__(self, backend: Cluster | Service) -> None:
        self._backend = backend

    def collect(self) -> Iterator[Metric]:
        yield _one("pyrunner_cluster_up", "Whether NATS is reached.", self._backend.connection.is_up)
        yield _one("pyrunner_cluster_calls", "Calls to nodes, or of gateways.", self._backend.exchange.talking)


class _Node(Collector):
    """Of what has sessions, runs and submissions of its own."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> Iterator[Metric]:
        yield from self._sessions()
        yield from self._pools()
        yield self._zygotes()
        able = self._node.judge.unavailable is None
        yield _one("pyrunner_judge_available", "Whether submissions can be judged.", able)

    def _sessions(self) -> Iterator[Metric]:
        sessions = GaugeMetricFamily("pyrunner_sessions", "Open sessions.", labels=("state",))
        states = self._node.sessions.states()
        for state in _OPEN:
            sessions.add_metric((state.value,), states[state])
        yield sessions
        yield _one("pyrunner_sessions_max", "Sessions that may be open at once.", self._node.sessions.most)
        waiting = self._node.sessions.waiting()
        yield _one("pyrunner_executions_waiting", "Executions that wait for their session.", waiting)

    def _pools(self) -> Iterator[Metric]:
        pool, runs = self._node.sessions.pool, self._node.runs.unqueued
        workers = GaugeMetricFamily("pyrunner_pool_workers", "Workers that are ready.", labels=("kind", "tier"))
        warm = pool.tiers()
        for tier in self._node.zygotes.states():
            workers.add_metric(("session", tier), warm[tier])
        for tier, count in runs.warm().items():
            workers.add_metric(("run", tier), count)
        yield workers
        size = GaugeMetricFamily("pyrunner_pool_size", "Workers that are kept ready.", labels=("kind",))
        size.add_metric(("session",), pool.size)
        size.add_metric(("run",), runs.wanted())
        yield size
        kills = CounterMetricFamily(
            "pyrunner_kills", "Workers that did not end with their work, by why.", labels=("kind", "cause")
        )
        for kind, ended in (("session", self._node.sessions.ended), ("run", runs.ended)):
            for cause in Cause:
                kills.add_metric((kind, cause.value), ended[cause])
        yield kills

    def _zygotes(self) -> Metric:
        family = GaugeMetricFamily("pyrunner_zygote_state", "1 for the state it is in.", labels=("tier", "state"))
        for tier, now in self._node.zygotes.states().items():
            for state in _ZYGOTE_STATES:
                family.add_metric((tier, state), now == state)
        return family


class _Queues(Collector):
    """Submissions for nodes wait on NATS, for the gateways that handed them in; all else where it gets its turn."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def collect(self) -> Iterator[Metric]:
        turns, waits = self._figures()
        for name, meaning, of, queues in (
            ("active", "Runs and submissions that have their turn.", "active", turns),
            ("slots", "How many may have it at once.", "at_once", turns),
            ("waiting", "Runs and submissions that wait for their turn.", "waiting", waits),
            ("max_waiting", "How many may wait.", "max_waiting", waits),
        ):
            family = GaugeMetricFamily(f"pyrunner_queue_{name}", meaning, labels=("queue",))
            for queue, figures in queues.items():
                family.add_metric((queue,), getattr(figures, of))
            yield family

    def _figures(self) -> tuple[dict[str, Queue], dict[str, Queue]]:
        """Where there are turns, and where what waits for one is."""
        if isinstance(self._backend, Cluster):
            return {}, {"submissions": self._backend.judge.figures}
        node = node_of(self._backend)
        assert node is not None
        runs, submissions = node.runs.turns.figures, node.judge.turns.figures
        turns = {"runs": runs, "submissions": submissions}
        return turns, {"runs": runs} if isinstance(self._backend, Service) else turns


def _one(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=value)
