"""What a hop costs: warm `/execute` through a gateway and 1, 2 or 4 nodes, beside one process that does all."""

import asyncio
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from statistics import median

import nats
import psutil
from nats.aio.msg import Msg

from bench import processes
from bench.cluster import Cluster, NoNats
from bench.context import Context
from bench.figures.warm import warm_calls
from bench.load import Call, Leg
from bench.processes import Tree
from bench.results import Figure, Result, Row
from bench.servers import Server

_NODES = (1, 2, 4)
_CLIENTS = (1, 8, 32)
_COSTS_CLIENTS = 8
_ADDRESSES = 100_000
_REQUESTS = 500
_WARM_S = 0.2
_MOST_HOP_MS = 1.0
_LEAST_SHARE = 0.4


def measure(context: Context) -> Iterator[Result]:
    """Rows for each number of nodes; the hop and the share of throughput, as differences and ratios of legs."""
    for nodes in _NODES:
        try:
            with Cluster(context.scratch / f"cluster{nodes}", nodes) as cluster:
                yield from _beside(context, cluster, nodes)
        except NoNats as missing:
            yield Figure("the hop through a gateway, p50", None, "ms", at_most=_MOST_HOP_MS, note=str(missing))
            return


def _beside(context: Context, cluster: Cluster, nodes: int) -> Iterator[Result]:
    named = f"{nodes} node{'s' if nodes > 1 else ''}"
    alone, through = (warm_calls(server, max(_CLIENTS)) for server in (context.ours, cluster.gateway))
    servers: list[tuple[Server, Sequence[Call]]] = [
        (context.echo, alone),
        (context.ours, alone),
        (cluster.gateway, through),
    ]
    for clients in _CLIENTS:
        legs = [
            [_leg(context, server, calls[:clients]) for server, calls in servers] for _ in range(context.pick(7, 3))
        ]
        echo, ours, gateway = zip(*legs, strict=True)
        plural = "s" if clients > 1 else ""
        yield Row.of_legs(f"bare echo, {clients} client{plural}", echo)
        yield Row.of_legs(f"role all, {clients} client{plural}", ours)
        yield Row.of_legs(f"gateway and {named}, {clients} client{plural}", gateway)
        if clients == 1:
            hops = [(far.p50_us - near.p50_us) / 1e3 for _, near, far in legs]
            yield Figure(f"the hop to {named}, p50", median(hops), "ms", at_most=_MOST_HOP_MS)
        shares = [far.rps / near.rps for _, near, far in legs]
        name = f"throughput through a gateway / role all, {named}, {clients} client{plural}"
        bound = _LEAST_SHARE if clients > 1 else None  # one client waits for each hop
        yield Figure(name, median(shares), at_least=bound, note=f"{min(shares):.2f}-{max(shares):.2f}")
    if nodes == 1:
        yield from _costs(context, cluster, through[:_COSTS_CLIENTS])
        yield from asyncio.run(_addresses(cluster))
    context.ours.clear()


def _costs(context: Context, cluster: Cluster, calls: Sequence[Call]) -> Iterator[Result]:
    """Processor time of a request, by who spends it: docs/scaling.md reckons with these."""
    (node,) = cluster.nodes
    tree = Tree.of(node.pid)
    who = {
        "the gateway": (cluster.gateway.pid,),
        "NATS": (cluster.nats_pid,),
        "the node": (node.pid,),
        "its workers": tree.workers,
    }
    before = {name: processes.effort(*pids) for name, pids in who.items()}
    leg = _leg(context, cluster.gateway, calls)
    for name, pids in who.items():
        spent = (processes.effort(*pids) - before[name]).cpu_s
        yield Figure(f"of a request through a gateway, {name}", 1e6 * spent / leg.all_requests, "µs of CPU")


async def _addresses(cluster: Cluster) -> list[Result]:
    """What as many addresses cost as there may be sessions, and whether a message takes longer among them."""
    client = await nats.connect(cluster.nats_url)
    kib = [_resident_kib(pid) for pid in (cluster.nats_pid, os.getpid())]
    for _ in range(_ADDRESSES):
        await client.subscribe(f"bench.{uuid.uuid4()}", cb=_nothing)

    async def answer(message: Msg) -> None:
        await client.publish(message.reply, message.data)

    await client.subscribe("bench.answer", cb=answer)
    await client.flush()
    at_nats, at_node = (
        (_resident_kib(pid) - before) / _ADDRESSES
        for pid, before in zip((cluster.nats_pid, os.getpid()), kib, strict=True)
    )
    seconds = []
    for _ in range(_REQUESTS):
        began = time.perf_counter()
        await client.request("bench.answer", b"1", timeout=5)
        seconds.append(time.perf_counter() - began)
    await client.close()
    return [
        Figure(f"each of {_ADDRESSES:,} addresses, at NATS", at_nats, "KiB"),
        Figure(f"each of {_ADDRESSES:,} addresses, at who listens", at_node, "KiB"),
        Figure("a message to one of them and back, p50", 1e3 * median(seconds), "ms"),
    ]


async def _nothing(message: Msg) -> None:
    """Nobody writes there."""


def _resident_kib(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss / 1024)


def _leg(context: Context, server: Server, calls: Sequence[Call]) -> Leg:
    return context.load.run(server.port, calls, warm_s=_WARM_S, run_s=0.4 if context.quick else 1.0)
