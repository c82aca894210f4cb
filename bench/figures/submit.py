"""POST /submit against gcc, the program and valgrind by hand, one after another; the cache; fifty in flight."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from bench.context import Context
from bench.results import Figure, Result, Row
from bench.servers import PyRunner, until

_CODE = """\
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node { int value; struct node *next; };

struct node *push(struct node *list, int value) {
    struct node *node = malloc(sizeof *node);
    node->value = value;
    node->next = list;
    return node;
}

int sum(const struct node *list) {
    return list ? list->value + sum(list->next) : 0;
}

void drop(struct node *list) {
    while (list) {
        struct node *next = list->next;
        free(list);
        list = next;
    }
}
"""
_TESTS = """\
struct node *list = push(push(0, 1), 2);
assert(list != 0);
assert(sum(list) == 3);
list = push(list, 3);
assert(sum(list) == 6);
assert(list->value == 3);
assert(sum(0) == 0);
drop(list);
"""
_BY_HAND = "#include <assert.h>\nint main(void) {{\n{tests}    return 0;\n}}\n"  # what a grader would write around it
_IN_FLIGHT = 50
_PATIENCE_S = 120.0


def measure(context: Context) -> Iterator[Result]:
    """On a server of its own, by turns with the same work done by hand."""
    with PyRunner(context.scratch) as server, server.connect() as http:

        def submit(number: int, **fields: Any) -> tuple[dict[str, Any], float]:
            answer = http.request("POST", "/submit", _body(number, **fields))
            if answer.status != 200 or answer.json()["failed_tests"] or len(answer.json()["tests_detail"]) != 5:
                raise RuntimeError(f"a submission was not judged right: {answer.status} {answer.body.decode()[:500]}")
            return answer.json(), answer.seconds

        submit(0)
        rounds = context.pick(25, 7)
        hand_all, hand_bare, ours_all, ours_bare, ours_again = [], [], [], [], []
        for number in range(1, rounds + 1):
            hand_all.append(sum(_by_hand(context.scratch, number, ("compile", "run", "check"))))
            ours_all.append(submit(number)[1])
            ours_again.append(submit(number)[1])
            hand_bare.append(sum(_by_hand(context.scratch, number, ("compile", "run"))))
            bare, seconds = submit(rounds + number, valgrind=False)
            assert not bare["cached"], "it was compiled"
            ours_bare.append(seconds)
        again, _ = submit(rounds)
        yield Row.of_seconds("submission with five tests", ours_all)
        yield Row.of_seconds("gcc, the program, valgrind by hand", hand_all)
        yield Row.of_seconds("submission without valgrind", ours_bare)
        yield Row.of_seconds("gcc and the program by hand", hand_bare)
        yield Row.of_seconds("submission repeated", ours_again)
        yield _ratio("submission / by hand in sequence", ours_all, hand_all, at_most=1.0)
        yield _ratio("submission without valgrind / gcc and the program", ours_bare, hand_bare, at_most=1.3)
        skipped = float(again["cached"] and again["compilation_time"] == 0)
        yield Figure("a repeated submission skips gcc", skipped, at_least=1, note="1: yes")
        yield from _many(server)


def _body(number: int, **fields: Any) -> bytes:
    return json.dumps({"code": f"{_CODE}/* {number} */\n", "tests": _TESTS, **fields}).encode()


def _by_hand(folder: Path, number: int, steps: Sequence[str]) -> Iterator[float]:
    """Seconds of each step."""
    source, program = folder / "hand.c", folder / "hand"
    source.write_text(f"{_CODE}/* {number} */\n" + _BY_HAND.format(tests=_TESTS))
    commands = {
        "compile": ["gcc", "-g", "-Wall", str(source), "-o", str(program), "-lm"],
        "run": [str(program)],
        "check": ["valgrind", "--leak-check=full", "--track-origins=yes", str(program)],
    }
    yield from (_timed(commands[step]) for step in steps)


def _timed(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def _ratio(name: str, ours: Sequence[float], others: Sequence[float], at_most: float) -> Figure:
    """Of each pair that was measured one after the other: what else the machine does changes slowly."""
    value = median(one / other for one, other in zip(ours, others, strict=True))
    note = f"median of pairs; best times {1e3 * min(ours):.0f} ms / {1e3 * min(others):.0f} ms"
    return Figure(name, value, at_most=at_most, note=note)


def _many(server: PyRunner) -> Iterator[Result]:
    """All at once; then what is left of them."""
    before, held = _state(server), _launcher_bytes(server)
    seconds: list[float] = []
    answers: list[dict[str, Any]] = []

    def one(number: int) -> None:
        with server.connect() as http:
            answer = http.request("POST", "/submit", _body(1000 + number))
            seconds.append(answer.seconds)
            answers.append(answer.json() if answer.status == 200 else {"status": answer.status})

    threads = [threading.Thread(target=one, args=(number,)) for number in range(_IN_FLIGHT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    right = sum(answer.get("run") is True and answer["failed_tests"] == [] for answer in answers)
    yield Row.of_seconds(f"{_IN_FLIGHT} submissions in flight", seconds)
    yield Figure(f"right answers of {_IN_FLIGHT} in flight", right, at_least=_IN_FLIGHT)
    until(lambda: _state(server)[0] <= before[0], "the programs to be gone", _PATIENCE_S)
    after = _state(server)
    names = ("processes", "descriptors of the server", "scratch folders")
    for name, was, is_now in zip(names, before, after, strict=True):
        yield Figure(f"{name} left behind", is_now - was, at_most=0)
    grown = (_launcher_bytes(server) - held) / 2**20
    yield Figure("memory of the launcher grown by", grown, "MiB", at_most=1)


def _state(server: PyRunner) -> tuple[int, int, int]:
    """Processes of the launcher, descriptors of the server, and scratch folders."""
    launcher = _launcher(server)
    folders = os.listdir(f"/proc/{launcher.pid}/root/tmp")
    return len(launcher.children(recursive=True)), psutil.Process(server.pid).num_fds(), len(folders)


def _launcher(server: PyRunner) -> psutil.Process:
    """The process that starts programs: the first of its namespace, below the one that made it."""
    children = psutil.Process(server.pid).children()
    outer = next(child for child in children if "sandbox.launch" in " ".join(child.cmdline()))
    return outer.children()[0]


def _launcher_bytes(server: PyRunner) -> int:
    full: int = _launcher(server).memory_full_info().uss
    return full
