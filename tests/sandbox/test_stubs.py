"""Manners: what is refused says so right under the user's line, and what libraries need works."""

import ast
from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., dict[str, Any]]

IMPORTS = (
    "import asyncio, builtins, fileinput, glob, gzip, http.client, io, logging, multiprocessing, os, pathlib, shutil, "
    "smtplib, socket, subprocess, sys, tempfile, threading, traceback, urllib.request, zipfile"
)

# Calls that Python programs make, and the path that the error must name.
REFUSED_PATHS = {
    "os.remove('file.txt')": "'file.txt'",
    "os.remove(path='file.txt')": "'file.txt'",
    "os.unlink('/etc/passwd')": "'/etc/passwd'",
    "os.mkdir('newdir')": "'newdir'",
    "os.mkdir(b'newdir')": "b'newdir'",
    "os.mkdir(pathlib.Path('newdir'))": "'newdir'",
    "os.makedirs('a/b', exist_ok=True)": "'a/b'",
    "os.rmdir('d')": "'d'",
    "os.removedirs('d')": "'d'",
    "os.rename('a', 'b')": "'a' -> 'b'",
    "os.rename(src='a', dst='b')": "'a' -> 'b'",
    "os.rename(pathlib.Path('a'), pathlib.Path('b'))": "'a' -> 'b'",
    "os.renames('a', 'b')": "'a' -> 'b'",
    "os.replace('a', 'b')": "'a' -> 'b'",
    "os.link('a', 'b')": "'a' -> 'b'",
    "os.symlink('a', 'b')": "'a' -> 'b'",
    "os.chmod('a', 0o777)": "'a'",
    "os.chown('a', 0, 0)": "'a'",
    "os.lchown('a', 0, 0)": "'a'",
    "os.truncate('a', 0)": "'a'",
    "os.utime('a')": "'a'",
    "os.mkfifo('a')": "'a'",
    "os.mknod('a')": "'a'",
    "os.setxattr('a', 'user.b', b'c')": "'a'",
    "os.getxattr('a', 'user.b')": "'a'",
    "os.listxattr('a')": "'a'",
    "os.chdir('/tmp')": "'/tmp'",
    "os.chroot('/tmp')": "'/tmp'",
    "os.listdir()": "'.'",
    "os.listdir('/')": "'/'",
    "os.listdir(b'/etc')": "b'/etc'",
    "os.scandir('/etc')": "'/etc'",
    "os.open('/etc/passwd', os.O_RDONLY)": "'/etc/passwd'",
    "os.open('new', os.O_WRONLY | os.O_CREAT)": "'new'",
    "os.open(os.__file__, os.O_RDWR)": "os.__file__",
    "open('test.txt', 'w')": "'test.txt'",
    "open(file='test.txt', mode='w')": "'test.txt'",
    "open('test.txt')": "'test.txt'",
    "open('/etc/passwd')": "'/etc/passwd'",
    "open(b'/etc/passwd', 'rb')": "b'/etc/passwd'",
    "open(pathlib.Path('/etc/passwd'))": "'/etc/passwd'",
    "open(os.path.dirname(os.__file__) + '/../../../../../../../etc/passwd')": None,
    "open('/proc/self/environ')": "'/proc/self/environ'",
    "open('/proc/self/../1/status')": "'/proc/self/../1/status'",
    "open('/proc/self/mem', 'rb')": "'/proc/self/mem'",
    "open('/proc/1/status')": "'/proc/1/status'",
    "open(os.__file__, 'a')": "os.__file__",
    "open(os.__file__, 'r+')": "os.__file__",
    "open('x', 'x')": "'x'",
    "builtins.open('test.txt')": "'test.txt'",
    "io.open('/etc/passwd')": "'/etc/passwd'",
    "io.open_code('/etc/passwd')": "'/etc/passwd'",
}
REFUSED_WITHOUT_A_PATH = [
    "os.fchmod(1, 0)",
    "os.ftruncate(1, 0)",
    "os.memfd_create('x')",
    "os.openpty()",
    "os.sync()",
    "os.fork()",
    "os.forkpty()",
    "os.system('ls')",
    "os.popen('ls')",
    "os.execv('/bin/ls', ['ls'])",
    "os.execvp('ls', ['ls'])",
    "os.spawnl(os.P_WAIT, '/bin/ls', 'ls')",
    "os.posix_spawn('/bin/ls', ['ls'], {})",
    "os.kill(1, 9)",
    "os.kill(os.getppid(), 9)",
    "os.kill(-1, 9)",
    "os.killpg(1, 9)",
    "os.setuid(0)",
    "os.setsid()",
    "os.setpriority(0, 0, 0)",
    "os.sched_setaffinity(0, {0})",
    "socket.socket()",
    "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)",
    "socket.socket(family=socket.AF_INET6)",
    "socket.SocketType()",
    "socket.create_connection(('127.0.0.1', 80))",
    "socket.create_server(('127.0.0.1', 80))",
    "socket.getaddrinfo('localhost', 80)",
    "socket.gethostbyname('localhost')",
]
# Library functions that come to one of the above: their own frames are shown, as in CPython, and none of ours.
REFUSED_IN_A_LIBRARY = {
    "pathlib.Path('x.txt').write_text('hi')": "'x.txt'",
    "pathlib.Path('x.txt').read_text()": "'x.txt'",
    "pathlib.Path('x.txt').unlink()": "'x.txt'",
    "pathlib.Path('d').mkdir()": "'d'",
    "pathlib.Path('a').rename('b')": "'a' -> 'b'",
    "list(pathlib.Path('/etc').iterdir())": "'/etc'",
    "shutil.copy('/etc/passwd', '/tmp/p')": "'/etc/passwd'",
    "shutil.rmtree('/tmp')": "'/tmp'",
    "tempfile.mkdtemp()": "'/tmp/",
    "tempfile.TemporaryFile()": "'/tmp'",
    "tempfile.NamedTemporaryFile()": "'/tmp'",
    "zipfile.ZipFile('x.zip', 'w')": "'x.zip'",
    "gzip.open('x.gz')": "'x.gz'",
    "logging.FileHandler('/x.log')": "'/x.log'",
    "subprocess.run(['ls', '-l'])": "'ls'",
    "subprocess.Popen('ls', shell=True)": "'/bin/sh'",
    "multiprocessing.Process(target=print).start()": "",
    "http.client.HTTPConnection('127.0.0.1').request('GET', '/')": "",
    "smtplib.SMTP('localhost')": "",
    "asyncio.run(asyncio.open_connection('127.0.0.1', 80))": "",
    "asyncio.run(asyncio.create_subprocess_exec('ls'))": "'ls'",
}
# Each ends with an expression whose value must be true.
WORKS = {
    "getcwd": "os.getcwd().startswith('/')",
    "join": "os.path.join('a', 'b') == 'a/b'",
    "exists": "os.path.exists(os.__file__) and not os.path.exists('/no/such/file')",
    "isfile": "os.path.isfile(os.__file__) and os.path.isdir(os.path.dirname(os.__file__))",
    "abspath": "os.path.abspath('a') == os.path.join(os.getcwd(), 'a')",
    "realpath": "os.path.realpath(os.__file__).endswith('os.py')",
    "expanduser": "os.path.expanduser('~/a').endswith('/a')",
    "getsize": "os.path.getsize(os.__file__) > 1000 and os.stat(os.__file__).st_size > 1000",
    "cpu_count": "os.cpu_count() >= 1 and multiprocessing.cpu_count() >= 1",
    "getpid": "os.getpid() > 1 and os.getppid() >= 0",
    "urandom": "len(os.urandom(16)) == 16",
    "environ": "os.environ.get('PATH') and not [name for name in os.environ if name.startswith('PYRUNNER')]",
    "pipe": "r, w = os.pipe()\nos.write(w, b'x') == 1 and os.read(r, 1) == b'x'",
    "own file": "len(open(os.__file__).read()) > 1000",
    "own folder": "'os.py' in os.listdir(os.path.dirname(os.__file__))",
    "own folder scanned": "'os.py' in {e.name for e in os.scandir(os.path.dirname(os.__file__))}",
    "own file by descriptor": "fd = os.open(os.__file__, os.O_RDONLY)\nlen(os.read(fd, 10)) == 10",
    "source of a library": "import inspect, json\n'def loads' in inspect.getsource(json)",
    "module that is not preloaded": "import colorsys, wave\ncolorsys.rgb_to_hsv(0, 0, 0) == (0.0, 0.0, 0)",
    "package that is not preloaded": "import fontTools\nbool(fontTools.__file__)",
    "submodule that is not preloaded": "import sympy.physics.units\nbool(sympy.physics.units.meter)",
    "import of what is not there": "try:\n    import missing\nexcept ModuleNotFoundError as e:\n    name = e.name\n"
    "name == 'missing'",
    "resources": "import importlib.metadata\nimportlib.metadata.version('numpy')[0].isdigit()",
    "zoneinfo": "import zoneinfo, datetime\nstr(datetime.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo('Asia/Tokyo')))"
    " == '2024-07-01 00:00:00+09:00'",
    "zones of pandas": "import pandas\nstr(pandas.Timestamp('2024-07-01', tz='Europe/Paris').utcoffset()) == '2:00:00'",
    "data of a library": "import sklearn.datasets\nsklearn.datasets.load_iris().data.shape == (150, 4)",
    "figure": "import matplotlib.pyplot as plt\nb = io.BytesIO()\nplt.plot([1, 2])\nplt.title('é')\nplt.savefig(b)\n"
    "b.getvalue()[:4] == b'\\x89PNG'",
    "status of the process": "'VmRSS' in open('/proc/self/status').read()",
    "figures of the process": "os.sysconf('SC_PAGE_SIZE') and bool(open('/proc/self/statm').read().split())",
    "figures of the machine": "'cpu' in open('/proc/stat').read() and bool(open('/proc/cpuinfo').read())",
    "memory of the machine": "'MemTotal' in open('/proc/meminfo').read()",
    "maps of the process": "import threadpoolctl\nbool(threadpoolctl.threadpool_info())",
    "temporary folder has a name": "tempfile.gettempdir() == '/tmp'",
    "spooled": "f = tempfile.SpooledTemporaryFile()\nf.write(b'x') == 1",
    "threads": "x = []\nt = threading.Thread(target=x.append, args=(1,))\nt.start()\nt.join()\nx == [1]",
    "thread pool": "import concurrent.futures as c\nlist(c.ThreadPoolExecutor(2).map(abs, [-1, 2])) == [1, 2]",
    "socketpair": "a, b = socket.socketpair()\na.send(b'x') == 1 and b.recv(1) == b'x' and type(a) is socket.socket",
    "socket of a descriptor": "a, b = socket.socketpair()\nc = socket.socket(fileno=a.detach())\nc.send(b'x') == 1",
    "asyncio": "async def f():\n    await asyncio.sleep(0.001)\n    return await asyncio.to_thread(abs, -3)\n"
    "asyncio.run(f()) == 3",
    "asyncio stops": "async def f():\n    await asyncio.wait_for(asyncio.sleep(9), 0.001)\n"
    "try:\n    asyncio.run(f())\nexcept TimeoutError:\n    done = True\ndone",
    "database in memory": "import sqlite3\nsqlite3.connect(':memory:').execute('select 1').fetchall() == [(1,)]",
    "own process signalled": "os.kill(os.getpid(), 0) is None",
    "what a class keeps": "class A:\n    remove = os.remove\nA().remove is os.remove",
    "names": "repr(os.remove) == '<built-in function remove>' and os.remove.__name__ == 'remove'",
    "documentation": "os.remove.__doc__.startswith('Remove a file') and bool(socket.socket.__doc__)",
}


