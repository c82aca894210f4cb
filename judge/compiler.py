"""Compiling a submission once, behind the wall, and remembering what came of it.

gcc reads the source from a descriptor, so that there is no file of it that the source itself could include.
"""

import asyncio
import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass, replace

from judge import diagnostics
from judge.errors import Unavailable
from judge.files import memory_file, null, read_back
from judge.harness import SUPPORT, Harness
from judge.launcher import Exit, Folder, Launcher
from judge.submission import CODE_FILE, Diagnostic
from judge.toolchain import Toolchain
from sandbox.confine.cell import Launch
from sandbox.limits import MIB

PROGRAM = "submission"
_SUPPORT = "support.o"
_MOST_STDERR = 4 * MIB
_MOST_BINARY = 32 * MIB
_MOST_PREPROCESSED = 16 * MIB
_DATA_BYTES = 1024 * MIB  # of each pass
_MOST_S = 20  # of processor time
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "TMPDIR": ".", "LANG": "C.UTF-8"}
_AS_WRITTEN = ("-fno-builtin", "-fkeep-static-functions", "-fkeep-inline-functions")
_ALWAYS = ("-pipe", "-fno-lto", "-fmax-errors=50", "-fdiagnostics-format=json")


@dataclass(frozen=True, slots=True)
class Compilation:
    """What came of it. `binary` is None when it failed."""

    binary: bytes | None
    diagnostics: tuple[Diagnostic, ...]
    seconds: float
    stopped: str | None = None  # why it was not let to its end
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Symbols:
    """What the code looks like to gcc. `preprocessed` is None when gcc finds fault with it."""

    preprocessed: str | None
    undefined: frozenset[str]
    defined: frozenset[str]
    complete: bool  # false when a limit was passed on the way, so that something may be missing


