"""seccomp: the policy of calls.py as a program that the kernel runs before each system call.

The program is made once, in the zygote; a worker only writes its process id into it. Format: linux/seccomp.h and
linux/filter.h; each instruction is a 16-bit code, two 8-bit jumps and a 32-bit constant.
"""

import ctypes
import posix
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from errno import ENOSYS, EOPNOTSUPP

from sandbox.confine.calls import OWN_PID, POLICY, Checked, Forbidden, Policy, Row, Test
from sandbox.confine.libc import MACHINE, call
from sandbox.confine.numbers import AARCH64, X86_64

_LOAD, _EQUAL, _AND, _RETURN, _AT_LEAST = 0x20, 0x15, 0x54, 0x06, 0x35
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_X32 = 0x40000000
_SET_MODE_FILTER = 1
_INSTRUCTION = struct.Struct("=HBBI")


@dataclass(frozen=True, slots=True)
class Architecture:
    audit: int  # AUDIT_ARCH_…, linux/audit.h
    numbers: dict[str, int]
    has_x32: bool = False


ARCHITECTURES = {
    "x86_64": Architecture(0xC000003E, X86_64, has_x32=True),
    "aarch64": Architecture(0xC00000B7, AARCH64),
}
Instruction = tuple[int, int, int, int]


class Seccomp:
    """The filter for this machine. Raises OSError where no table of its system calls is known."""

    def __init__(self, policy: Policy = POLICY) -> None:
        try:
            architecture = ARCHITECTURES[MACHINE]
        except KeyError:
            raise OSError(EOPNOTSUPP, f"no table of the system calls of {MACHINE}") from None
        self._code, self._places = assemble(program(policy, architecture))

    def enter(self) -> str:
        """Put the filter around this process. Nothing takes it off again."""
        code = ctypes.create_string_buffer(self._code, len(self._code))
        for place in self._places:
            struct.pack_into("=I", code, place, posix.getpid())
        filter_ = struct.pack("HP", len(self._code) // _INSTRUCTION.size, ctypes.addressof(code))
        call("seccomp", _SET_MODE_FILTER, 0, filter_)
        return f"{len(self._code) // _INSTRUCTION.size} instructions"


def program(policy: Policy, architecture: Architecture) -> list[Instruction]:
    """The instructions of a policy. A constant of OWN_PID stands for the process id."""
    numbers = architecture.numbers
    code: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture.audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if architecture.has_x32:
        code += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    for row in policy.checked:
        if row.call in numbers:
            body = list(_forbidden(row) if isinstance(row, Forbidden) else _checked(row))
            code += [(_EQUAL, 0, len(body), numbers[row.call]), *body]
    for name in _names(policy.allowed):
        if name in numbers:
            code += [(_EQUAL, 0, 1, numbers[name]), (_RETURN, 0, 0, _ALLOW)]
    for error, rows in policy.refused.items():
        for name in _names(rows):
            if name in numbers:
                code += [(_EQUAL, 0, 1, numbers[name]), (_RETURN, 0, 0, _ERRNO | error)]
    code.append((_RETURN, 0, 0, _ERRNO | ENOSYS))
    return code


def assemble(code: list[Instruction]) -> tuple[bytes, list[int]]:
    """The bytes of a program, and where in them the process id belongs."""
    places = [n * _INSTRUCTION.size + 4 for n, instruction in enumerate(code) if instruction[3] == OWN_PID]
    return b"".join(_INSTRUCTION.pack(a, b, c, d & 0xFFFFFFFF) for a, b, c, d in code), places


def _names(rows: tuple[Row, ...]) -> Iterator[str]:
    for row in rows:
        yield from row.calls.split()


def _checked(row: Checked) -> Iterator[Instruction]:
    refuse = (_RETURN, 0, 0, _ERRNO | row.refusal)
    for test in row.tests:
        yield from _test(test, refuse)
    yield (_RETURN, 0, 0, _ALLOW)


def _test(test: Test, refuse: Instruction) -> Iterator[Instruction]:
    """Falls through when the argument passes."""
    offset = _ARGUMENTS + 8 * test.argument
    if test.upper:
        yield (_LOAD, 0, 0, offset + 4)
        yield (_EQUAL, 1, 0, 0)
        yield refuse
    yield (_LOAD, 0, 0, offset)
    if test.mask != 0xFFFFFFFF:
        yield (_AND, 0, 0, test.mask)
    for left, value in zip(range(len(test.among), 0, -1), test.among, strict=True):
        yield (_EQUAL, left, 0, value)
    yield refuse


def _forbidden(row: Forbidden) -> Iterator[Instruction]:
    for mask in row.masks:
        yield (_LOAD, 0, 0, _ARGUMENTS + 8 * row.argument)
        yield (_AND, 0, 0, mask)
        yield (_EQUAL, 0, 1, mask)
        yield (_RETURN, 0, 0, _ERRNO | row.refusal)
    yield (_RETURN, 0, 0, _ALLOW)
