"""The table for people, and the same as JSON for machines."""

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from bench.results import Cost, Figure, Result, Row

_MET = {True: "met", False: "NOT MET", None: ""}


def machine() -> dict[str, Any]:
    """Where this was measured. `load`: of the last 1, 5 and 15 minutes."""
    return {
        "cpus": os.cpu_count(),
        "usable_cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def as_json(results: Sequence[Result], **about: Any) -> dict[str, Any]:
    """Everything that the table shows, unrounded."""
    figures = [result for result in results if isinstance(result, Figure)]
    return {
        **about,
        "rows": [asdict(row) for row in results if isinstance(row, Row)],
        "figures": [asdict(figure) | {"met": figure.met, "aim_met": figure.aim_met} for figure in figures],
        "costs": [asdict(cost) for cost in results if isinstance(cost, Cost)],
    }


def as_text(results: Sequence[Result]) -> str:
    """The tables: latencies, figures with their bounds, where the rest goes."""
    parts = [
        _table("Latencies, ms (medians over interleaved rounds)", _ROW, [r for r in results if isinstance(r, Row)]),
        _table("Figures", _FIGURE, [r for r in results if isinstance(r, Figure) and r.met is not None]),
        _table("Where the rest goes: one warm request, µs of CPU", _COST, [r for r in results if isinstance(r, Cost)]),
        _table("Also measured", _ALSO, [r for r in results if isinstance(r, Figure) and r.met is None]),
        _summary([result for result in results if isinstance(result, Figure)]),
    ]
    return "\n\n".join(part for part in parts if part)


def _bound(figure: Figure) -> str:
    if figure.at_least is not None:
        return f"≥ {figure.at_least:g}"
    return f"≤ {figure.at_most:g}"


def _aim(figure: Figure) -> str:
    if figure.aim is None:
        return ""
    return f"{figure.aim:g}{' reached' if figure.aim_met else ''}"


def _rounded(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


Columns = dict[str, Callable[[Any], str]]

_ROW: Columns = {
    "what": lambda row: row.what,
    "n": lambda row: f"{row.count:,}",
    "p50": lambda row: f"{row.p50_ms:,.3f}",
    "p95": lambda row: f"{row.p95_ms:,.3f}",
    "p99": lambda row: f"{row.p99_ms:,.3f}",
    "max": lambda row: f"{row.max_ms:,.3f}",
    "requests/s": lambda row: "" if row.rps is None else f"{row.rps:,.0f}",
}
_FIGURE: Columns = {
    "figure": lambda figure: figure.name,
    "value": lambda figure: _rounded(figure.value),
    "bound": _bound,
    "unit": lambda figure: figure.unit,
    "": lambda figure: _MET[figure.met],
    "aim": _aim,
    "note": lambda figure: figure.note,
}
_ALSO: Columns = {
    "figure": lambda figure: figure.name,
    "value": lambda figure: _rounded(figure.value),
    "unit": lambda figure: figure.unit,
    "note": lambda figure: figure.note,
}
_COST: Columns = {
    "who": lambda cost: cost.who,
    "wall": lambda cost: f"{cost.wall_us:.1f}",
    "generator": lambda cost: f"{cost.generator_us:.1f}",
    "server": lambda cost: f"{cost.server_us:.1f}",
    "workers": lambda cost: f"{cost.workers_us:.1f}",
    "server switches": lambda cost: f"{cost.server_switches:.2f}",
    "worker switches": lambda cost: f"{cost.workers_switches:.2f}",
}
_LEFT = {"what", "who", "figure", "unit", "", "bound", "aim", "note"}


def _table(title: str, columns: Columns, items: Sequence[Result]) -> str:
    if not items:
        return ""
    lines = [list(columns), *([cell(item) for cell in columns.values()] for item in items)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    left = [name in _LEFT for name in columns]
    return "\n".join([title, *("  " + _line(line, widths, left) for line in lines)])


def _line(cells: Sequence[str], widths: Sequence[int], left: Sequence[bool]) -> str:
    padded = (c.ljust(w) if to_left else c.rjust(w) for c, w, to_left in zip(cells, widths, left, strict=True))
    return "  ".join(padded).rstrip()


def _summary(figures: Sequence[Figure]) -> str:
    bound = [figure for figure in figures if figure.met is not None]
    missed = [figure.name for figure in bound if not figure.met]
    if not bound:
        return ""
    said = f"{len(bound) - len(missed)} of {len(bound)} bounds are met."
    return f"{said} Not met: {'; '.join(missed)}." if missed else said
