"""Writes docs/escapes.md from the table: `python -m tests.escapes.document`."""

from collections import Counter
from pathlib import Path

from tests.escapes.families import ROWS
from tests.escapes.row import Row

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "escapes.md"
_HEAD = """\
# Attacks that the tests try

Each row runs in a session, around the stand-ins, and is judged by what can be seen from outside: a canary file, a
listener, another process, another session's secret, the machine's memory. Behind the wall nothing may get through.
To show that each oracle can tell, the same rows run without the wall: there, what is *open* must get through. The
last two columns say so for a server that runs as root and as an ordinary user; else they say what stops it anyway.
`python -m pytest tests/escapes` runs both; `python -m tests.escapes.document` writes this page.

"""


def text() -> str:
    """The document."""
    lines = [_HEAD, f"{len(ROWS)} attacks: {_counts()}.\n\n"]
    lines.append(
        "| family | attack | with the wall | without, root | without, ordinary user |\n|---|---|---|---|---|\n"
    )
    lines += (_line(row) for row in ROWS)
    return "".join(lines)


def _counts() -> str:
    return ", ".join(f"{count} {family}" for family, count in Counter(row.family for row in ROWS).items())


def _line(row: Row) -> str:
    root = _without(row)
    ordinary = row.ordinary_stopped_by or root
    wall = f"held: `{row.ends}`" if row.ends else "held"
    return f"| {row.family} | {row.name} | {wall} | {root} | {ordinary} |\n".replace("|  |", "| |")


def _without(row: Row) -> str:
    if not row.tried_without_wall:
        return "not tried: it would reach the whole machine"
    if row.open_without_wall is None:
        return f"open, or stopped by {row.stopped_by}"
    return "open" if row.open_without_wall else row.stopped_by


if __name__ == "__main__":
    DOCUMENT.write_text(text())
