"""The seccomp filter says of each row of the policy what the row says: by an interpreter of its program."""

import re
import struct
from errno import ENOSYS
from pathlib import Path

import pytest

from sandbox.confine import calls
from sandbox.confine.calls import OWN_PID, POLICY, Checked, Forbidden
from sandbox.confine.seccomp import ARCHITECTURES, assemble, program

PID = 4242
ALLOW, KILL = 0x7FFF0000, 0x80000000
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}

every_machine = pytest.mark.parametrize("machine", ARCHITECTURES)


def verdict(machine: str, call: int, *arguments: int, audit: int | None = None) -> int:
    """What the kernel would be told: the program runs over one struct seccomp_data."""
    architecture = ARCHITECTURES[machine]
    code, places = assemble(program(POLICY, architecture))
    patched = bytearray(code)
    for place in places:
        struct.pack_into("=I", patched, place, PID)
    words = [argument % 2**64 for argument in (*arguments, *[0] * (6 - len(arguments)))]
    data = struct.pack("=IIQ6Q", call, architecture.audit if audit is None else audit, 0, *words)
    at = accumulator = 0
    while True:
        operation, jump_true, jump_false, constant = struct.unpack_from("=HBBI", patched, 8 * at)
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, constant)
            case 0x54:
                accumulator &= constant
            case 0x15:
                at += jump_true if accumulator == constant else jump_false
            case 0x35:
                at += jump_true if accumulator >= constant else jump_false
            case 0x06:
                return constant


def refused(error: int) -> int:
    return 0x00050000 | error


def numbers(machine: str, names: str) -> list[int]:
    table = ARCHITECTURES[machine].numbers
    return [table[name] for name in names.split() if name in table]


@every_machine
def test_what_a_row_allows_is_allowed(machine: str) -> None:
    for row in POLICY.allowed:
        assert {verdict(machine, number) for number in numbers(machine, row.calls)} <= {ALLOW}, row


@every_machine
def test_what_a_row_refuses_is_refused_with_its_error(machine: str) -> None:
    for error, rows in POLICY.refused.items():
        for row in rows:
            assert {verdict(machine, number) for number in numbers(machine, row.calls)} <= {refused(error)}, row


@every_machine
def test_checked_calls_are_allowed_with_what_they_may_have_and_refused_with_anything_else(machine: str) -> None:
    for row in POLICY.checked:
        if not isinstance(row, Checked) or not numbers(machine, row.call):
            continue
        (number,) = numbers(machine, row.call)
        good = [0] * 6
        for test in row.tests:
            good[test.argument] = PID if test.among[0] == OWN_PID else test.among[0]
        assert verdict(machine, number, *good) == ALLOW, row
        for test in row.tests:
            for value in test.among:
                fine = [*good]
                fine[test.argument] = PID if value == OWN_PID else value
                assert verdict(machine, number, *fine) == ALLOW, (row, value)
            bad = [*good]
            bad[test.argument] = next(n for n in range(1, 2**16) if n & test.mask not in (*test.among, PID))
            assert verdict(machine, number, *bad) == refused(row.refusal), (row, test)
            if test.upper:
                bad[test.argument] = 1 << 32
                assert verdict(machine, number, *bad) == refused(row.refusal), (row, test)


@every_machine
def test_forbidden_bits_are_refused_in_any_company(machine: str) -> None:
    for row in POLICY.checked:
        if isinstance(row, Forbidden):
            (number,) = numbers(machine, row.call)
            arguments = [0] * 6
            assert verdict(machine, number, *arguments) == ALLOW
            for mask in row.masks:
                for company in (0, 0x2, 0x4000):
                    arguments[row.argument] = mask | company
                    assert verdict(machine, number, *arguments) == refused(row.refusal), row


@every_machine
def test_an_unknown_call_does_not_exist(machine: str) -> None:
    for number in (600, 1023, 100_000):
        assert verdict(machine, number) == refused(ENOSYS)


@every_machine
def test_another_architecture_is_killed(machine: str) -> None:
    for audit in {0x40000003, 0xC000003E, 0xC00000B7} - {ARCHITECTURES[machine].audit}:
        assert verdict(machine, 0, audit=audit) == KILL


def test_x32_is_killed() -> None:
    assert verdict("x86_64", 0x40000000) == KILL


def test_each_call_is_in_one_row_and_each_row_has_a_reason() -> None:
    rows = [*POLICY.allowed, *(row for rows in POLICY.refused.values() for row in rows)]
    names = [row.call for row in POLICY.checked] + [name for row in rows for name in row.calls.split()]
    assert len(names) == len(set(names))
    assert all(row.reason for row in (*rows, *POLICY.checked))


@every_machine
def test_each_call_of_the_policy_has_a_number_on_some_machine_and_each_number_a_row(machine: str) -> None:
    rows = [*POLICY.allowed, *(row for rows in POLICY.refused.values() for row in rows)]
    named = {row.call for row in POLICY.checked} | {name for row in rows for name in row.calls.split()}
    assert named == {name for architecture in ARCHITECTURES.values() for name in architecture.numbers}
    assert set(ARCHITECTURES[machine].numbers) <= named


@every_machine
def test_the_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    header = HEADERS[machine]
    if not header.exists():
        pytest.skip(f"the kernel's headers are not installed: {header}")
    pairs = re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", header.read_text(), re.MULTILINE)
    known = {name: int(number) for name, number in reversed(pairs)}
    ours = ARCHITECTURES[machine].numbers
    assert {name: number for name, number in ours.items() if known.get(name, number) != number} == {}
    assert len(ours.keys() & known.keys()) > 0.9 * len(ours)


def test_the_policy_names_no_descriptor_or_process_but_by_its_mark() -> None:
    assert calls.OWN_PID < 0
