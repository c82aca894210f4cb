"""A program that the policy let through, and that runs what the policy has not seen, still gets nowhere.

Each road is a real one: its code passes the policy, and runs any other code. Behind the wall, each goal is judged by
what can be seen from outside; without the wall the same goals are reached, so that the judges can tell.
"""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Server, running

# What stands between a program and any other code: each leads from names that are allowed to `exec`.
ROADS = {
    "text that sympy evaluates": "import sympy\nsympy.sympify({direct!r})",
    "a name that is put together": (
        "u = '_' * 2\ng = getattr\nfor cls in g(object, u + 'subclasses' + u)():\n"
        "    if cls.__name__ == 'catch_warnings':\n"
        "        g(g(cls, u + 'init' + u), u + 'globals' + u)['sys'].modules['builtins'].exec({code!r})\n        break"
    ),
    "a module that another one leaks": "import statistics\nstatistics.sys.modules['builtins'].exec({code!r})",
    "a module that is imported from another": "from dataclasses import builtins as b\nb.exec({code!r})",
    "an annotation that typing evaluates": (
        "import typing\ndef f(x: {call!r}): pass\ntyping.get_type_hints(f)"
    ),
    "a pickle that numpy loads": "import io, numpy\nnumpy.load(io.BytesIO({pickle!r}), allow_pickle=True)",
    "a pickle that pandas loads": "import io, pandas\npandas.read_pickle(io.BytesIO({pickle!r}))",
    "a module inside pandas": "import pandas\npandas.io.common.os.sys.modules['builtins'].exec({code!r})",
    "a format that is put together": (
        "class A:\n    def f(self): pass\nimport string\n"
        "field, _ = string.Formatter().get_field('a.f.' + chr(95) * 2 + 'globals' + chr(95) * 2, (), {{'a': A()}})\n"
        "field[chr(95) * 2 + 'builtins' + chr(95) * 2].exec({code!r})"
    ),
    "C, by what numpy leaks": (
        "import numpy.ctypeslib as c\nctypes = c.ctypes\nctypes.pythonapi.PyRun_SimpleString({raw!r})"
    ),
}  # fmt: skip

# Around every stand-in of Python's own: each goal asks the kernel by way of C.
TOOLS = """
print("inside", flush=True)
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def ask(name, *arguments):
    result = getattr(libc, name)(*arguments)
    print(name, "failed" if result == -1 else "worked", flush=True)
    return result
"""

GOALS = {
    "a file of the host is read": """
fd = ask("open", CANARY.encode(), 0)
text = ctypes.create_string_buffer(100)
if ask("read", fd, text, 99) > 0: print(text.value.decode())
""",
    "a file is read by Python's own function": """
import posix
try:
    fd = getattr(posix.open, "__wrapped__", posix.open)(CANARY, 0)
    print("open worked", getattr(posix.read, "__wrapped__", posix.read)(fd, 99))
except OSError as error:
    print("open failed", error)
""",
    "a file is written": """
fd = ask("open", NEW.encode(), 0o102, 0o600)
ask("write", fd, b"x", 1)
ask("mkdir", (NEW + "-folder").encode(), 0o700)
ask("unlink", CANARY.encode())
""",
    "a socket is connected": """
fd = ask("socket", 2, 1, 0)
ask("connect", fd, struct.pack("=H", 2) + struct.pack(">HI", PORT, 0x7f000001) + bytes(8), 16)
fd = ask("socket", 1, 1, 0)
""",
    "a process is started": """
child = ask("fork")
if child == 0:
    while True: libc.pause()
print("started", child, flush=True)
""",
    "a program is run": """
ask("execv", b"/bin/echo", (ctypes.c_char_p * 3)(b"echo", b"executed", None))
""",
    "another worker's memory is read": """
text = ctypes.create_string_buffer(100)
words = ctypes.c_size_t * 2
local, remote = words(ctypes.addressof(text), 64), words(ADDRESS, 64)
libc.process_vm_readv.restype = ctypes.c_ssize_t
ask("process_vm_readv", OTHER, local, ctypes.c_ulong(1), remote, ctypes.c_ulong(1), ctypes.c_ulong(0))
print(text.value.decode())
fd = ask("open", b"/proc/%d/mem" % OTHER, 0)
ask("pread", fd, text, 64, ctypes.c_long(ADDRESS))
print(text.value.decode())
""",
    "another worker is stopped": """
ask("kill", OTHER, 9)
ask("kill", OTHER, 19)
ask("ptrace", 16, OTHER, 0, 0)
""",
    "another worker's answer is written": """
for fd in range(64):
    for path in (b"/proc/%d/fd/%d" % (OTHER, fd),):
        queue = libc.open(path, 1)
        if queue != -1: ask("write", queue, b"forged", 6)
""",
    "the server is reached": """
parent = libc.getppid()
ask("kill", parent, 9)
fd = ask("open", b"/proc/%d/environ" % parent, 0)
fd = ask("open", b"/proc/%d/fd" % parent, 0)
""",
}
HARMLESS_GOAL = "print(6 * 7)"


