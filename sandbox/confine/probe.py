"""Takes every step of the wall once, in a throwaway process, and tells how each went."""

import json
import os
import posix
import sys
from typing import Any, NoReturn

from sandbox.confine.jail import Jail, Plan, StepMissing
from sandbox.limits import Limits


def main(steps: list[str], required: list[str], limits: dict[str, Any]) -> NoReturn:
    """Print a JSON object: `report`, each step and how it went; or `missing`, the required step that is not there."""
    jail = Jail(Plan(tuple(steps), frozenset(required)), Limits(**limits))
    try:
        jail.build()
        jail.close()
        print(_in_a_child(jail))
    except StepMissing as missing:
        print(json.dumps({"missing": str(missing)}))
    sys.exit(0)


def _in_a_child(jail: Jail) -> str:
    """A worker's steps can not be taken back, so a child takes them."""
    told, tell = posix.pipe()
    liveness, _alive = posix.pipe()
    pid = posix.fork()
    if pid == 0:
        try:
            tell = jail.birth((tell, liveness), liveness)[0]
            jail.enter()
            _read_own_library()
            answer: dict[str, Any] = {"report": jail.report}
        except StepMissing as missing:
            answer = {"missing": str(missing)}
        except OSError as error:
            answer = {"missing": f"reading Python's own library: {error.strerror}"}
        posix.write(tell, json.dumps(answer).encode())
        posix._exit(0)
    posix.close(tell)
    posix.waitpid(pid, 0)
    return posix.read(told, 65536).decode() or json.dumps({"missing": "the process that tried the steps died"})


def _read_own_library() -> None:
    """An interpreter in a private home cannot be read by another user, unless the step root serves it."""
    posix.close(posix.open(os.__file__, os.O_RDONLY))