@pytest.fixture
def run(session: Run) -> Run:
    session(IMPORTS)
    return session


def last_line(path: str | None) -> str:
    return f"PermissionError: [Errno 13] Permission denied{': ' + path if path else ''}"


@pytest.mark.parametrize(("call", "path"), [*REFUSED_PATHS.items(), *((call, "") for call in REFUSED_WITHOUT_A_PATH)])
def test_a_refused_call_fails_right_under_the_users_line(run: Run, call: str, path: str | None) -> None:
    if path == "os.__file__":
        path = run("os.__file__")["result"]
    if path is None:  # as the caller wrote it
        path = run(call.removeprefix("open(").removesuffix(")"))["result"]
    answer = run(f"pass\n{call}\nprint('not reached')")
    assert answer["stderr"] == (
        f'Traceback (most recent call last):\n  File "<stdin>", line 2, in <module>\n{last_line(path)}\n'
    )
    assert answer["stdout"] is None


@pytest.mark.parametrize("call", [*REFUSED_PATHS, *REFUSED_WITHOUT_A_PATH, *REFUSED_IN_A_LIBRARY])
def test_no_frame_of_ours_is_in_the_error(run: Run, call: str) -> None:
    answer = run(
        f"def frames(trace):\n    return [f.filename for f in traceback.extract_tb(trace)]\n"
        f"try:\n    {call}\nexcept OSError as e:\n    error = e\n    traceback.print_exc()\n"
        "chain = [error]\n"
        "while chain[-1].__cause__ or chain[-1].__context__:\n"
        "    chain.append(chain[-1].__cause__ or chain[-1].__context__)\n"
        "type(error).__name__, error.errno, [f for e in chain for f in frames(e.__traceback__)]"
    )
    kind, number, frames = ast.literal_eval(answer["result"])
    assert (kind, number) == ("PermissionError", 13)
    assert "<stdin>" in frames
    assert not [name for name in frames if "sandbox" in name or "stubs" in name]
    assert "sandbox" not in answer["stderr"] and "stubs" not in answer["stderr"]