def by(road: str, goal: str, **facts: object) -> str:
    """The program that goes to `goal` by that road."""
    code = "".join(f"{name} = {value!r}\n" for name, value in facts.items()) + TOOLS + goal
    call = f"exec(bytes.fromhex('{code.encode().hex()}').decode())"
    line = code.encode("raw_unicode_escape").replace(b"\\", rb"\u005c").replace(b"\n", rb"\u000a")
    pickle = b"cbuiltins\nexec\n(V" + line + b"\ntR."
    return ROADS[road].format(code=code, direct=f"exec({code!r})", call=call, pickle=pickle, raw=code.encode())


class World:
    """What a program may not touch: a secret in a file, a listener, a session with a secret in its memory."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.canary = folder / "canary"
        self.canary.write_text("secret-of-a-file")
        self.canary.chmod(0o644)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        told = server.execute(
            "import ctypes, os\nkept = ctypes.create_string_buffer(b'secret-of-' + b'a-session', 64)\n"
            "ctypes.addressof(kept), os.getpid()"
        )
        self.session = told["id"]
        address, pid = told["result"].strip("()").split(", ")
        self.facts = {
            "CANARY": str(self.canary),
            "NEW": str(folder / "new"),
            "PORT": self.listener.getsockname()[1],
            "ADDRESS": int(address),
            "OTHER": int(pid),
        }

    def close(self) -> None:
        self.listener.close()
        self.server.close(self.session)

    def run(self, road: str, goal: str) -> dict[str, Any]:
        return self.server.run(by(road, goal, **self.facts))

    def damage(self, answer: dict[str, Any]) -> list[str]:
        """What has happened."""
        told = answer["stdout"] + answer["stderr"]
        found = [f"told: {name}" for name in ("secret-of-a-file", "secret-of-a-session") if name in told]
        if "executed" in answer["stdout"]:
            found.append("executed")
        if [path.name for path in self.folder.iterdir()] != ["canary"]:
            found.append("written")
        try:
            self.listener.accept()[0].close()
            found.append("connected")
        except BlockingIOError:
            pass
        started = [line.split()[1] for line in answer["stdout"].splitlines() if line.startswith("started ")]
        if any(int(pid) > 0 for pid in started):
            found.append("started")
        alive = self.server.execute("kept.value", self.session, timeout=5)
        if alive["result"] != "b'secret-of-a-session'":
            found.append("disturbed")
        return found


@pytest.fixture(scope="module")
def world(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    world = World(server, folder)
    yield world
    world.close()


@pytest.mark.parametrize("road", ROADS)
def test_the_policy_does_not_see_what_is_at_the_end_of_the_road(world: World, road: str) -> None:
    answer = world.run(road, HARMLESS_GOAL)
    assert "Security violation" not in (answer["error"] or "")
    assert answer["stdout"].startswith("inside\n42\n"), answer


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("road", ROADS)
def test_by_no_road_is_a_goal_reached(world: World, road: str, goal: str) -> None:
    answer = world.run(road, GOALS[goal])
    assert "Security violation" not in (answer["error"] or "")
    assert answer["stdout"].startswith("inside\n"), "it ran"
    assert "worked" not in answer["stdout"], "the kernel refuses each step"
    assert world.damage(answer) == []
    assert world.server.run("print('next')")["stdout"] == "next\n"


REACHED = {
    "a file of the host is read": ["told: secret-of-a-file"],
    "a file is read by Python's own function": ["told: secret-of-a-file"],
    "a file is written": ["written"],
    "a socket is connected": ["connected"],
    "a process is started": ["started"],
    "a program is run": ["executed"],
    "another worker's memory is read": ["told: secret-of-a-session"],
    "another worker is stopped": ["disturbed"],
}


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server without the wall."""
    with running(
        tmp_path_factory.mktemp("open") / "server.log",
        SESSION_LIBRARIES="plain",
        POOL_SIZE=1,
        RUN_POOL_SIZE=1,
        ALLOW_STUBS_ONLY="true",
        SANDBOX_STEPS="session",
    ) as server:
        yield server.wait_ready("plain")


@pytest.mark.parametrize("goal", REACHED)
def test_without_the_wall_the_same_goals_are_reached(open_server: Server, tmp_path: Path, goal: str) -> None:
    world = World(open_server, tmp_path)
    answer = world.run("a module that another one leaks", GOALS[goal])
    assert world.damage(answer) == REACHED[goal], answer
    world.close()
