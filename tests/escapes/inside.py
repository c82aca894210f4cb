"""What each attack finds in its session: what it knows of the world outside, and hands to grab it with."""

from sandbox.confine.libc import MACHINE
from sandbox.confine.seccomp import ARCHITECTURES

_TOOLS = '''
import ctypes, gc, mmap, os, posix, select, signal, struct, sys, threading, time
import _io, _socket, _thread
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.getauxval.restype = ctypes.c_ulong
PRIVATE, SHARED, ANONYMOUS, MIB = 2, 1, 32, 2**20
_kept = []

def call(name, *arguments):
    """A system call past all of Python. Raises OSError."""
    words = [ctypes.c_long(a) if isinstance(a, int) else a.encode() if isinstance(a, str) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(NUMBERS[name]), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), name)
    return result

def real(stand_in):
    """The function behind a stand-in."""
    return stand_in.__wrapped__

def unmask():
    """Put the real functions back where Python's own C code looks for them."""
    import builtins, io
    for module in (builtins, io, _io):
        for name in ("open", "open_code"):
            if hasattr(getattr(module, name, None), "__wrapped__"):
                setattr(module, name, real(getattr(module, name)))

def memory(size, protection=3, flags=PRIVATE | ANONYMOUS, fd=-1):
    """The address of a new mapping. Raises MemoryError."""
    address = libc.mmap(None, size, protection, flags, fd, 0)
    if address in (None, 2**64 - 1):
        raise MemoryError(os.strerror(ctypes.get_errno()))
    return address

def fill(address, size):
    """Have the kernel put pages into a mapping, and touch them where it does not know how."""
    if libc.madvise(address, size, 23) != 0:
        ctypes.memset(address, 1, size)

def held(size):
    """Tell what is held, and hold it for a moment."""
    print("HELD", size, flush=True)
    time.sleep(0.3)

def native(code):
    """A page of machine code: its address."""
    page = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=7)
    page.write(bytes.fromhex(code))
    _kept.append(page)
    return ctypes.addressof(ctypes.c_char.from_buffer(page))

def run_native(code):
    return ctypes.CFUNCTYPE(ctypes.c_long)(native(code))()

def search(pattern):
    """Look for a pattern of bytes in all memory of this process."""
    import re
    found = set()
    for line in _io.FileIO("/proc/self/maps").readall().decode().splitlines():
        bounds, access = line.split()[:2]
        if access.startswith("r") and "[v" not in line:
            low, high = (int(bound, 16) for bound in bounds.split("-"))
            for at in range(low, high, 4 * MIB):
                found |= set(re.findall(pattern, ctypes.string_at(at, min(4 * MIB, high - at))))
    return found

posix.getpid()
'''


def prelude(facts: dict[str, object]) -> str:
    """The source of a session's first execution; its result is the worker's process id."""
    facts = facts | {"NUMBERS": ARCHITECTURES[MACHINE].numbers}
    return "".join(f"{name} = {value!r}\n" for name, value in facts.items()) + _TOOLS