@pytest.mark.parametrize(("call", "path"), REFUSED_IN_A_LIBRARY.items())
def test_a_library_that_meets_a_refusal_tells_it(run: Run, call: str, path: str) -> None:
    answer = run(call)
    assert answer["error"] is None
    lines = answer["stderr"].splitlines()
    assert lines[-1].startswith(last_line(path))
    assert lines[0] == "Traceback (most recent call last):"
    assert any(line.startswith('  File "<stdin>", line 1, in <module>') for line in lines)


def test_urlopen_tells_the_refusal_as_the_cause(run: Run) -> None:
    answer = run("urllib.request.urlopen('http://example.com')")
    assert "PermissionError: [Errno 13] Permission denied\n" in answer["stderr"]
    assert answer["stderr"].endswith("urllib.error.URLError: <urlopen error [Errno 13] Permission denied>\n")
    assert "sandbox" not in answer["stderr"]


@pytest.mark.parametrize(
    "call",
    [
        "list(map(os.remove, ['file.txt']))",
        "import functools; functools.partial(os.remove, 'file.txt')()",
        "(lambda: os.remove('file.txt'))()",
        "from os import remove; remove('file.txt')",
        "from posixpath import os as o; o.remove('file.txt')",
    ],
)
def test_a_refusal_is_the_same_however_the_function_is_come_by(run: Run, call: str) -> None:
    answer = run(call)
    assert answer["stderr"].endswith(last_line("'file.txt'") + "\n")
    assert "sandbox" not in answer["stderr"]


