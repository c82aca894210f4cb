"""What a session that never ends costs the others: warm `/execute`, quiet and with the neighbour, in turns."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from bench.context import Context
from bench.figures.warm import CODE, warm_calls
from bench.load import Leg
from bench.results import Figure, Result, Row
from bench.servers import PyRunner, until

_WARM_S = 0.3
_TIMEOUT_S = 300.0


def measure(context: Context) -> Iterator[Result]:
    """One client against one session; the neighbour's is `while True: pass`."""
    calls = warm_calls(context.ours, 1)
    quiet: list[Leg] = []
    noisy: list[Leg] = []
    run_s = 0.4 if context.quick else 1.0
    for _ in range(context.pick(9, 3)):
        quiet.append(context.load.run(context.ours.port, calls, warm_s=_WARM_S, run_s=run_s))
        with _endless(context.ours):
            noisy.append(context.load.run(context.ours.port, calls, warm_s=_WARM_S, run_s=run_s))
    context.ours.clear()
    yield Row.of_legs("warm /execute, no neighbour", quiet)
    yield Row.of_legs("warm /execute beside `while True: pass`", noisy)
    ratios = [loud.p50_us / calm.p50_us for calm, loud in zip(quiet, noisy, strict=True)]
    note = f"{min(ratios):.2f}-{max(ratios):.2f}"
    yield Figure("warm p50 beside an endless loop / quiet", median(ratios), at_most=1.3, note=note)


@contextmanager
def _endless(ours: PyRunner) -> Iterator[None]:
    """A session that runs an endless loop inside the `with` block; deleted after it."""
    with ours.connect() as http, ours.connect() as control:
        session_id = http.execute(CODE)[0]["id"]
        loop = threading.Thread(
            target=http.execute, args=("while True: pass", session_id), kwargs={"timeout": _TIMEOUT_S}
        )
        loop.start()
        try:
            until(lambda: control.request("GET", f"/sessions/{session_id}").json()["state"] == "busy", "the loop", 10)
            yield
        finally:
            control.delete(session_id)
            loop.join()
