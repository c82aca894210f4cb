"""Whether workers can be confined on this host as the plan demands, found out by doing it once."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from sandbox.confine.jail import Plan
from sandbox.limits import Limits
from sessions.errors import CannotConfine

_ROOT = str(Path(__file__).resolve().parent.parent)
_PROBE = (
    "__import__('sys').path.insert(0, {root!r}); __import__('sandbox.confine.probe').confine.probe.main(*{arguments!r})"
)
_PROBE_S = 20.0


def examine(plan: Plan, limits: Limits) -> dict[str, str]:
    """Each step and how it went; one that is `absent: …` is not required.

    Blocks for about a tenth of a second. Raises CannotConfine naming the required step that this host lacks.
    """
    arguments = (list(plan.steps), sorted(plan.required), asdict(limits))
    command = [sys.executable, "-I", "-c", _PROBE.format(root=_ROOT, arguments=arguments)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PROBE_S, check=False)  # noqa: S603 - our own
        answer = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError) as error:
        raise CannotConfine(f"the steps could not be tried: {error}") from error
    except ValueError:
        last_words = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise CannotConfine(f"the steps could not be tried: {last_words}") from None
    if "missing" in answer:
        raise CannotConfine(answer["missing"])
    report: dict[str, str] = answer["report"]
    return report
