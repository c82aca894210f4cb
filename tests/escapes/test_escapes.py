"""The table of attacks: behind the wall none gets through, and without it those do that are said to."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.escapes.column import Column, Unavailable, interpreter_for, uid_of
from tests.escapes.families import ROWS
from tests.escapes.row import Row

USERS = ["root", "ordinary"] if os.geteuid() == 0 else ["ordinary"]
AT_LEAST_OPEN = {"root": 150, "ordinary": 120}  # without the wall; some are stopped by what a host happens to have

every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.family}: {row.name}")


@pytest.fixture(scope="module")
def column(request: pytest.FixtureRequest) -> Iterator[Column]:
    user, wall = request.param
    with tempfile.TemporaryDirectory(prefix="escapes-", dir="/tmp") as home:
        os.chmod(home, 0o755)
        try:
            column = Column(user, wall, interpreter_for(uid_of(user), Path(home)))
        except Unavailable as why:
            pytest.skip(str(why))
        yield column
        column.close()


def columns(wall: bool) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "column", [pytest.param((user, wall), id=user) for user in USERS], indirect=True, scope="module"
    )


@columns(wall=True)
@every_row
def test_nothing_gets_through_the_wall(column: Column, row: Row) -> None:
    if why := column.skips(row):
        pytest.skip(why)
    result = column.result(row)
    assert result.through == []
    if row.ends:
        assert result.answer is not None
        assert row.ends in (result.answer["detail"] or "")


@columns(wall=False)
@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if row.open_without_wall and row.tried_without_wall],
    ids=lambda row: f"{row.family}: {row.name}",
)
def test_the_oracle_of_a_row_can_tell(column: Column, row: Row) -> None:
    if why := column.skips(row):
        pytest.skip(why)
    result = column.result(row)
    assert (row.effect in result.effects) == column.is_open(row), (result.answer, result.through)


@columns(wall=False)
def test_most_get_through_without_the_wall(column: Column) -> None:
    rows = [row for row in ROWS if column.is_open(row) and not column.skips(row)]
    assert sum(row.effect in column.result(row).effects for row in rows) >= AT_LEAST_OPEN[column.user]


def test_the_table_is_large_and_each_row_is_another() -> None:
    assert len(ROWS) >= 95
    assert len({(row.family, row.name) for row in ROWS}) == len(ROWS)
    assert all(row.stopped_by for row in ROWS if not row.open_without_wall and row.tried_without_wall)
