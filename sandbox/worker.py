"""The whole life of a worker: born in a fork, warmed, then one execution after another until its queue ends, or one
run.

System calls go through `posix`: the functions of `os` are stand-ins by now.
"""

import itertools
import posix
import signal
import sys
import threading
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple, NoReturn

from sandbox import completion, wire
from sandbox.capture import Capture, Tape
from sandbox.confine.jail import Jail, StepMissing
from sandbox.interpreter import Interpreter, hide_own_depth, main_module
from sandbox.limits import REQUEST_FRAME_BYTES
from sandbox.meter import MemoryMeter
from sandbox.outcome import Ended
from sandbox.program import Program
from sandbox.stubs import descriptors

_READ_BYTES = 16 * 1024  # most requests are shorter
_THREAD_STACK = 2**20  # the ceiling counts a thread's whole stack: eight times the threads fit
_NICE = 10  # the server answers before anybody's loop goes on
_PROBE_LIMIT = 200  # deep enough for the probe, and shallow enough to touch little memory
_DEPTH_PROBE = "def _f():\n global _n\n _n += 1\n _f()\n_n = 1\n_f()"
_WARM_UP = ("print(1)", "1/0")
_LOOK_UPS = {wire.Errand.COMPLETE: completion.complete, wire.Errand.INSPECT: completion.look_up}


class Queue(NamedTuple):
    """The descriptors of one worker."""

    requests: int  # frames to read
    answers: int  # frames to write
    stdin: int  # a file that the server fills before it asks
    stdout: int  # tapes
    stderr: int
    liveness: int  # ends with the server


class Life(StrEnum):
    """What a worker is for."""

    SESSION = "session"  # one execution after another
    RUN = "run"  # one program, under terms of its own


def serve(life: Life, queue: Queue, jail: Jail) -> NoReturn:
    """Be a worker. Called in the child of a fork, with everything of the parent's still open; never returns."""
    try:
        _serve(life, queue, jail)
    finally:
        posix._exit(70)  # EX_SOFTWARE: only a fault of ours, or the code's breaking our modules, leads here


def _serve(life: Life, queue: Queue, jail: Jail) -> NoReturn:
    requests, answers, stdin, stdout, stderr, _ = jail.birth(queue, queue.liveness)
    posix.dup2(stdin, 0)
    posix.dup2(stdout, 1)
    posix.dup2(stderr, 2)
    posix.nice(_NICE)
    threading.stack_size(_THREAD_STACK)
    threading._counter = itertools.count(1).__next__  # type: ignore[attr-defined] # names of threads begin at 1
    _reseed()
    output_bytes = jail.limits.output_bytes
    capture = Capture(stdin, Tape(stdout, output_bytes), Tape(stderr, output_bytes))
    descriptors.install(capture)
    meter = MemoryMeter(jail.limits.memory_bytes)
    if life is Life.RUN:
        program = Program(main_module(), capture, output_bytes, meter)
        _prepare(program, meter, jail, answers, deeper=1)
        _run_one(program, meter, jail, requests, answers)
    else:
        interpreter = Interpreter(main_module(), capture, output_bytes, meter)
        _prepare(interpreter, meter, jail, answers, deeper=0)
        _run_all(interpreter, requests, answers)
    posix._exit(0)


def _prepare(interpreter: Interpreter, meter: MemoryMeter, jail: Jail, answers: int, *, deeper: int) -> None:
    """Warm it, confine this process, and say that it is ready. `deeper`: frames below code beyond those of now."""
    _warm(interpreter, deeper)
    meter.begin()
    try:
        jail.enter()
    except StepMissing as missing:
        posix.write(answers, wire.cannot(str(missing)))
        posix._exit(0)
    posix.write(answers, wire.ready())


def _run_all(interpreter: Interpreter, requests: int, answers: int) -> None:
    """One execution after another."""
    interpreter.show_on(lambda frame: _send(answers, frame))
    reader = wire.FrameReader(REQUEST_FRAME_BYTES)
    number = 0
    while data := posix.read(requests, _READ_BYTES):
        for body in reader.feed(data):
            number += 1
            errand, text = wire.parse_request(body)
            if errand is wire.Errand.EXECUTE:
                _send(answers, _answer(interpreter, interpreter.run, text, number))
            else:
                _send(answers, _answer(interpreter, interpreter.look_up, _LOOK_UPS[errand], text, number))


def _run_one(program: Program, meter: MemoryMeter, jail: Jail, requests: int, answers: int) -> None:
    """One run. The terms before its code are the server's; under the limit that they set, the code is read."""
    terms = wire.read_terms(lambda size: posix.read(requests, size))
    if terms is None:
        return
    jail.lower_memory(terms.memory_bytes)
    meter.begin(terms.memory_bytes)
    reader = wire.FrameReader(REQUEST_FRAME_BYTES)
    while data := posix.read(requests, _READ_BYTES):
        for body in reader.feed(data):
            _send(answers, _answer(program, program.run_once, wire.parse_request(body)[1], terms))
            posix.read(requests, 1)  # until it is killed: what it has used can be read as long as it is there
            return


def _answer(interpreter: Interpreter, run: Callable[..., Ended], *request: object) -> bytes:
    try:
        return wire.answer(run(*request))
    except MemoryError:  # in our own code: the user's has left us no room
        return wire.answer(interpreter.last_words())


def _send(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[posix.write(fd, view) :]


def _reseed() -> None:
    """Workers are copies of one process: what was seeded there must differ here. `random` sees to itself."""
    sympy = sys.modules.get("sympy.core.random")
    if sympy is not None:
        sympy.rng.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(int.from_bytes(posix.urandom(4)))  # a number: gathering entropy itself costs 0.4 MB


def _warm(interpreter: Interpreter, deeper: int) -> None:
    """Touch what a first execution touches, and hide the depth of our own frames from the recursion limit."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    space = interpreter.locals
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(_PROBE_LIMIT)
    interpreter.run(_DEPTH_PROBE)
    sys.setrecursionlimit(limit)
    hide_own_depth(_PROBE_LIMIT - space["_n"] + deeper)
    for source in _WARM_UP:
        interpreter.run(source)
    for name in ("_f", "_n"):
        space.pop(name, None)
    sys.last_type = sys.last_value = sys.last_traceback = None
    del sys.last_type, sys.last_value, sys.last_traceback
