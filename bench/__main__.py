"""`python -m bench`: measure everything in one run and print the table."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from bench import report
from bench.context import Context
from bench.figures import churn, cluster, costs, idle, limits, neighbour, new, runs, submit, wall, warm
from bench.load import Load, NoCompiler
from bench.results import Result
from bench.servers import Echo, PyRunner

SECTIONS: dict[str, Callable[[Context], Iterator[Result]]] = {
    "warm": warm.measure,
    "new": new.measure,
    "runs": runs.measure,
    "submit": submit.measure,
    "neighbour": neighbour.measure,
    "limits": limits.measure,
    "idle": idle.measure,
    "churn": churn.measure,
    "wall": wall.measure,
    "cluster": cluster.measure,
    "costs": costs.measure,
}


def main() -> int:
    """Run the sections that were asked for. Returns the exit status: 0 when all was measured, met or not."""
    asked = _arguments()
    started = time.monotonic()
    before = report.machine()
    try:
        results = _measure(asked.only or list(SECTIONS), asked.quick)
    except NoCompiler as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    seconds = round(time.monotonic() - started, 1)
    about = {"machine": before, "load_after": report.machine()["load"], "quick": asked.quick, "seconds": seconds}
    print(report.as_text(results))
    print(f"\nMeasured in {seconds:.0f} s; {_in_words(before)}; load {about['load_after']} at the end.")
    if asked.json is not None:
        asked.json.write_text(json.dumps(report.as_json(results, **about), indent=1) + "\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure PyRunner against a bare Starlette echo with the same models, and a cold interpreter.",
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: about a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    parser.add_argument(
        "--only",
        action="append",
        choices=SECTIONS,
        metavar="NAME",
        help=f"one of {', '.join(SECTIONS)}; may be repeated",
    )
    return parser.parse_args()


def _measure(names: list[str], quick: bool) -> list[Result]:
    results: list[Result] = []
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        load = Load(scratch)
        echo, ours = stack.enter_context(Echo(scratch)), stack.enter_context(PyRunner(scratch))
        context = Context(quick, load, echo, ours, scratch)
        for name in names:
            print(f"bench: {name} …", file=sys.stderr, flush=True)
            results += SECTIONS[name](context)
    return results


def _in_words(machine: dict[str, object]) -> str:
    return (
        f"{machine['usable_cpus']} of {machine['cpus']} CPUs, {machine['memory_gib']} GiB, kernel {machine['kernel']}, "
        f"Python {machine['python']}, load {machine['load']} at the start"
    )


if __name__ == "__main__":
    sys.exit(main())
