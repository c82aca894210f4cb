"""What a cold process of the same interpreter takes for the same code: the measure for sessions and runs."""

import subprocess
import sys
import time

PRINT = "print(1)"
SIX = """\
import numpy, pandas, scipy, sympy, matplotlib.pyplot, sklearn
a = numpy.arange(64.0).reshape(8, 8)
print((a @ a).trace())
"""


def seconds(code: str) -> float:
    """From before `python -I -c` is started until it has ended."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-c", code], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started
