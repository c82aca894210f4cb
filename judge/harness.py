"""The tests as a main: the code as it is, then its tests, each assert of them numbered and reported.

What surrounds the code is in system headers, so that no flag warns of it, and `#line` keeps every line of code and
tests what it was. The names in them are made of a secret: the code cannot guess them, and the macros that it
defines cannot meet them. Keywords are undefined before the tests, for code may have redefined them.

The report: records of 32 bytes on a pipe, each with a token that only this run has. The token is read before the
code's own constructors run, and its descriptor is closed; the first record that is not right ends the program. Code
that runs earlier still (an ifunc resolver), or that knows where the token lies, can write verdicts of its own: it runs
in the process that it is tested in. That cannot be prevented here, only made hard.
"""

import hashlib
import hmac
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import tree_sitter_c
from tree_sitter import Language, Node, Parser

from judge.submission import CODE_FILE, TESTS_FILE

MOST_TESTS = 10_000
_MOST_NODES = 400_000  # of the tests' syntax tree: to walk it takes a second
_MOST_SHOWN = 2000  # bytes of a test that its report repeats
RECORD = struct.Struct("=QIIQQ")  # token, kind, number, offset of stdout, nanoseconds

_C = Language(tree_sitter_c.language())
_KEYWORDS = (
    "auto break case char const continue default do double else enum extern float for goto if inline int long "
    "register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while "
    "_Bool _Complex main assert NDEBUG __attribute__ __extension__ __typeof__"
)
# Functions that tests compare with; macros of the same name would decide instead of them. C allows to undefine them.
_COMPARING = "strcmp strncmp strcasecmp memcmp strlen strstr strchr abs labs fabs fabsf sqrt pow round floor ceil"
_STEPS_WITH_A_BLOCK = {
    "for_statement",
    "while_statement",
    "do_statement",
    "if_statement",
    "switch_statement",
    "compound_statement",
}


class Kind(IntEnum):
    """What a record tells."""

    STARTED = 1  # main has begun
    BEGIN = 2  # of a test
    PASSED = 3
    FAILED = 4
    STEP = 5  # a statement between tests begins
    DONE = 6  # main ends


@dataclass(frozen=True, slots=True)
class Test:
    __test__ = False

    source: str  # `assert(add(1, 2) == 3)`
    condition: str  # `add(1, 2) == 3`
    line: int
    step: int | None  # the statement that it is in


@dataclass(frozen=True, slots=True)
class Harness:
    """A translation unit, and what its records mean."""

    source: bytes
    files: dict[str, bytes]  # that it includes
    tests: tuple[Test, ...]
    steps: int
    fixed_steps: frozenset[int]  # declarations, which cannot be skipped
    secret: str  # begins each name of ours
    trouble: str | None = None  # why these tests cannot be used

    def config(self, token: int, skip_tests: frozenset[int], skip_steps: frozenset[int]) -> bytes:
        """What the program reads first."""
        tests = bytearray(MOST_TESTS + 1)
        for number in skip_tests:
            tests[number] = 1
        steps = bytes(number in skip_steps for number in range(self.steps + 1))
        return struct.pack("=Q", token) + tests + steps

    def support(self, compiled: bytes) -> bytes:
        """The object of SUPPORT with the names of this submission."""
        return compiled.replace(PLACEHOLDER.encode(), self.secret.encode())


def build(code: str, tests: str | None, key: bytes) -> Harness:
    """The translation unit of a submission. `key` makes the secret; the same submission has the same one."""
    code_bytes, test_bytes = _encode(code), _encode(tests or "")
    digest = hmac.new(key, struct.pack("=Q", len(code_bytes)) + code_bytes + test_bytes, hashlib.sha256)
    secret = f"pyr_{digest.hexdigest()[:16]}_"
    rewriter = _Rewriter(test_bytes, secret)
    rewriter.rewrite()
    undefined = "\n".join(f"#undef {word}" for word in f"{_KEYWORDS} {_COMPARING}".split())
    parts = [
        f'#include "{secret}before.h"\n#line 1 "{CODE_FILE}"\n'.encode(),
        code_bytes,
        f'\n\n#include "{secret}between.h"\n'.encode(),  # two ends of lines: the first may be spliced away
        *rewriter.hoisted,
        f'#include "{secret}main.h"\n#line 1 "{TESTS_FILE}"\n'.encode(),
        rewriter.result,
        f'\n\n#include "{secret}after.h"\n'.encode(),
    ]
    headers = {"before": _BEFORE, "between": _BETWEEN.replace("@UNDEFINED@", undefined), "main": _MAIN, "after": _AFTER}
    files = {f"{secret}{name}.h": _fill(text, secret) for name, text in headers.items()}
    return Harness(
        b"".join(parts),
        files,
        tuple(rewriter.tests),
        rewriter.steps,
        frozenset(rewriter.fixed_steps),
        secret,
        rewriter.trouble,
    )


