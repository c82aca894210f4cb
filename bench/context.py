"""What every section works with."""

from dataclasses import dataclass
from pathlib import Path

from bench.load import Load
from bench.servers import Echo, PyRunner


@dataclass(frozen=True, slots=True)
class Context:
    """Both servers, up and warm; only one of them is loaded at a time."""

    quick: bool
    load: Load
    echo: Echo
    ours: PyRunner
    scratch: Path  # a folder for the logs of further servers

    def pick(self, full: int, quick: int) -> int:
        """How often to do something: `full` times, or `quick` in a quick run."""
        return quick if self.quick else full
