"""The kernel says in a worker what the policy says: every refused call is really made."""

import ast
from collections.abc import Callable
from errno import ENOSYS
from typing import Any

import pytest

from sandbox.confine.calls import POLICY
from sandbox.confine.libc import MACHINE
from sandbox.confine.seccomp import ARCHITECTURES

Run = Callable[..., dict[str, Any]]
NUMBERS = ARCHITECTURES[MACHINE].numbers
PASSED_BY = (335, 336)  # uretprobe and uprobe: the kernel asks no filter about them, and ends a caller without a probe
TRY = """
import ctypes
_libc = ctypes.CDLL(None, use_errno=True)
def attempt(number, *arguments):
    ctypes.set_errno(0)
    result = _libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments or [0] * 6))
    return ctypes.get_errno() if result == -1 else 0
"""
REFUSED = {
    name: error
    for error, rows in POLICY.refused.items()
    for row in rows
    for name in row.calls.split()
    if name in NUMBERS
}


def test_every_refused_call_is_refused_with_its_error(session: Run) -> None:
    session(TRY)
    answer = session(f"{{name: attempt(number) for name, number in { {n: NUMBERS[n] for n in REFUSED}!r}.items()}}")
    assert (answer["error"], answer["stderr"]) == (None, None)
    assert ast.literal_eval(answer["result"]) == REFUSED


def test_calls_that_nobody_has_thought_of_do_not_exist(session: Run) -> None:
    session(TRY)
    unknown = [number for number in range(1024) if number not in {*NUMBERS.values(), *PASSED_BY}]
    answer = session(f"{{attempt(number) for number in {unknown}}}")
    assert ast.literal_eval(answer["result"]) == {ENOSYS}


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("kill", (1, 0)),
        ("kill", (0, 0)),
        ("kill", (-1, 0)),
        ("tgkill", (1, 1, 0)),
        ("prctl", (4, 1)),
        ("prctl", (8, 1)),
        ("prctl", (22, 2)),
        ("fcntl", (0, 8, 1)),
        ("fcntl", (0, 10, 9)),
        ("fcntl", (0, 37, 0)),
        ("ioctl", (0, 0x5412)),
        ("clone", (17,)),
        ("clone", (0x10000 | 0x800 | 0x100,)),
        ("clone", (0x10000400 | 0x10000,)),
        ("mmap", (0, 4096, 3, 0x21, -1, 0)),
        ("mmap", (0, 4096, 3, 0x122, -1, 0)),
        ("socketpair", (1, 2, 0, 0)),
        ("socketpair", (2, 1, 0, 0)),
        ("close_range", (100, 200, 2)),
        ("getpriority", (0, 1)),
        ("sched_getaffinity", (1, 8, 0)),
        ("sched_getscheduler", (1,)),
        ("getsid", (1,)),
    ],
)
def test_half_safe_calls_are_refused_with_the_wrong_arguments(
    session: Run, call: str, arguments: tuple[int, ...]
) -> None:
    (row,) = (row for row in POLICY.checked if row.call == call)
    session(TRY)
    padded = (*arguments, *[0] * (6 - len(arguments)))
    assert session(f"attempt({NUMBERS[call]}, *{padded})")["result"] == str(row.refusal)