def _encode(text: str) -> bytes:
    return text.removeprefix("\ufeff").encode("utf-8", "replace")


def _fill(template: str, secret: str) -> bytes:
    return ("#pragma GCC system_header\n" + template.replace("S_", secret)).encode()


class _Rewriter:
    """Finds the asserts in the tests and gives each its number."""

    def __init__(self, source: bytes, secret: str) -> None:
        self._source = source
        self._secret = secret
        self._edits: list[tuple[int, int, bytes]] = []  # from, to, instead
        self.tests: list[Test] = []
        self.steps = 0
        self.fixed_steps: set[int] = set()
        self.hoisted: list[bytes] = []
        self.trouble: str | None = None

    def rewrite(self) -> None:
        root = Parser(_C).parse(self._source).root_node
        if root.descendant_count > _MOST_NODES:
            self.trouble = "the tests are too many or too deeply nested"
            return
        top = root.children
        own_names = {name for node in top for name in _declared(node)}
        for node in top:
            if node.type == "preproc_include" or (
                node.type == "function_definition" and own_names.isdisjoint(_identifiers(node))
            ):
                self._hoist(node)
                if node.type == "function_definition" and _function_name(node) == b"main":
                    self.trouble = "the tests are statements: they cannot define main()"
            else:
                self._rewrite_statement(node)
        if max(len(self.tests), self.steps) > MOST_TESTS:
            self.trouble = f"there are more than {MOST_TESTS} tests or statements between them"

    @property
    def result(self) -> bytes:
        return self._edited(0, len(self._source), self._edits)

    def _edited(self, start: int, end: int, edits: list[tuple[int, int, bytes]]) -> bytes:
        parts, place = [], start
        for begin, stop, instead in sorted(edits, key=lambda edit: edit[:2]):
            parts += [self._source[place:begin], instead]
            place = stop
        return b"".join([*parts, self._source[place:end]])

    def _hoist(self, node: Node) -> None:
        """Move it in front of main; its lines stay empty in its place."""
        first = len(self._edits)
        self._number_asserts(node, None)
        own_edits, self._edits[first:] = self._edits[first:], []
        text = self._edited(node.start_byte, node.end_byte, own_edits)
        self.hoisted.append(f'\n#line {node.start_point[0] + 1} "{TESTS_FILE}"\n'.encode() + text + b"\n")
        kept_lines = b"\n" * self._source.count(b"\n", node.start_byte, node.end_byte)
        self._edits.append((node.start_byte, node.end_byte, kept_lines))

    def _rewrite_statement(self, node: Node) -> None:
        is_assert = (
            node.type == "expression_statement" and node.named_child_count > 0 and _is_assert(node.named_child(0))
        )
        if node.type == "declaration" and any(child.type == "init_declarator" for child in node.children):
            self.steps += 1
            self.fixed_steps.add(self.steps)
            self._insert(node.start_byte, f"{self._secret}step({self.steps}); ")
        if is_assert or not (node.type == "expression_statement" or node.type in _STEPS_WITH_A_BLOCK):
            self._number_asserts(node, None)
            return
        if node.type == "expression_statement" and (node.named_child_count != 1 or node.has_error):
            return
        self.steps += 1
        self._number_asserts(node, self.steps)
        if node.type == "expression_statement":
            expression = node.named_child(0)
            assert expression is not None
            self._insert(expression.start_byte, f"{self._secret}step({self.steps}) ? (void)(")
            self._insert(expression.end_byte, ") : (void)0")
        else:
            self._insert(node.start_byte, f"if ({self._secret}step({self.steps})) {{ ")
            self._insert(node.end_byte, " }")

    def _number_asserts(self, node: Node, step: int | None) -> None:
        for call in _walk(node):
            if not _is_assert(call):
                continue
            name, arguments = call.child_by_field_name("function"), call.child_by_field_name("arguments")
            assert name is not None and arguments is not None
            if len(self.tests) > MOST_TESTS:
                return
            source = self._shown(call.start_byte, call.end_byte)
            condition = self._shown(arguments.start_byte + 1, arguments.end_byte - 1)
            self.tests.append(Test(source, condition.strip(), call.start_point[0] + 1, step))
            number = len(self.tests)
            self._edits.append(
                (
                    name.start_byte,
                    name.end_byte,
                    f"({self._secret}begin({number}) ? {self._secret}end({number}, !!".encode(),
                )
            )
            self._insert(arguments.end_byte, ") : (void)0)")

    def _shown(self, start: int, end: int) -> str:
        return self._source[start : min(end, start + _MOST_SHOWN)].decode(errors="replace")

    def _insert(self, place: int, text: str) -> None:
        self._edits.append((place, place, text.encode()))


