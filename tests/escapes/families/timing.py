"""Time: code that does not end, that does not heed interrupts, that goes on after its answer."""

from tests.escapes.row import Row

_WATCHED = "the watchdog"


def _row(name: str, code: str, effect: str = "late", stopped_by: str = _WATCHED, **more: object) -> Row:
    return Row(
        name,
        "CPU",
        effect,
        code,
        open_without_wall=False,
        stopped_by=stopped_by,
        busy=True,
        **more,  # type: ignore[arg-type]
    )


_SPIN = "ebfe"
_FORGED = """
def twice(fd, data, write=posix.write):
    write(fd, data)
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
posix.write = twice
"""

ROWS = (
    _row(
        "a loop that eats exceptions", "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
    ),
    _row("a loop in C", "sum(range(10**12))"),
    _row("a regular expression", "import re\nre.match('(a*)*b', 'a' * 40)"),
    _row("a large power", "10 ** (10 ** 10)"),
    _row("SIGINT is ignored", "signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"),
    _row("all signals are blocked", "libc.sigprocmask(0, b'\\xff' * 128, None)\nwhile True: pass"),
    _row("a handler that does nothing", "signal.signal(signal.SIGINT, lambda *_: None)\nwhile True: pass"),
    _row("a sleep in C", "libc.sleep(60)"),
    _row("it stops itself", "posix.kill(posix.getpid(), signal.SIGSTOP)"),
    _row(
        "it waits for what never comes",
        """
_thread.allocate_lock().acquire()
_thread.interrupt_main = None
l = _thread.allocate_lock()
l.acquire()
l.acquire()
""",
    ),
    _row("machine code that never ends", f"run_native('{_SPIN}')"),
    _row(
        "a storm of signals",
        """
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 1e-6, 1e-6)
while True: pass
""",
    ),
    Row(
        "a bomb of threads",
        "CPU",
        "threads",
        "_thread.stack_size(65536)\nfor _ in range(999):\n    _thread.start_new_thread(time.sleep, (0.3,))",
    ),
    _row(
        "a hundred threads of machine code",
        f"at = native('{_SPIN}')\nt = ctypes.c_ulong()\nfor _ in range(100):\n"
        "    libc.pthread_create(ctypes.byref(t), None, ctypes.c_void_p(at), None)\ntime.sleep(9)",
    ),
    _row(
        "a thread of machine code goes on after the answer",
        f"t = ctypes.c_ulong()\nlibc.pthread_create(ctypes.byref(t), None, ctypes.c_void_p(native('{_SPIN}')), None)",
        effect="burns",
        stopped_by="rest",
        after_s=1.3,
    ),
    _row(
        "a thread goes on after the answer",
        "def f():\n    while True: pass\n_thread.start_new_thread(f, ())",
        effect="burns",
        stopped_by="rest",
        after_s=1.3,
    ),
    _row("it answers, and goes on", _FORGED, effect="burns", stopped_by="rest", after_s=1.3),
    _row(
        "the main thread ends, another goes on",
        f"""
t = ctypes.c_ulong()
libc.pthread_create(ctypes.byref(t), None, ctypes.c_void_p(native('{_SPIN}')), None)
call('exit', 0)
""",
    ),
    _row(
        "an endless repr",
        """
class A:
    def __repr__(self):
        while True:
            try: time.sleep(1)
            except BaseException: pass
A()
""",
    ),
    _row(
        "an endless excepthook",
        """
def hook(*_):
    while True:
        try: time.sleep(1)
        except BaseException: pass
sys.excepthook = hook
1 / 0
""",
    ),
    _row(
        "an endless flush",
        """
class S:
    def write(self, t): pass
    def flush(self):
        while True:
            try: time.sleep(1)
            except BaseException: pass
sys.stdout = S()
""",
    ),
)
