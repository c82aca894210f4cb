"""Code that misbehaves, and what its caller is to be told. Each is a fault that a session must bear alone."""

from dataclasses import dataclass

KEPT = "kept"
LOST = "lost"
TIMEOUT = "execution timeout"
MEMORY = "memory limit exceeded"
CRASHED = "session crashed"


@dataclass(frozen=True, slots=True)
class Rogue:
    """`ends`: pairs of error and state, any of which is a clear answer. `detail`: a pattern for a lost one's."""

    code: str
    ends: tuple[tuple[str | None, str], ...]  # error and state, any of which is a clear answer
    detail: str = ""  # a pattern that an error's detail must match
    stays: bool = False  # what it did is the code's own affair, and goes on


def bears(code: str) -> Rogue:
    """Code that the session bears as if nothing had happened."""
    return Rogue(code, ((None, KEPT),))


def crashes(code: str, detail: str) -> Rogue:
    return Rogue(code, ((CRASHED, LOST),), detail)


def goes_on(code: str) -> Rogue:
    """Code that the session bears, and whose effect lasts."""
    return Rogue(code, ((None, KEPT),), stays=True)


def bears_or_crashes(code: str) -> Rogue:
    """Code that breaks what runs it: what is left may answer or not."""
    return Rogue(code, ((None, KEPT), (CRASHED, LOST)))


def never_ends(code: str) -> Rogue:
    return Rogue(code, ((TIMEOUT, LOST),), "killed: it did not end when interrupted")


def is_interrupted(code: str) -> Rogue:
    return Rogue(code, ((TIMEOUT, KEPT),), "interrupted after")


def takes_too_much(code: str) -> Rogue:
    """Memory: the allocation fails, or the worker is killed."""
    return Rogue(code, ((MEMORY, KEPT), (MEMORY, LOST)))


# Finds the descriptors of the worker's own: the queue that answers leave by, and the tapes. Forges an answer.
_FIND = """
import fcntl, os, posix, stat, struct, sys
def _mode(fd):
    try:
        return posix.fstat(fd).st_mode
    except OSError:
        return 0
_answers = next(fd for fd in range(48, 64)
                if stat.S_ISFIFO(_mode(fd)) and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY)
_tapes = [fd for fd in range(48, 64) if stat.S_ISREG(_mode(fd))]
def _frame(body):
    return struct.pack(">I", len(body)) + body
def _forged(**fields):
    wire, words = sys.modules["sandbox.wire"], sys.modules["sandbox.outcome"]
    return wire.answer(words.Ended(words.Status.DONE, words.Usage(), result="'forged'", **fields))
def _send(data):
    data = memoryview(data)
    while data:
        data = data[posix.write(_answers, data):]
"""
_BLOCKED = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"

STREAMS = {
    "closes stdout": bears("import sys\nsys.stdout.close()"),
    "closes stderr and fails": bears("import sys\nsys.stderr.close()\n1 / 0"),
    "detaches stdout": bears("import sys\nsys.stdout.detach()"),
    "has no streams": bears("import sys\nsys.stdout = sys.stderr = sys.stdin = None\n1 / 0"),
    "deletes the streams": bears("import sys\ndel sys.stdout, sys.stderr, sys.stdin\n1 / 0"),
    "puts a number in place of stdout": goes_on("import sys\nsys.stdout = 5"),
    "has a stdout that fails": goes_on(
        "import sys\nclass S:\n    def write(self, text): 1 / 0\n    flush = write\nsys.stdout = S()\nprint('x')"
    ),
    "has a stdout that fails to flush": goes_on(
        "import sys\nclass S:\n    write = len\n    def flush(self): raise SystemExit(9)\nsys.stdout = S()"
    ),
    "has a stdout that never flushes": is_interrupted(
        "import sys, time\nclass S:\n    write = len\n    def flush(self): time.sleep(60)\nsys.stdout = S()"
    ),
    "has a stdout that fails when asked": goes_on(
        "import sys\nclass S:\n    def __getattr__(self, name): raise KeyboardInterrupt\nsys.stdout = S()"
    ),
    "closes descriptors 0 to 2": bears("import os\nos.closerange(0, 3)\nprint(1)"),
    "closes all descriptors": crashes("import posix\nposix.closerange(0, 64)", "^exit status 70$|^SIGKILL$"),
    "floods stdout": is_interrupted("while True: print('flood' * 1000)"),
    "floods stderr": is_interrupted("import sys\nwhile True: print('flood' * 1000, file=sys.stderr)"),
    "floods descriptor 1": is_interrupted("import os\nwhile True: os.write(1, b'flood' * 1000)"),
    "floods descriptor 1 from C": is_interrupted(
        "import ctypes\nlibc = ctypes.CDLL(None)\nwhile True: libc.write(1, b'flood' * 1000, 5000)"
    ),
    "floods stdout from C": is_interrupted(
        "import ctypes\nlibc = ctypes.CDLL(None)\nwhile True:\n    libc.puts(b'flood' * 1000)\n    x = 1"
    ),
    "floods with the interpreter locked": is_interrupted(
        "import ctypes\nlibc = ctypes.PyDLL(None)\nwhile True:\n    libc.puts(b'flood' * 1000)\n    x = 1"
    ),
}