class Compiler:
    """Compiles with one launcher at a time, and keeps up to `cache_bytes` of what it compiled."""

    def __init__(self, tools: Toolchain, cache_bytes: int) -> None:
        self._tools = tools
        self._left = cache_bytes
        self._support = b""
        self._kept: OrderedDict[bytes, Compilation] = OrderedDict()

    def cached(self, harness: Harness, flags: tuple[str, ...]) -> Compilation | None:
        """What came of the same source and flags before."""
        key = _key(harness, flags)
        if found := self._kept.get(key):
            self._kept.move_to_end(key)
        return found

    async def compile(self, launcher: Launcher, harness: Harness, flags: tuple[str, ...], wall_s: float) -> Compilation:
        """Compile and link. Cancelling kills the compiler."""
        if known := self.cached(harness, flags):
            return replace(known, cached=True)
        argv = ("gcc", "-g", *flags, *_ALWAYS, _SUPPORT, "-x", "c", "-", "-o", PROGRAM, "-lm")
        async with launcher.folder() as folder:
            folder.write(_SUPPORT, harness.support(self._support))
            for name, content in harness.files.items():
                folder.write(name, content)
            with memory_file(harness.source) as source, memory_file() as told, null() as nothing:
                exit = await launcher.run(
                    self._launch(argv, self._tools.gcc, folder.name, wall_s), (source, nothing, told)
                )
                found = diagnostics.parse(read_back(told, _MOST_STDERR))
            binary = None
            if exit.code == 0:
                try:
                    binary = folder.read(PROGRAM, _MOST_BINARY)
                except OSError:
                    found = (*found, Diagnostic(None, None, "error", None, "the program is too large", "linker"))
        result = Compilation(binary, found or _silent_failure(exit), exit.wall_s, _stopped(exit))
        if result.stopped is None:
            self._keep(_key(harness, flags), result)
        return result

    async def prepare(self, launcher: Launcher) -> None:
        """Compile the part that is the same in every program; it also shows that gcc works here. Raises Unavailable."""
        argv = ("gcc", *_ALWAYS, "-O1", "-fPIE", "-c", "-x", "c", "-", "-o", _SUPPORT)
        async with launcher.folder() as folder:
            with memory_file(SUPPORT.encode()) as source, null() as nothing:
                launch = self._launch(argv, self._tools.gcc, folder.name, _MOST_S)
                exit = await launcher.run(launch, (source, nothing, nothing))
            if exit.code != 0:
                raise Unavailable(f"{self._tools.gcc} cannot compile: {exit.signal or f'status {exit.code}'}")
            self._support = folder.read(_SUPPORT, _MOST_BINARY)

    async def symbols(self, launcher: Launcher, code: str, flags: tuple[str, ...], wall_s: float) -> Symbols:
        """Preprocess and compile the code alone, to see its names as gcc does. The flags are those of the compilation:
        code can ask the preprocessor about most of them.
        """
        source = f'#line 1 "{CODE_FILE}"\n{code}\n\n'.encode("utf-8", "replace")
        flags = (*(flag for flag in flags if not flag.startswith(("-Werror", "-pedantic-errors"))), "-w")
        try:
            async with launcher.folder() as folder, asyncio.TaskGroup() as both:
                preprocessing = both.create_task(self._preprocess(launcher, folder, source, flags, wall_s))
                listing = both.create_task(self._list_names(launcher, folder, source, flags, wall_s))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        text, was_read = preprocessing.result()
        undefined, defined, was_listed = listing.result()
        return Symbols(text, undefined, defined, was_read and was_listed)

    async def _preprocess(
        self, launcher: Launcher, folder: Folder, source: bytes, flags: tuple[str, ...], wall_s: float
    ) -> tuple[str | None, bool]:
        """The text, None when gcc finds fault with it; and whether it was let to its end."""
        argv = ("gcc", *flags, *_ALWAYS, "-E", "-dD", "-dI", "-x", "c", "-")
        with memory_file(source) as stdin, memory_file() as out, null() as nothing:
            exit = await launcher.run(self._launch(argv, self._tools.gcc, folder.name, wall_s), (stdin, out, nothing))
            text = read_back(out, _MOST_PREPROCESSED + 1)
        if exit.code is None or len(text) > _MOST_PREPROCESSED:
            return None, False
        return text.decode(errors="replace") if exit.code == 0 else None, True

    async def _list_names(
        self, launcher: Launcher, folder: Folder, source: bytes, flags: tuple[str, ...], wall_s: float
    ) -> tuple[frozenset[str], frozenset[str], bool]:
        """What the code needs and what it defines; and whether gcc was let to its end."""
        argv = ("gcc", *flags, *_ALWAYS, *_AS_WRITTEN, "-c", "-x", "c", "-", "-o", "check.o")
        with null() as nothing:
            with memory_file(source) as stdin:
                launch = self._launch(argv, self._tools.gcc, folder.name, wall_s)
                exit = await launcher.run(launch, (stdin, nothing, nothing))
            if exit.code != 0:
                return frozenset(), frozenset(), exit.code is not None
            with memory_file() as out:
                launch = self._launch(("nm", "-P", "check.o"), self._tools.nm, folder.name, wall_s)
                exit = await launcher.run(launch, (nothing, out, nothing))
                return *_names(read_back(out, _MOST_STDERR)), exit.code == 0

    def _launch(self, argv: tuple[str, ...], path: str, folder: str, wall_s: float) -> Launch:
        return Launch(
            "compiler", argv, path, folder, _ENVIRONMENT, wall_s, _MOST_S, _DATA_BYTES, _MOST_BINARY, processes=32
        )

    def _keep(self, key: bytes, result: Compilation) -> None:
        self._kept[key] = result
        self._left -= _size(result)
        while self._left < 0 and self._kept:
            _, dropped = self._kept.popitem(last=False)
            self._left += _size(dropped)


def _key(harness: Harness, flags: tuple[str, ...]) -> bytes:
    return hashlib.sha256(json.dumps(flags).encode() + harness.source).digest()


def _size(result: Compilation) -> int:
    return 1024 + len(result.binary or b"") + sum(200 + len(found.message) for found in result.diagnostics)


def _stopped(exit: Exit) -> str | None:
    if exit.killed:
        return "the compiler was stopped at the time limit" if exit.killed == "time" else f"killed: {exit.killed}"
    return None


def _silent_failure(exit: Exit) -> tuple[Diagnostic, ...]:
    if exit.code == 0:
        return ()
    why = _stopped(exit) or f"the compiler ended with {exit.signal or f'status {exit.code}'}"
    return (Diagnostic(None, None, "error", None, why, "linker"),)


def _names(table: bytes) -> tuple[frozenset[str], frozenset[str]]:
    undefined: set[str] = set()
    defined: set[str] = set()
    for line in table.decode(errors="replace").splitlines():
        name, _, rest = line.partition(" ")
        (undefined if rest[:1] in ("U", "w", "v") else defined).add(name.partition("@")[0])
    return frozenset(undefined), frozenset(defined)
