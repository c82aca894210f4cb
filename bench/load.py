"""The load generator: compiled at the start, run as a process, its figures read back."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SOURCE = Path(__file__).with_name("load.c")
_COMPILERS = ("cc", "gcc", "clang")
_TRIES = 3


class NoCompiler(Exception):
    """The load generator cannot be compiled. Its text says what to install."""


@dataclass(frozen=True, slots=True)
class Leg:
    """What one run of the generator measured. Latencies in microseconds."""

    requests: int
    seconds: float
    p50_us: float
    p95_us: float
    p99_us: float
    max_us: float
    all_requests: int  # with those of the warm-up
    cpu_s: float  # the generator's own, over all requests

    @property
    def rps(self) -> float:
        """Recorded requests a second."""
        return self.requests / self.seconds


@dataclass(frozen=True, slots=True)
class Call:
    """One client's request, sent again and again. `expected`: what each answer's body must contain."""

    body: bytes
    expected: bytes
    path: str = "/execute"

    def encode(self, port: int) -> bytes:
        """The client as `load` reads it."""
        head = f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        request = f"{head}Content-Length: {len(self.body)}\r\n\r\n".encode() + self.body
        return b"%d %d\n%b%b" % (len(request), len(self.expected), request, self.expected)


class Load:
    """The compiled generator."""

    def __init__(self, folder: Path) -> None:
        """Compile it into `folder`. Raises NoCompiler."""
        compiler = os.environ.get("CC") or next(filter(shutil.which, _COMPILERS), None)
        if compiler is None:
            raise NoCompiler("the load generator is written in C, and there is no C compiler: install gcc or clang")
        self._program = folder / "load"
        command = [*compiler.split(), "-O2", "-o", str(self._program), str(_SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise NoCompiler(f"the load generator could not be compiled by {compiler}: {done.stderr.strip()}")

    def run(self, port: int, calls: Sequence[Call], *, warm_s: float, run_s: float, most: int = 0) -> Leg:
        """Load `port` with one client a call. `most`: requests a client, 0 for as many as fit into the time.

        A leg in which this machine was too busy for a single answer is run again. Raises RuntimeError.
        """
        command = [str(self._program), str(port), f"{warm_s}", f"{run_s}", str(most)]
        clients = b"".join(call.encode(port) for call in calls)
        for _ in range(_TRIES):
            done = subprocess.run(command, input=clients, capture_output=True)
            if done.returncode != 0:
                raise RuntimeError(done.stderr.decode(errors="replace").strip())
            leg = Leg(**json.loads(done.stdout))
            if leg.requests:
                return leg
        raise RuntimeError(f"no answer was measured in {_TRIES} legs of {run_s:g} s: the machine is too busy")