INTERPRETER = {
    "deletes builtins": bears("import builtins\nfor name in list(vars(builtins)): delattr(builtins, name)"),
    "clears the real builtins": bears_or_crashes("print.__self__.__dict__.clear()"),
    "clears the modules": bears("import sys\nsys.modules.clear()"),
    "clears our modules": bears_or_crashes(
        "import sys\nfor name, module in list(sys.modules.items()):\n"
        "    if name.startswith('sandbox'): module.__dict__.clear()"
    ),
    "clears what called it": bears_or_crashes("import sys\nsys._getframe(1).f_globals.clear()"),
    "takes our objects apart": bears_or_crashes(
        "import gc\nfor thing in gc.get_objects():\n"
        "    if type(thing).__module__.startswith('sandbox'):\n"
        "        for name in list(getattr(thing, '__dict__', {})): delattr(thing, name)"
    ),
    "breaks its own namespace": bears("globals().clear()\nraise SystemExit"),
    "has a hook that never ends": is_interrupted("import sys, time\nsys.excepthook = lambda *a: time.sleep(60)\n1 / 0"),
    "has a destructor that never ends": is_interrupted(
        "import time\nclass D:\n    def __del__(self): time.sleep(60)\nD()\nNone"
    ),
    "fails with an error that fails": bears(
        "class E(Exception):\n    def __str__(self): raise self\n    __repr__ = __str__\nraise E"
    ),
    "exits with a code that fails": bears("class C:\n    def __str__(self): 1 / 0\nraise SystemExit(C())"),
    "traces all calls and fails": bears("import sys\ndef trace(*a): raise ValueError\nsys.settrace(trace)"),
    "profiles all calls and fails": bears("import sys\ndef trace(*a): raise ValueError\nsys.setprofile(trace)"),
    "rings alarms without end": Rogue(
        "import signal\ndef ring(*a): raise ValueError\nsignal.signal(signal.SIGALRM, ring)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\nwhile True: x = 1",
        ((None, KEPT), (CRASHED, LOST)),
        stays=True,
    ),
}

