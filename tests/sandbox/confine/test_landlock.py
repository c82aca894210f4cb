"""Landlock is asked for all that the kernel's version of it can restrict, and for nothing that it does not know."""

import os
import struct

import pytest

from sandbox.confine import landlock
from sandbox.confine.landlock import Landlock

# linux/landlock.h: the rights over files that each version has, the kinds of network access, the scopes.
FILES = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16, 6: 16, 7: 16, 8: 16}  # how many bits from the lowest on
TCP, SCOPES = 0b11, 0b11


class Kernel:
    """Stands for the system calls: notes what it is asked."""

    def __init__(self, abi: int) -> None:
        self.abi = abi
        self.rulesets: list[bytes] = []
        self.rules: list[tuple[int, int]] = []
        self.flags: list[int] = []

    def call(self, name: str, *arguments: object) -> int:
        match name, arguments:
            case "landlock_create_ruleset", (None, 0, 1):
                return self.abi
            case "landlock_create_ruleset", (bytes(attributes), int(size), 0):
                assert size == len(attributes)
                self.rulesets.append(attributes)
                return os.open(os.devnull, os.O_RDONLY)
            case "landlock_add_rule", (int(), 1, bytes(rule), 0):
                self.rules.append(struct.unpack("=Qi", rule))
                return 0
            case "landlock_restrict_self", (int(), int(flags)):
                self.flags.append(flags)
                return 0
        raise AssertionError((name, arguments))


@pytest.mark.parametrize("abi", FILES)
def test_each_version_is_asked_for_all_that_it_knows(abi: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(abi)
    monkeypatch.setattr(landlock, "call", kernel.call)
    assert Landlock(["/usr/lib", os.devnull, "/does/not/exist"]).enter() == f"ABI {abi}"
    (attributes,) = kernel.rulesets
    handled = struct.unpack(f"={len(attributes) // 8}Q", attributes)
    assert handled[0] == (1 << FILES[abi]) - 1
    assert handled[1:] == ((TCP, SCOPES) if abi >= 6 else (TCP,) if abi >= 4 else ())
    assert kernel.flags == [1 if abi >= 7 else 0]


@pytest.mark.parametrize("abi", FILES)
def test_reading_is_all_that_is_ever_granted(abi: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(abi)
    monkeypatch.setattr(landlock, "call", kernel.call)
    Landlock(["/usr/lib", os.devnull]).enter()
    read_file, read_folder = 1 << 2, 1 << 3
    assert sorted({rights for rights, _ in kernel.rules}) == [read_file, read_file | read_folder]


def test_a_kernel_without_it_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(landlock, "call", refuse)
    with pytest.raises(OSError, match="not implemented"):
        Landlock(["/usr/lib"])