def test_a_refusal_in_a_thread_has_no_frame_of_ours(run: Run) -> None:
    answer = run("t = threading.Thread(target=os.remove, args=('file.txt',))\nt.start()\nt.join()")
    assert answer["stderr"].endswith(last_line("'file.txt'") + "\n")
    assert "sandbox" not in answer["stderr"]


def test_a_refusal_while_an_error_is_handled_names_that_error(run: Run) -> None:
    answer = run("try:\n    1 / 0\nexcept ZeroDivisionError:\n    os.remove('file.txt')")
    top = 'Traceback (most recent call last):\n  File "<stdin>", line '
    first = f"{top}2, in <module>\nZeroDivisionError: division by zero\n"
    second = top + "4, in <module>\n" + last_line("'file.txt'") + "\n"
    between = "\nDuring handling of the above exception, another exception occurred:\n\n"
    assert answer["stderr"] == first + between + second


@pytest.mark.parametrize("call", ["socket.socket()", "os.remove('file.txt')", "open('file.txt')"])
def test_a_refusal_is_caught_as_any_error_is(run: Run, call: str) -> None:
    answer = run(f"try:\n    {call}\nexcept PermissionError as e:\n    print(e.errno, e.strerror, e.__context__)")
    assert answer["stdout"] == "13 Permission denied None\n"
    assert answer["stderr"] is None


@pytest.mark.parametrize(
    "how",
    ["class S(socket.socket): pass", "class S(socket.socket):\n    def __init__(self):\n        super().__init__()"],
)
def test_a_socket_of_the_users_own_class_is_refused(run: Run, how: str) -> None:
    answer = run(f"{how}\nS()")
    assert answer["stderr"].endswith(last_line("") + "\n")
    assert "sandbox" not in answer["stderr"]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("os.listdir(os.path.dirname(os.__file__) + '/missing')", "FileNotFoundError: [Errno 2]"),
        ("open(os.path.dirname(os.__file__) + '/missing')", "FileNotFoundError: [Errno 2]"),
        ("open(os.path.dirname(os.__file__))", "IsADirectoryError: [Errno 21]"),
        ("open()", "TypeError: open() missing required argument 'file' (pos 1)"),
        ("os.open('x')", "TypeError: open() missing required argument 'flags' (pos 2)"),
        ("os.kill(1)", "TypeError: kill"),
        ("os.write(1, 'text')", "TypeError: a bytes-like object is required, not 'str'"),
        ("open(99)", "OSError: [Errno 9] Bad file descriptor"),
        ("os.kill(os.getpid(), 'x')", "TypeError: "),
        ("os.write(99, b'')", "OSError: [Errno 9] Bad file descriptor"),
    ],
)
def test_an_error_of_an_allowed_call_is_cpythons_own(run: Run, call: str, error: str) -> None:
    answer = run(call)
    lines = answer["stderr"].splitlines()
    assert lines[:2] == ["Traceback (most recent call last):", '  File "<stdin>", line 1, in <module>']
    assert lines[2].startswith(error)
    assert len(lines) == 3


@pytest.mark.parametrize("program", WORKS.values(), ids=WORKS)
def test_what_libraries_need_works(run: Run, program: str) -> None:
    *before, last = program.splitlines()
    answer = run("\n".join([*before, f"bool({last})"]))
    assert (answer["error"], answer["stderr"], answer["result"]) == (None, None, "True")


def test_a_session_stays_sandboxed_request_after_request(run: Run) -> None:
    calls = "(lambda: open('f', 'w'), socket.socket, lambda: os.mkdir('d'))"
    for _ in range(3):
        answer = run(
            f"for call in {calls}:\n    try:\n        call()\n    except PermissionError:\n        print('refused')"
        )
        assert answer["stdout"] == "refused\n" * 3
