"""Programs that run once: data frame statistics, symbolic mathematics, a figure as PNG bytes, and each status.

    python examples/runs.py [http://127.0.0.1:8000] [figure.png]

Needs `requests` here; the scientific libraries are the server's.
"""

import base64
import sys
import time
from pathlib import Path
from typing import Any

import requests

STATISTICS = """\
import numpy as np
import pandas as pd

# Create data
data = np.random.randn(100)
df = pd.DataFrame({'values': data})

# Calculate statistics
print(f'Mean: {df.values.mean():.3f}')
print(f'Std: {df.values.std():.3f}')
print(f'Count: {len(df)}')
"""
SYMBOLS = """\
import sympy as sp

# Define symbol
x = sp.Symbol('x')

# Solve equation
equation = x**2 - 4*x + 3
solutions = sp.solve(equation, x)
print(f'Solutions: {solutions}')

# Calculus
f = x**3 - 2*x**2 + x
derivative = sp.diff(f, x)
print(f'Derivative: {derivative}')
"""
FIGURE = """\
import base64
from io import BytesIO

import matplotlib.pyplot as plt
import numpy as np

x = np.linspace(0, 10, 200)
figure, axes = plt.subplots()
axes.plot(x, np.exp(-x / 4) * np.cos(3 * x))
axes.set_title('A damped oscillation')
file = BytesIO()
figure.savefig(file, format='png')
print(base64.b64encode(file.getvalue()).decode())
"""
ENDINGS: tuple[tuple[str, dict[str, int]], ...] = (
    ("print(undefined)", {}),
    ("import os\nprint(os.listdir('/'))", {}),
    ("print('so far')\nwhile True: pass", {"timeout": 1}),
    ("big = bytearray(100 * 2**20)", {"memory_limit": 64}),
)
TRIES = 10


class Refused(Exception):
    """The request itself was refused: any status but 200."""


class Failed(Exception):
    """The program did not end in success."""


def run(url: str, code: str, **limits: int) -> dict[str, Any]:
    """The whole answer, whatever the program did. Waits while the queue is full. Raises Refused."""
    for _ in range(TRIES):
        reply = requests.post(f"{url}/run", json={"code": code, **limits}, timeout=600)
        if reply.status_code == 200:
            answer: dict[str, Any] = reply.json()
            return answer
        if "Retry-After" not in reply.headers:  # 4xx: the request is wrong; 500: the server's log knows
            break
        time.sleep(float(reply.headers["Retry-After"]))  # 429, 503: it is busy, starting or stopping
    raise Refused(f"{reply.status_code}: {reply.json()['error']} (request {reply.headers['X-Request-ID']})")


def printed(url: str, code: str, **limits: int) -> str:
    """What a program printed that ended in success. Raises Refused, and Failed with its traceback."""
    answer = run(url, code, **limits)
    if answer["status"] != "success":
        raise Failed(f"{answer['status']}: {answer['error']}\n{answer['stderr']}")
    text: str = answer["stdout"]
    return text


def main() -> int:
    """Run the three programs, then meet each status once."""
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
    print(printed(url, STATISTICS, memory_limit=256), end="")
    print(printed(url, SYMBOLS, timeout=15), end="")
    png = base64.b64decode(printed(url, FIGURE))
    print("the figure has", len(png), "bytes, and is a PNG:", png.startswith(b"\x89PNG\r\n\x1a\n"))
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_bytes(png)
    for code, limits in ENDINGS:
        answer = run(url, code, **limits)
        print(f"{answer['status']}: {answer['error']}; it had printed {answer['stdout']!r}")
    try:
        run(url, "print(1)", timeout=0)
    except Refused as error:
        print(f"Refused: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
