"""Where gcc, its passes and valgrind are, which versions, and what each kind of program may read and run.

They are asked once, at the start, before anything foreign is there.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from judge.errors import Unavailable
from sandbox.confine.cell import Profile

_PASSES = ("cc1", "as", "ld", "collect2", "nm")
_LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/dev/null")
_HEADERS = ("/usr/include", "/usr/local/include")
_MACHINE = ("/sys/devices/system/cpu",)
_VALGRIND_FOLDERS = ("/usr/libexec/valgrind", "/usr/lib/x86_64-linux-gnu/valgrind", "/usr/lib/valgrind",
                     "/usr/lib/aarch64-linux-gnu/valgrind", "/usr/local/libexec/valgrind")  # fmt: skip
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Toolchain:
    gcc: str
    gcc_version: str
    nm: str
    memcheck: str  # valgrind's tool itself, without the launchers in front of it
    valgrind_version: str
    profiles: dict[str, Profile]


def find() -> Toolchain:
    """Raises Unavailable with the name of what is missing."""
    gcc, valgrind = _which("gcc"), _which("valgrind")
    passes = {name: _pass(gcc, name) for name in _PASSES}
    memcheck = _memcheck()
    own = os.path.dirname(passes["cc1"]), os.path.dirname(_ask(gcc, "-print-libgcc-file-name"))
    loaders = tuple(path for path in _LOADERS if os.path.exists(path))
    return Toolchain(
        gcc=gcc,
        gcc_version=_ask(gcc, "-dumpfullversion"),
        nm=passes["nm"],
        memcheck=memcheck,
        valgrind_version=_ask(valgrind, "--version").removeprefix("valgrind-"),
        profiles={
            "compiler": Profile(
                "compiler",
                (*_LIBRARIES, *_HEADERS, *own),
                (gcc, *passes.values(), *loaders),
                writes=True,
                own_proc=False,  # gcc asks for nothing there, and `#include` must not
            ),
            "program": Profile("program", (*_LIBRARIES, *_MACHINE), loaders),
            "sanitized": Profile("sanitized", (*_LIBRARIES, *_MACHINE), loaders),
            "memcheck": Profile(
                "memcheck", (*_LIBRARIES, *_MACHINE, os.path.dirname(memcheck)), (memcheck, *loaders), writes=True
            ),
        },
    )


def _which(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise Unavailable(f"{name} is not installed: submissions need gcc and valgrind (on Debian: apt install {name})")
    return path


def _pass(gcc: str, name: str) -> str:
    told = _ask(gcc, f"-print-prog-name={name}")
    return told if os.path.isabs(told) else _which(told)


def _memcheck() -> str:
    name = f"memcheck-{_ARCHITECTURES.get(os.uname().machine, os.uname().machine)}-linux"
    for folder in _VALGRIND_FOLDERS:
        if (path := Path(folder, name)).exists():
            return str(path)
    raise Unavailable(f"valgrind is installed without {name}: submissions need it")


def _ask(program: str, question: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - found above
            [program, question], capture_output=True, timeout=_PATIENCE_S, check=True, text=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"{program} does not work: {error}") from error
    return done.stdout.strip()
