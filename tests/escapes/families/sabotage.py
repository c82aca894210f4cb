"""The worker turned against itself: its end, its builtins, our own objects, its crash."""

from tests.escapes.row import Row

_APART = "a session is a process of its own"


def _row(family: str, name: str, code: str, effect: str = "fault", **more: object) -> Row:
    return Row(name, family, effect, code, open_without_wall=False, stopped_by=_APART, **more)  # type: ignore[arg-type]


_END, _BUILTINS, _CRASH = "teardown hooks", "builtins sabotage", "crash"
_SPIN = "\n    while True:\n        try: time.sleep(1)\n        except BaseException: pass"

ROWS = (
    _row(_END, "atexit", f"import atexit\n@atexit.register\ndef f():{_SPIN}", "outlives"),
    _row(_END, "atexit, and the end", f"import atexit\n@atexit.register\ndef f():{_SPIN}\nsys.exit(0)", "outlives"),
    _row(_END, "__del__", "class A:\n    def __del__(self):" + _SPIN.replace("\n", "\n    ") + "\na = A()", "outlives"),
    _row(_END, "a thread that is waited for", f"def f():{_SPIN}\nthreading.Thread(target=f).start()", "outlives"),
    _row(_END, "threading._shutdown", f"def f(*_):{_SPIN}\nthreading._shutdown = f\nsys.exit()", "outlives"),
    _row(
        _END,
        "every signal is handled",
        f"""
def f(*_):{_SPIN}
for n in range(1, 65):
    try: signal.signal(n, f)
    except (OSError, ValueError): pass
""",
        "outlives",
    ),
    _row(
        _END,
        "every signal is ignored",
        "for n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass",
        "outlives",
    ),
    _row(
        _END,
        "the notice of the server's death is refused",
        "import fcntl\nfor fd in range(3, 64):\n    try: fcntl.fcntl(fd, fcntl.F_SETFL, 0)\n    except OSError: pass",
        "outlives",
    ),
    _row(_BUILTINS, "builtins are cleared", "import builtins\nbuiltins.__dict__.clear()"),
    _row(
        _BUILTINS,
        "the real builtins are cleared",
        """
for d in gc.get_objects():
    if isinstance(d, dict) and d.get("__name__") == "builtins":
        d.clear()
""",
    ),
    _row(
        _BUILTINS,
        "all modules are emptied",
        """
for module in list(sys.modules.values()):
    if module is not sys.modules['__main__']:
        vars(module).clear()
""",
    ),
    _row(_BUILTINS, "all modules are gone", "sys.modules.clear()"),
    _row(
        _BUILTINS,
        "posix, json, struct and _signal do nothing",
        """
import json, _signal, _struct
for module in (posix, json, struct, _signal, _struct):
    for name in vars(module):
        setattr(module, name, lambda *a, **k: None)
""",
    ),
    _row(
        _BUILTINS,
        "each function of ours is another one",
        """
import types
for f in gc.get_objects():
    if isinstance(f, types.FunctionType) and (f.__module__ or '').startswith('sandbox'):
        f.__code__ = (lambda *a, **k: None).__code__ if not f.__code__.co_freevars else f.__code__
""",
    ),
    _row(
        _BUILTINS,
        "our objects are found and misused",
        """
for o in gc.get_objects():
    if type(o).__module__.startswith('sandbox') and hasattr(o, '__dict__'):
        for name in list(vars(o)):
            setattr(o, name, -1)
""",
    ),
    _row(
        _BUILTINS,
        "the bounds of the tapes are raised",
        """
for o in gc.get_objects():
    if type(o).__name__ == 'Tape':
        o._bound = o._length = o._answered = 2**40
print('x' * 10**7)
""",
    ),
    _row(
        _BUILTINS,
        "a trace function eats all errors",
        """
def f(*_):
    try: time.sleep(0.01)
    except BaseException: pass
    return f
sys.settrace(f)
threading.settrace(f)
import this
""",
    ),
    _row(_BUILTINS, "the recursion limit is 10**9", "sys.setrecursionlimit(10**9)\ndef f(): f()\nf()"),
    _row(
        _BUILTINS,
        "the frames of the worker are changed",
        """
f = sys._getframe()
while f:
    f.f_locals.clear()
    ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(f), 1)
    f = f.f_back
""",
    ),
    _row(_CRASH, "a segmentation fault", "ctypes.string_at(0)"),
    _row(_CRASH, "a write to nowhere", "ctypes.memset(8, 0, 1)"),
    _row(_CRASH, "abort()", "libc.abort()"),
    _row(_CRASH, "faults on a stack of C", "import faulthandler\nfaulthandler._stack_overflow()"),
    _row(
        _CRASH,
        "bad bytecode",
        "def f(): pass\nf.__code__ = f.__code__.replace(co_code=bytes([100, 255] * 9), co_consts=())\nf()",
    ),
    _row(
        _CRASH, "a count of references that is wrong", "x = object()\nctypes.memset(id(x), 0, 32)\ndel x\ngc.collect()"
    ),
    _row(_CRASH, "an illegal instruction", "run_native('0f0b')", machine="x86_64"),
    _row(_CRASH, "an interrupt instruction", "run_native('cc')", machine="x86_64"),
    _row(_CRASH, "SIGKILL to itself", "posix.kill(posix.getpid(), 9)"),
    _row(_CRASH, "os._exit", "posix._exit(0)"),
    _row(_CRASH, "the main thread ends", "call('exit', 0)"),
    _row(_CRASH, "all of its memory is taken away", "call('munmap', 0, 2**47 - 4096)"),
)