ENDS = {
    "exits": crashes("import os\nos._exit(0)", "^exit status 0$"),
    "exits with a status": crashes("import os\nos._exit(77)", "^exit status 77$"),
    "reads from nowhere": crashes("import ctypes\nctypes.string_at(0)", "^SIGSEGV$"),
    "aborts": crashes("import os\nos.abort()", "^SIGABRT$"),
    "kills itself": crashes("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "^SIGKILL$"),
    "terminates itself": crashes("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)", "^SIGTERM$"),
    "ends its queue by exiting in C": crashes("import ctypes\nctypes.CDLL(None).exit(5)", "^exit status 5$"),
    "recurses in C": Rogue(
        "import sys\nsys.setrecursionlimit(10**9)\nx = []\nfor _ in range(10**6): x = [x]\nrepr(x)",
        ((CRASHED, LOST), (MEMORY, KEPT), (MEMORY, LOST), (TIMEOUT, KEPT), (TIMEOUT, LOST)),
    ),
    "recurses in Python": Rogue(
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
        ((MEMORY, KEPT), (MEMORY, LOST), (CRASHED, LOST), (TIMEOUT, KEPT), (TIMEOUT, LOST)),
    ),
}

TIME = {
    "ignores the interrupt": never_ends(
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(60)"
    ),
    "swallows the interrupt": never_ends(
        "import time\nwhile True:\n    try:\n        time.sleep(60)\n    except BaseException: pass"
    ),
    "blocks all signals": never_ends(_BLOCKED + "while True: pass"),
    "loops in C": never_ends("sum(iter(int, 1))"),
    "loops in a regular expression": Rogue(
        "import re\nre.match('(a+)+b', 'a' * 60)", ((TIMEOUT, KEPT), (TIMEOUT, LOST))
    ),
    "sleeps in C with the interpreter locked": Rogue(
        "import ctypes\nctypes.PyDLL(None).sleep(60)", ((TIMEOUT, KEPT), (TIMEOUT, LOST))
    ),
    "stops itself": never_ends("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)"),
    "leaves threads that loop": bears(
        "import threading\ndef loop():\n    while True: pass\n"
        "for _ in range(3): threading.Thread(target=loop, daemon=True).start()"
    ),
    "leaves threads that print": bears(
        "import threading\ndef loop():\n    while True: print('noise')\n"
        "for _ in range(3): threading.Thread(target=loop, daemon=True).start()"
    ),
    "waits for a thread that never ends": is_interrupted(
        "import threading, time\nt = threading.Thread(target=time.sleep, args=(60,), daemon=True)\nt.start()\nt.join()"
    ),
}

QUEUE = {
    "answers with garbage": crashes(f"{_FIND}\n_send(b'\\xff' * 100)", "broke the protocol"),
    "answers with a huge length": crashes(f"{_FIND}\n_send(struct.pack('>I', 2**31))", "broke the protocol"),
    "answers with half a frame": Rogue(f"{_FIND}\n_send(_forged()[:20])", ((TIMEOUT, LOST), (CRASHED, LOST))),
    "answers with half a frame and waits": Rogue(
        f"{_FIND}\nimport time\n_send(_forged()[:20])\ntime.sleep(60)", ((TIMEOUT, LOST), (CRASHED, LOST))
    ),
    "answers with an empty frame": crashes(f"{_FIND}\n_send(bytes(4))", "broke the protocol"),
    "answers with another kind of frame": crashes(f"{_FIND}\n_send(_frame(b'{{}}' * 40))", "broke the protocol"),
    "answers with a wrong field": crashes(f"{_FIND}\n_send(_frame(b'\\xff' + _forged()[5:]))", "broke the protocol"),
    "answers with deep JSON": crashes(
        f"{_FIND}\n_send(_frame(_forged()[4:] + b'[' * 10**5 + b']' * 10**5))", "broke the protocol"
    ),
    "answers with many values": crashes(
        f"{_FIND}\n_send(_frame(_forged()[4:] + b'[' + b'{{}},' * 10**6 + b'{{}}]'))", "broke the protocol"
    ),
    "answers with lengths that lie": Rogue(
        f"{_FIND}\n_send(_forged(stdout_bytes=2**50, stderr_bytes=2**50, mark_bytes=2**50))",
        ((None, KEPT), (CRASHED, LOST)),
    ),
    "forges its answer": Rogue(f"{_FIND}\n_send(_forged())", ((None, KEPT), (CRASHED, LOST))),
    "forges two answers": crashes(f"{_FIND}\n_send(_forged() * 2)", "broke the protocol"),
    "floods its queue": crashes(f"{_FIND}\nwhile True: _send(bytes(65536))", "broke the protocol"),
    "floods its queue with one frame": crashes(
        f"{_FIND}\n_send(struct.pack('>I', 2**23))\nwhile True: _send(b' ' * 65536)", "broke the protocol"
    ),
    "closes its queue": crashes(f"{_FIND}\nposix.close(_answers)", ""),
    "reads its own requests": Rogue("import posix\nposix.read(48, 1)", ((TIMEOUT, KEPT), (TIMEOUT, LOST))),
    "answers when nobody has asked": Rogue(
        f"{_FIND}\nimport threading, time\ndef late():\n    while True:\n        time.sleep(0.01)\n"
        "        _send(_forged())\nthreading.Thread(target=late, daemon=True).start()",
        ((None, KEPT), (CRASHED, LOST)),
    ),
}
_SHOW = f"""{_FIND}
def _shown(rest=b'[{{"text/plain": "forged"}}]', out=0, err=0):
    return _frame(struct.pack(">BQQ", 3, out, err) + rest)
"""
DISPLAYS = {
    "shows a forged bundle": bears(f"{_SHOW}\n_send(_shown())"),
    "shows a bundle behind text that there is not": bears(f"{_SHOW}\n_send(_shown(out=2**64 - 1, err=2**63))"),
    "shows nothing": crashes(f"{_SHOW}\n_send(_frame(bytes([3])))", "broke the protocol"),
    "shows garbage": crashes(f"{_SHOW}\n_send(_frame(b'\\x03' * 100))", "broke the protocol"),
    "shows no bundle": crashes(f"{_SHOW}\n_send(_shown(b'[]'))", "broke the protocol: a display that is not one"),
    "shows two bundles": crashes(f"{_SHOW}\n_send(_shown(b'[{{}},{{}}]'))", "broke the protocol"),
    "shows a number": crashes(f"{_SHOW}\n_send(_shown(b'[{{\"a\": 1}}]'))", "broke the protocol"),
    "shows half a surrogate": crashes(f'{_SHOW}\n_send(_shown(b\'[{{"a": "\\\\ud800"}}]\'))', "broke the protocol"),
    "shows deep JSON": crashes(f"{_SHOW}\n_send(_shown(b'[' * 10**5 + b']' * 10**5))", "broke the protocol"),
    "shows many values": crashes(f"{_SHOW}\n_send(_shown(b'[' + b'{{}},' * 10**6 + b'{{}}]'))", "broke the protocol"),
    "shows half a bundle": Rogue(f"{_SHOW}\n_send(_shown()[:20])", ((TIMEOUT, LOST), (CRASHED, LOST))),
    "shows without end": crashes(f"{_SHOW}\nwhile True: _send(_shown())", "more outputs than are allowed"),
    "shows more than there is room for": crashes(
        f"{_SHOW}\nfor _ in range(20): _send(_shown(b'[{{\"a\":\"' + b'x' * 2**20 + b'\"}}]'))",
        "more outputs than are allowed",
    ),
    "shows something behind its answer": crashes(f"{_SHOW}\n_send(_forged() + _shown())", "broke the protocol"),
    "shows something when nobody has asked": Rogue(
        f"{_SHOW}\nimport threading, time\ndef late():\n    while True:\n        time.sleep(0.01)\n"
        "        _send(_shown())\nthreading.Thread(target=late, daemon=True).start()",
        ((None, KEPT), (CRASHED, LOST)),
    ),
    "shows from many threads": bears(
        "import threading\ndef work():\n    for _ in range(50): display('x' * 5000)\n"
        "for _ in range(8): threading.Thread(target=work).start()"
    ),
    "takes the lock of displays": never_ends(
        "import gc, threading\nfor thing in gc.get_objects():\n"
        "    if type(thing).__name__ == 'Interpreter' and type(thing).__module__.startswith('sandbox'):\n"
        "        t = threading.Thread(target=thing._sending.acquire)\n        t.start()\n        t.join()\n"
        "while True: pass"
    ),
}
_SCRIBBLE = f"""{_FIND}
for fd in _tapes:
    try:
        posix.pwrite(fd, HEADER, 0)
        posix.lseek(fd, OFFSET, 0)
    except OSError:
        pass
"""
TAPES = {
    "lies about what it printed": bears_or_crashes(
        _SCRIBBLE.replace("HEADER", "b'\\xff' * 4096").replace("OFFSET", "0")
    ),
    "lies about what it printed, and dies": crashes(
        _SCRIBBLE.replace("HEADER", "b'\\xff' * 4096").replace("OFFSET", "2**62") + "\nposix._exit(3)",
        "^exit status 3$",
    ),
    "has printed nothing, and dies": crashes(
        "print('x' * 5000)\n" + _SCRIBBLE.replace("HEADER", "bytes(4096)").replace("OFFSET", "0") + "\nposix._exit(3)",
        "^exit status 3$",
    ),
    "cuts its tapes": Rogue(
        f"{_FIND}\nfor fd in _tapes:\n    try:\n        posix.ftruncate(fd, 0)\n    except OSError:\n        pass\n"
        "print('x' * 5000)",
        ((None, KEPT), (CRASHED, LOST)),
    ),
    "closes its tapes": bears_or_crashes(
        "import posix\nfor fd in range(50, 64):\n    try:\n        posix.close(fd)\n    except OSError:\n        pass"
    ),
}

_LIBC = "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.malloc.restype = libc.mmap.restype = ctypes.c_void_p\n"
SPIKES = {
    "a bytearray": takes_too_much("x = bytearray(150 * 2**20)\nx[0] = 1"),
    "bytes": takes_too_much("x = b'x' * (150 * 2**20)"),
    "text": takes_too_much("x = '€' * (80 * 2**20)"),
    "an array of numpy": takes_too_much("import numpy\nx = numpy.ones(150 * 2**17)"),
    "arrays of numpy one after another": takes_too_much(
        "import numpy\nx = []\nfor _ in range(15): x.append(numpy.ones(10 * 2**17))"
    ),
    "an integer": takes_too_much("x = 1 << (8 * 150 * 2**20)"),
    "many small things": takes_too_much("x = [bytes(100) for _ in range(1_500_000)]"),
    "many things that grow": takes_too_much("x = []\nwhile True: x.append(bytes(10**6))"),
    "a dictionary that grows": takes_too_much("x = {}\nfor n in range(10**7): x[n] = str(n)"),
    "a private mapping": Rogue(
        "import mmap\nx = mmap.mmap(-1, 150 * 2**20, flags=mmap.MAP_PRIVATE)\n"
        "for at in range(0, len(x), 4096): x[at] = 1",
        ((None, KEPT), (MEMORY, KEPT), (MEMORY, LOST)),  # Python's own error for it is an OSError
    ),
    "a shared mapping": Rogue(
        "import mmap\nx = mmap.mmap(-1, 150 * 2**20)\nfor at in range(0, len(x), 4096): x[at] = 1",
        ((MEMORY, KEPT), (MEMORY, LOST), (None, KEPT)),
    ),
    "memory of C": Rogue(
        _LIBC + "x = libc.malloc(150 * 2**20)\nif x: libc.memset(ctypes.c_void_p(x), 1, 150 * 2**20)\n"
        "if not x: raise MemoryError",
        ((MEMORY, KEPT), (MEMORY, LOST)),
    ),
    "a mapping of C": Rogue(
        _LIBC + "n = ctypes.c_size_t(150 * 2**20)\nx = libc.mmap(None, n, 3, 0x22, -1, 0)\n"
        "if x in (None, 2**64 - 1): raise MemoryError\nlibc.memset(ctypes.c_void_p(x), 1, n)",
        ((MEMORY, KEPT), (MEMORY, LOST)),
    ),
    "threads": Rogue(
        "import threading\nx, failed = [], []\ndef take():\n    try:\n        x.append(b'x' * (40 * 2**20))\n"
        "    except MemoryError as e:\n        failed.append(e)\n"
        "ts = [threading.Thread(target=take) for _ in range(4)]\n[t.start() for t in ts]\n[t.join() for t in ts]\n"
        "if failed: raise failed[0]",
        ((MEMORY, KEPT), (MEMORY, LOST)),
    ),
    "a thousand threads": Rogue(
        "import threading\nstop = threading.Event()\ntry:\n"
        "    for _ in range(1000): threading.Thread(target=stop.wait).start()\nfinally:\n    stop.set()",
        ((None, KEPT), (MEMORY, KEPT), (MEMORY, LOST), (CRASHED, LOST)),
    ),
}

OTHERS = {
    "signals its parent from C": bears("import ctypes\nlibc = ctypes.CDLL(None)\nlibc.kill(libc.getppid(), 9)"),
    "signals everybody from C": Rogue(
        "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.kill(-1, 0)", ((None, KEPT), (CRASHED, LOST))
    ),
    "forks in C": Rogue(
        "import ctypes\nlibc = ctypes.CDLL(None)\nif libc.fork() == 0:\n    while True: libc.pause()",
        ((None, KEPT), (CRASHED, LOST)),
    ),
}

ROGUES = STREAMS | INTERPRETER | ENDS | TIME | QUEUE | DISPLAYS | TAPES | OTHERS
