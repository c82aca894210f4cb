"""Several steps in one session, a plot as PNG bytes, and what to do about each error.

    python examples/notebook_steps.py [http://127.0.0.1:8000] [plot.png]

Needs `requests` here; numpy and matplotlib are the server's.
"""

import base64
import sys
import threading
import time
from pathlib import Path
from typing import Any

import requests

STEPS = (
    "import numpy as np\nx = np.linspace(0, 2 * np.pi, 200)",
    "def wave(n):\n    return np.sin(n * x) / n",
    "y = sum(wave(n) for n in (1, 3, 5))\nround(float(y.max()), 3)",
)
PLOT = """\
import base64, io
import matplotlib.pyplot as plt

figure, axes = plt.subplots()
axes.plot(x, y)
file = io.BytesIO()
figure.savefig(file, format="png")
plt.close(figure)
print(base64.b64encode(file.getvalue()).decode())
"""
TRIES = 10


class Refused(Exception):
    """The request itself was refused: any status but 200."""


class SessionLost(Exception):
    """The variables are gone: the steps have to be sent again, without an id."""


class Notebook:
    """One session, opened by the first step."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = requests.Session()
        self.id: str | None = None

    def run(self, code: str, **fields: Any) -> dict[str, Any]:
        """Run one step. What the code itself raised is in the answer's `stderr`.

        Raises Refused for a wrong request, SessionLost when the variables are gone, and TimeoutError, MemoryError or
        InterruptedError when only this step has failed.
        """
        for _ in range(TRIES):
            answer = self._post({"code": code, "id": self.id, **fields})
            if answer["error"] != "max sessions reached":
                break
            time.sleep(0.5)  # an idle one will be closed, or somebody closes theirs
        else:
            raise Refused(answer["detail"])
        said = f"{answer['error']}: {answer['detail']}"
        if answer["error"] is not None and answer["state"] == "lost":
            self.id = None  # the next step opens a new session
            raise SessionLost(said)
        self.id = answer["id"]
        match answer["error"]:
            case None:
                return answer
            case "execution timeout":
                raise TimeoutError(f"{said}; it had printed {answer['partial']['stdout']!r}")
            case "memory limit exceeded":
                raise MemoryError(said)
            case _:
                raise InterruptedError(said)

    def interrupt(self) -> None:
        """Interrupt the step that runs, or the next one; from another thread."""
        while True:
            reply = requests.post(f"{self._url}/sessions/{self.id}/interrupt", timeout=10)
            reply.raise_for_status()
            if reply.json()["interrupted"]:
                return
            time.sleep(0.05)

    def close(self) -> None:
        """Close the session, so that its place is free."""
        if self.id is not None:
            self._http.delete(f"{self._url}/sessions/{self.id}", timeout=10)
            self.id = None

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        for _ in range(TRIES):
            reply = self._http.post(f"{self._url}/execute", json=body, timeout=60)
            if reply.status_code == 200:
                answer: dict[str, Any] = reply.json()
                return answer
            if "Retry-After" not in reply.headers:  # 4xx: the request is wrong; 500: the server's log knows
                break
            time.sleep(float(reply.headers["Retry-After"]))  # 429, 503: it is busy, starting or stopping
        said = f"{reply.status_code}: {reply.json()['error']} (request {reply.headers['X-Request-ID']})"
        raise Refused(said)


def main() -> int:
    """Run the steps, draw the plot, then meet each error once."""
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
    book = Notebook(url)
    try:
        for step in STEPS:
            answer = book.run(step, timeout=30)
        print("the highest point is", answer["result"])
        png = base64.b64decode(book.run(PLOT, timeout=30)["stdout"])
        print("the plot has", len(png), "bytes, and is a PNG:", png.startswith(b"\x89PNG\r\n\x1a\n"))
        if len(sys.argv) > 2:
            Path(sys.argv[2]).write_bytes(png)
        meet_errors(book)
    finally:
        book.close()
    return 0


def meet_errors(book: Notebook) -> None:
    """Each error that a step can end in, and what is left of the session then."""
    answer = book.run("1 / 0")
    print("an exception is no error:", answer["stderr"].splitlines()[-1])
    for code, fields in (
        ("print('so far'); n = 0\nwhile True: n += 1", {"timeout": 0.3}),
        ("big = bytearray(1 << 40)", {}),
        ("x = 1", {"tiemout": 1}),
    ):
        try:
            book.run(code, **fields)
        except (TimeoutError, MemoryError, Refused) as error:
            print(f"{type(error).__name__}: {error}")
    interrupter = threading.Timer(0.3, book.interrupt)
    interrupter.start()
    try:
        book.run("import time; time.sleep(20)", timeout=30)
    except InterruptedError as error:
        print(f"InterruptedError: {error}")
    interrupter.join()
    print("the variables are still there:", book.run("len(x)")["result"])
    lost = book.id
    for code in ("import os; os._exit(3)", "len(x)"):
        try:
            book.run(code)
        except SessionLost as error:
            print(f"SessionLost: {error}")
        book.id = lost  # as a client would that has not looked at the answer
    book.id = None


if __name__ == "__main__":
    sys.exit(main())
