"""Programs are started, and processes."""

from tests.escapes.row import Row


def _program(name: str, code: str, **more: object) -> Row:
    return Row(name, "exec", "changed", code, **more)  # type: ignore[arg-type]


def _process(name: str, code: str, **more: object) -> Row:
    return Row(name, "fork and daemons", "processes", code, **more)  # type: ignore[arg-type]


_SHELL = "['/bin/sh', '-c', 'echo x > ' + FOLDER + '/made']"
_WORDS = f"(ctypes.c_char_p * 4)(*[word.encode() for word in {_SHELL}], None)"

ROWS = (
    _program("posix.execv", f"posix.execv('/bin/sh', {_SHELL})"),
    _program("posix.posix_spawn", f"posix.posix_spawn('/bin/sh', {_SHELL}, {{}})\ntime.sleep(0.2)"),
    _program(
        "subprocess with its real fork_exec",
        f"import subprocess\nsubprocess._fork_exec = real(subprocess._fork_exec)\nsubprocess.run({_SHELL})",
    ),
    _program("system() of the C library", "libc.system(b'echo x > ' + FOLDER.encode() + b'/made')"),
    _program(
        "popen() of the C library", "libc.popen(b'echo x > ' + FOLDER.encode() + b'/made', b'r')\ntime.sleep(0.2)"
    ),
    _program("the system call execve", f"call('execve', '/bin/sh', {_WORDS}, None)"),
    _program(
        "the system call execveat of an open file",
        f"call('execveat', posix.open('/bin/sh', os.O_PATH), '', {_WORDS}, None, 0x1000)",
    ),
    _program(
        "a program in memory",
        """
fd = posix.memfd_create("program", 0)
posix.write(fd, b"#!/bin/sh\\necho x > " + FOLDER.encode() + b"/made")
posix.execv(f"/proc/self/fd/{fd}", ["x"])
""",
    ),
    _program(
        "a program that is in a folder that may be read",
        f"""
folder = "/lib64/" if posix.access("/lib64", 0) else "/lib/"
for loader in posix.listdir(folder):
    if loader.startswith("ld-"):
        posix.execv(folder + loader, [loader, *{_SHELL}])
""",
    ),
    _program(
        "a program in a process that shares memory (vfork, CLONE_VM)",
        f"posix.posix_spawnp('sh', {_SHELL}, {{'PATH': '/bin'}})\ntime.sleep(0.2)",
    ),
    _process("posix.fork", "posix.fork() or time.sleep(9)"),
    _process("posix.forkpty", "posix.forkpty()[0] or time.sleep(9)"),
    _process("fork() of the C library", "libc.fork() or time.sleep(9)"),
    _process("the system call clone", "call('clone', signal.SIGCHLD, 0, 0, 0, 0) or time.sleep(9)"),
    _process(
        "the system call clone3", "call('clone3', struct.pack('11Q', *[0] * 4, 17, *[0] * 6), 88) or time.sleep(9)"
    ),
    _process(
        "a sibling (CLONE_PARENT)",
        "call('clone', 0x8000 | signal.SIGCHLD, 0, 0, 0, 0) or time.sleep(9)",
    ),
    _process(
        "the system call vfork, in machine code",
        "run_native('b83a0000000f0585c07507b8220000000f05c3')",
        machine="x86_64",
    ),
    _process(
        "a daemon",
        """
if posix.fork() == 0:
    posix.setsid()
    if posix.fork():
        posix._exit(0)
    time.sleep(9)
""",
        open_without_wall=True,
    ),
    _process("fifty processes", "for _ in range(50):\n    if posix.fork() == 0:\n        time.sleep(9)"),
    _process(
        "multiprocessing with the real functions",
        """
import multiprocessing
os.fork = posix.fork
multiprocessing.get_context("fork").Process(target=time.sleep, args=(9,)).start()
""",
    ),
)
