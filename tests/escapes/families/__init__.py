"""The table: one module a family or two. Rows are data."""

from tests.escapes.families import (
    answers,
    channels,
    memory,
    network,
    others,
    privileges,
    programs,
    reading,
    sabotage,
    secrecy,
    timing,
    writing,
)
from tests.escapes.row import Row

ROWS: tuple[Row, ...] = (
    *reading.ROWS,
    *writing.ROWS,
    *network.ROWS,
    *programs.ROWS,
    *others.ROWS,
    *channels.ROWS,
    *secrecy.ROWS,
    *answers.ROWS,
    *memory.ROWS,
    *timing.ROWS,
    *sabotage.ROWS,
    *privileges.ROWS,
)
