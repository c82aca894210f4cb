"""Signals that come while a frame is sent: none acts before its end, none is lost, handlers are as they were."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAD = """
import signal
from sandbox.signals import Signals

def ring(signum, frame):
    print("rings")
    if RAISES:
        raise TimeoutError

signals = Signals()
signal.signal(signal.SIGALRM, ring)
signals.admit(lambda: False)
before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGALRM)]
caught = []
try:
    with signals.held():
        for signum in SIGNALS:
            signal.raise_signal(signum)
        print("sent")
except (KeyboardInterrupt, TimeoutError) as error:
    caught.append(type(error).__name__)
print(*caught)
print([signal.getsignal(s) for s in (signal.SIGINT, signal.SIGALRM)] == before)
"""


@pytest.mark.parametrize(
    ("sent", "raises", "printed"),
    [
        ("()", True, "sent,,True"),
        ("(signal.SIGINT,)", True, "sent,KeyboardInterrupt,True"),
        ("(signal.SIGALRM,)", False, "sent,rings,,True"),
        ("(signal.SIGALRM,)", True, "sent,rings,TimeoutError,True"),
        ("(signal.SIGALRM, signal.SIGINT)", False, "sent,rings,KeyboardInterrupt,True"),
        ("(signal.SIGALRM, signal.SIGINT)", True, "sent,rings,KeyboardInterrupt,True"),
        ("(signal.SIGINT,) * 100", True, "sent,KeyboardInterrupt,True"),
    ],
)
def test_signals_that_come_meanwhile_act_afterwards(sent: str, raises: bool, printed: str) -> None:
    code = f"RAISES = {raises}\n" + HEAD.replace("SIGNALS", sent)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.stdout.split("\n")[:-1] == printed.split(","), done.stderr