def _walk(node: Node) -> Iterator[Node]:
    """Outermost first, in the order of the text. Without recursion: hostile text can nest deeply."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(node.children))


def _is_assert(node: Node | None) -> bool:
    if node is None or node.type != "call_expression" or node.has_error:
        return False
    function, arguments = node.child_by_field_name("function"), node.child_by_field_name("arguments")
    return (
        function is not None
        and function.text == b"assert"
        and arguments is not None
        and arguments.named_child_count > 0
    )


def _identifiers(node: Node) -> set[bytes]:
    return {found.text for found in _walk(node) if found.type in ("identifier", "type_identifier") and found.text}


def _declared(node: Node) -> Iterator[bytes]:
    """Names that a statement of the tests makes, in whose place a function of the tests must stay to use them."""
    if node.type in ("preproc_def", "preproc_function_def"):
        name = node.child_by_field_name("name")
        if name is not None and name.text:
            yield name.text
    if node.type not in ("declaration", "type_definition", "struct_specifier", "enum_specifier", "union_specifier"):
        return
    waiting = [node]
    while waiting:
        found = waiting.pop()
        if found.type in ("identifier", "type_identifier") and found.text:
            yield found.text
        declarator = found.child_by_field_name("declarator") if found.type == "init_declarator" else None
        waiting.extend(found.children if declarator is None else [declarator])


def _function_name(node: Node) -> bytes | None:
    declarator = node.child_by_field_name("declarator")
    while declarator is not None and declarator.type != "identifier":
        declarator = declarator.child_by_field_name("declarator")
    return declarator.text if declarator is not None else None


# The part that reports is compiled once for all submissions. Its names are as long as a secret, which takes the place
# of PLACEHOLDER in the object. System calls are made directly: the code may define functions of libc's names.
PLACEHOLDER = f"pyr_{'0' * 16}_"
SUPPORT = """
struct record { unsigned long token; unsigned int kind, number; unsigned long offset, nanoseconds; };
static struct { unsigned long token; unsigned char tests[@MOST@]; unsigned char steps[@MOST@]; } config;
static unsigned short sent[@MOST@];
static long report = -1;
#if defined(__x86_64__)
enum { READ = 0, WRITE = 1, CLOSE = 3, LSEEK = 8, FCNTL = 72, CLOCK = 228 };
static long call(long number, long a, long b, long c)
{
    long result;
    __asm__ __volatile__("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
enum { READ = 63, WRITE = 64, CLOSE = 57, LSEEK = 62, FCNTL = 25, CLOCK = 113 };
static long call(long number, long a, long b, long c)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    __asm__ __volatile__("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
}
#endif
void S_send(unsigned int kind, unsigned int number)
{
    struct record record;
    long clock[2];
    call(CLOCK, 1, (long)clock, 0);
    record.token = config.token;
    record.kind = kind;
    record.number = number;
    record.offset = (unsigned long)call(LSEEK, 1, 0, 1);
    record.nanoseconds = (unsigned long)clock[0] * 1000000000UL + (unsigned long)clock[1];
    call(WRITE, report, (long)&record, sizeof record);
}
static void S_open(void)
{
    call(READ, 3, (long)&config, sizeof config);
    call(CLOSE, 3, 0, 0);
    report = call(FCNTL, 4, 0, 40);
    call(CLOSE, 4, 0, 0);
}
static void (*const S_first)(void) __attribute__((section(".preinit_array"), used)) = S_open;
int S_begin(unsigned int number)
{
    if (config.tests[number])
        return 0;
    if (sent[number] < 1000)
        S_send(2, number);
    return 1;
}
void S_end(unsigned int number, int passed)
{
    if (sent[number] < 1000 || (!passed && sent[number] < 2000))
        S_send(passed ? 3 : 4, number);
    if (sent[number] < 2000)
        sent[number]++;
}
int S_step(unsigned int number)
{
    if (config.steps[number])
        return 0;
    S_send(5, number);
    return 1;
}
extern int setvbuf(void *, char *, int, unsigned long);
extern void *stdout;
void S_start(void)
{
    setvbuf(stdout, (char *)0, 2, 0);
    S_send(1, 0);
}
""".replace("S_", PLACEHOLDER).replace("@MOST@", str(MOST_TESTS + 1))

_BEFORE = """
void S_send(unsigned int, unsigned int);
void S_end(unsigned int, int);
void S_start(void);
int S_begin(unsigned int);
int S_step(unsigned int);
"""
# A static prototype is an error inside a function: one that the code did not end is found at its end.
_BETWEEN = """
static void S_complete(void);
@UNDEFINED@
#include <assert.h>
"""
_MAIN = """
static void S_complete(void) {}
int main(void)
{
S_complete();
S_start();
"""
_AFTER = """
;
S_send(6, 0);
return 0;
}
"""
