"""The lists against everything that hides a call: real gcc, real objects."""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from judge import names
from judge.submission import CODE_FILE, NameRefusal

HEADERS = "#include <stdio.h>\n#include <stdlib.h>\n"  # so that the code of a row begins on line 3


class Checker:
    """`check` with what gcc makes of the code; `flags` are those of the submission."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def gcc(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["gcc", *arguments], cwd=self.folder, capture_output=True, text=True, check=False)

    def __call__(
        self, code: str, white: Sequence[str] = (), black: Sequence[str] = (), flags: Sequence[str] = ()
    ) -> tuple[NameRefusal, ...]:
        (self.folder / CODE_FILE).write_text(code, newline="")
        early = names.check(code, white, black)
        expanded = self.gcc("-E", "-dD", "-dI", *flags, CODE_FILE)
        assert expanded.returncode == 0, expanded.stderr
        kept = ["-fno-builtin", "-fkeep-static-functions", "-fkeep-inline-functions", "-w"]
        built = self.gcc("-c", *flags, *kept, CODE_FILE, "-o", "x.o")
        assert built.returncode == 0, built.stderr
        undefined, defined = self.symbols("-u"), self.symbols("--defined-only")
        full = names.check(code, white, black, expanded.stdout, undefined, defined)
        assert {refusal.name for refusal in early} <= {refusal.name for refusal in full}, "certain, and then not so"
        return full

    def symbols(self, which: str) -> list[str]:
        listing = subprocess.run(["nm", which, "x.o"], cwd=self.folder, capture_output=True, text=True, check=True)
        return [line.split()[-1] for line in listing.stdout.splitlines()]


@pytest.fixture
def check(tmp_path: Path) -> Checker:
    return Checker(tmp_path)


# Each row: what it is, the code after HEADERS, the line that is told (None: not told), flags.
HIDDEN_MALLOC: list[tuple[str, str, int | None, tuple[str, ...]]] = [
    ("a call", "void *f(void) { return malloc(3); }", 3, ()),
    ("a macro", "#define GET malloc\nvoid *f(void) { return GET(3); }", 4, ()),
    ("a macro with arguments", "#define GET(n) malloc(n)\nvoid *f(void) {\n return GET(3); }", 5, ()),
    ("pasted tokens", "#define CAT(a, b) a##b\nvoid *f(void) { return CAT(mal, loc)(3); }", 4, ()),
    ("pasted by digraphs", "%:define CAT(a, b) a %:%: b\nvoid *f(void) { return CAT(mal, loc)(3); }", 4, ()),
    ("a function pointer", "void *(*p)(size_t) = malloc;\nvoid *f(void) { return p(3); }", 3, ()),
    ("a table of functions", "void *(*p[])(size_t) = {0, malloc};", 3, ()),
    ("a cast", "void *f(void) { return ((void *(*)(size_t))(void *)&malloc)(3); }", 3, ()),
    ("parentheses", "void *f(void) { return (malloc)(3); }", 3, ()),
    ("stars", "void *f(void) { return (***malloc)(3); }", 3, ()),
    ("a comma", "void *f(void) { return (0, malloc)(3); }", 3, ()),
    ("a condition", "void *f(int a) { return (a ? malloc : malloc)(3); }", 3, ()),
    ("a spliced line", "void *f(void) { return mal\\\nloc(3); }", 3, ()),
    ("a splice with a blank", "void *f(void) { return mal\\ \nloc(3); }", 3, ()),
    ("a trigraph splice", "void *f(void) { return mal??/\nloc(3); }", 3, ("-std=c11",)),
    ("a trigraph directive", "??=define G malloc\nvoid *f(void) { return G(3); }", 4, ("-std=c11",)),
    ("a built-in", "void *f(void) { return __builtin_malloc(3); }", 3, ()),
    ("the library's own alias", "void *__libc_malloc(size_t);\nvoid *f(void) { return __libc_malloc(3); }", 4, ()),
    ("a checking alias", "void *__malloc_chk(size_t);\nvoid *f(void) { return __malloc_chk(3); }", 4, ()),
    ("an asm label", 'void *get(size_t) __asm__("mal" "loc");\nvoid *f(void) { return get(3); }', 3, ()),
    ("an escaped asm label", 'void *get(size_t) __asm__("\\155alloc");\nvoid *f(void) { return get(3); }', 3, ()),
    ("inline assembly", 'void *f(void) { __asm__("call malloc"); return 0; }', 3, ()),
    ("assembly outside of functions", '__asm__(".globl g\\ng: jmp malloc");', 3, ()),
    (
        "a weak reference",
        'static void *g(size_t) __attribute__((weakref("malloc")));\nvoid *f(void) { return g(3); }',
        3,
        (),
    ),
    (
        "a renaming pragma",
        "#pragma redefine_extname get malloc\nvoid *get(size_t);\nvoid *f(void) { return get(3); }",
        3,
        (),
    ),
    ("_Pragma", '_Pragma("redefine_extname get malloc")\nvoid *get(size_t);\nvoid *f(void) { return get(3); }', 3, ()),
    ("a type of functions", "typedef void *fn(size_t);\nfn malloc;\nvoid *f(void) { return malloc(3); }", 5, ()),
    ("typeof", "extern __typeof__(malloc) malloc;\nvoid *f(void) { return malloc(3); }", 4, ()),
    ("a local declaration", "void *f(void) { void *malloc(size_t); return malloc(3); }", 3, ()),
    ("an old-style function", "void *f(a) int a; { return malloc(a); }", 3, ()),
    ("a nested function", "void *f(void) { void *g(void) { return malloc(3); } return g(); }", 3, ()),
    ("a statement expression", "void *f(void) { return ({ malloc(3); }); }", 3, ()),
    ("a generic selection", "void *f(void) { return _Generic(1, int: malloc)(3); }", 3, ()),
    ("code that never runs", "void *f(void) { if (0) return malloc(3); return 0; }", 3, ()),
    ("a static function nobody calls", "static void *f(void) { return malloc(3); }", 3, ()),
    ("only when optimised", "#ifdef __OPTIMIZE__\nvoid *f(void) { return malloc(3); }\n#endif", 4, ("-O2",)),
    ("optimised away", "int f(void) { void *p = malloc(3); free(p); return 1; }", 3, ("-O2",)),
    (
        "a variable elsewhere",
        "int f(void) { int malloc = 1; return malloc; }\nvoid *g(void) { return malloc(3); }",
        4,
        (),
    ),
    ("the cleanup attribute", "void f(void) { __attribute__((cleanup(malloc))) long p = 0; }", 3, ()),
    (
        "itself included",
        '#ifndef A\n#define A\n#include "./submission.c"\n#else\nstatic void *f(void) { return malloc(3); }\n#endif',
        7,
        (),
    ),
    ("CRLF", "\r\nvoid *f(void) { return malloc(3); }\r\n", 4, ()),
    ("after a string with a quote", 'char *s = "\\""; void *f(void) { return malloc(3); } char *t = "\\"";', 3, ()),
    ("after a comment with a quote", "/* don't \" */ void *f(void) { return malloc(3); } // '", 3, ()),
    ("a definition of its own", "void *malloc(size_t n) { return n ? 0 : 0; }", 3, ()),
    ("letters of other scripts", "int \u00e9 = 1; /* \u4e16 */ void *f(void) { return malloc(3); }", 3, ()),
]


@pytest.mark.parametrize(("what", "code", "line", "flags"), HIDDEN_MALLOC, ids=[row[0] for row in HIDDEN_MALLOC])
def test_a_denied_call_is_found(check: Checker, what: str, code: str, line: int, flags: tuple[str, ...]) -> None:
    refusals = check(HEADERS + code, black=["malloc"], flags=flags)
    assert ("malloc", line) in {(refusal.name, refusal.line) for refusal in refusals}, refusals
    assert all("'malloc'" in refusal.sentence for refusal in refusals if refusal.name == "malloc")


@pytest.mark.parametrize(("what", "code", "line", "flags"), HIDDEN_MALLOC, ids=[row[0] for row in HIDDEN_MALLOC])
def test_a_call_that_is_not_on_the_whitelist_is_found(
    check: Checker, what: str, code: str, line: int, flags: tuple[str, ...]
) -> None:
    if what in ("a definition of its own", "typeof"):
        pytest.skip("its own functions need no entry; a declaration calls nothing" if what != "typeof" else "")
    refusals = check(HEADERS + code, white=["free", "f", "g"], flags=flags)
    assert {refusal.name for refusal in refusals} & {"malloc", "__libc_malloc", "__malloc_chk", "asm"}, refusals


NO_MALLOC = [
    ("a comment", "/* malloc(3) */ // malloc(3)"),
    ("a comment over two lines", "// malloc \\\n malloc(3)\nint x;"),
    ("a string", 'const char *s = "malloc(3)"; char c = \'"\'; const char *t = "malloc";'),
    ("a longer name", "int malloc_count, my_malloc, mallocs; int f(void) { return malloc_count; }"),
    ("a member", "struct s { int malloc; void *(*free)(int); }; void *f(struct s *s) { return s->free(s->malloc); }"),
    ("a variable", "int f(void) { int malloc = 1; return malloc + 1; }"),
    ("a parameter", "int f(int (*malloc)(int)) { return malloc(3); }"),
    ("a label", "int f(void) { goto malloc; malloc: return 1; }"),
    ("a tag", "struct malloc { int a; }; int f(struct malloc *m) { return m->a; }"),
    ("put aside", "#if 0\nvoid *f(void) { return malloc(3); }\n#endif"),
    ("a macro nobody uses", "#define GET malloc\nint x;"),
    ("a condition that is false", "#ifdef NOT_DEFINED\nvoid *f(void) { return malloc(3); }\n#endif"),
    ("turned to text", "#define S(x) #x\nconst char *s = S(malloc);"),
    ("the header declares it", "int x;"),
    ("an array", "char *f(void) { static char malloc[10]; malloc[0] = 1; return malloc; }"),
    ("empty assembly", '__attribute__((noinline)) int f(int a) { __asm__ volatile("" ::: "memory"); return a; }'),
]


@pytest.mark.parametrize(("what", "code"), NO_MALLOC, ids=[row[0] for row in NO_MALLOC])
def test_what_is_no_call_is_not_refused(check: Checker, what: str, code: str) -> None:
    assert check("#include <stdlib.h>\n" + code, black=["malloc"]) == ()


ALLOWED = [
    ("its own functions", "int g(int a) { return a; } int f(void) { return g(1) + abs(-1); }"),
    ("its own static functions", "static int g(int a) { return a; } int f(void) { return g(abs(1)); }"),
    ("its own, later", "int g(int); int f(void) { return g(1); } int g(int a) { return abs(a); }"),
    ("its own, old style", "int g(a) int a; { return a; } int f(void) { return g(abs(1)); }"),
    (
        "its own, made by a macro",
        "#define MAKE(n) int n(int a) { return abs(a); }\nMAKE(g) int f(void) { return g(1); }",
    ),
    ("recursion", "int f(int n) { return n ? f(n - 1) : abs(n); }"),
    ("a function pointer as a parameter", "int f(int (*g)(int)) { return g(abs(1)); }"),
    ("a function pointer as a member", "struct s { int (*g)(int); }; int f(struct s *s) { return s->g(abs(1)); }"),
    ("a table of functions", "int (*t[])(int) = {abs}; int f(int i) { return t[i](1); }"),
    (
        "copies of structures",
        "struct s { int a[200]; }; struct s f(struct s *p) { struct s x = {0}; x = *p; return x; }",
    ),
    ("long double and 128 bits", "__int128 f(__int128 a, __int128 b) { return a / b; }"),
    (
        "errno and the standard streams",
        "#include <errno.h>\n#include <stdio.h>\nFILE *f(void) { errno = 1; return stderr; }",
    ),
    ("sizeof and other operators", "long f(long a) { return sizeof(a) + _Alignof(long) + sizeof(__typeof__(a)); }"),
    (
        "variable arguments",
        "#include <stdarg.h>\nint f(int n, ...) { va_list a; va_start(a, n); n = va_arg(a, int); va_end(a); return n; }",
    ),
    ("offsetof", "#include <stddef.h>\nstruct s { int a, b; }; long f(void) { return offsetof(struct s, b); }"),
    (
        "macros without functions",
        "#include <limits.h>\n#include <stdint.h>\nlong f(void) { return INT_MAX + INT64_C(3); }",
    ),
    ("a macro of its own", "#define SQUARE(x) ((x) * (x))\nint f(int a) { return SQUARE(abs(a)); }"),
    ("infinity", "#include <math.h>\ndouble f(void) { return INFINITY + NAN + HUGE_VAL; }"),
    ("a static assertion", '_Static_assert(sizeof(int) == 4, "int"); int f(void) { return abs(1); }'),
    ("variable-length arrays", "int f(int n) { int a[n]; a[0] = abs(n); return a[0]; }"),
    ("the stack protector", "int f(void) { char a[100]; a[0] = abs(1); return a[0]; }"),
]


@pytest.mark.parametrize(("what", "code"), ALLOWED, ids=[row[0] for row in ALLOWED])
@pytest.mark.parametrize("flags", [(), ("-O2", "-fstack-protector-all"), ("-fsanitize=address,undefined", "-std=c99")])
def test_a_whitelist_needs_no_entry_for_what_is_no_function_of_the_library(
    check: Checker, what: str, code: str, flags: tuple[str, ...]
) -> None:
    assert check("#include <stdlib.h>\n" + code, white=["abs"], flags=flags) == ()


@pytest.mark.parametrize(
    ("code", "white", "refused"),
    [
        ("#include <ctype.h>\nint f(int c) { return isalpha(c); }", ["isalpha"], []),
        ("#include <ctype.h>\nint f(int c) { return isalpha(c); }", ["isdigit"], [("isalpha", 2)]),
        ("#include <ctype.h>\nint f(int c) { return isalpha(c) || isdigit(c); }", ["isalpha"], [("isdigit", 2)]),
        ("#include <assert.h>\nvoid f(int c) {\n assert(c); }", ["assert"], []),
        ("#include <assert.h>\nvoid f(int c) {\n assert(c); }", ["printf"], [("assert", 3)]),
        ("#include <math.h>\nint f(double c) { return isnan(c); }", ["sqrt"], [("isnan", 2)]),
        ("#include <alloca.h>\nvoid *f(int c) { return alloca(c); }", ["sqrt"], [("alloca", 2)]),
        ('#include <stdio.h>\nvoid f(void) { printf("x\\n"); }', ["printf"], []),
        ('#include <stdio.h>\nvoid f(void) { __builtin_printf("x\\n"); }', ["printf"], []),
        ('#include <stdio.h>\nvoid f(int *a) { scanf("%d", a); }', ["scanf"], []),
        ('#include <stdio.h>\nvoid f(void) { puts("x"); }', ["printf"], [("puts", 2)]),
        ("#include <setjmp.h>\njmp_buf b; int f(void) { return setjmp(b); }", ["printf"], [("setjmp", 2)]),
        ("#include <setjmp.h>\njmp_buf b; int f(void) { return setjmp(b); }", ["setjmp"], []),
        ("int f(void) { return undeclared(1); }", ["printf"], [("undeclared", 1)]),
        ("#include <stdio.h>\nint f(void) { return getchar_unlocked(); }", ["getchar"], [("getchar_unlocked", 2)]),
        (
            '#define _GNU_SOURCE\n#include <dlfcn.h>\nvoid *f(void) { return dlsym(0, "malloc"); }',
            ["free"],
            [("dlsym", 3)],
        ),
    ],
)
def test_a_whitelist_names_what_the_student_wrote(
    check: Checker, code: str, white: list[str], refused: list[tuple[str, int]]
) -> None:
    assert [(refusal.name, refusal.line) for refusal in check(code, white=white)] == refused


@pytest.mark.parametrize(
    ("code", "black", "refused"),
    [
        ("#include <limits.h>\nint x = INT_MAX;", ["INT_MAX"], [("INT_MAX", 2)]),
        ("#include <ctype.h>\nint f(int c) { return isalpha(c); }", ["isalpha"], [("isalpha", 2)]),
        ("int f(void) { a: goto a; }", ["goto"], [("goto", 1)]),
        ('/* goto */ const char *s = "goto";', ["goto"], []),
        ('#include <string.h>\nlong f(void) { return strlen("a"); }', ["strlen"], [("strlen", 2)]),
        ('#include <stdio.h>\nFILE *f(void) { return fopen64("a", "r"); }', ["fopen"], []),
        (
            '#define _FILE_OFFSET_BITS 64\n#include <stdio.h>\nFILE *f(void) { return fopen("a", "r"); }',
            ["fopen"],
            [("fopen", 3)],
        ),
        ("#include <unistd.h>\nlong f(void) { return syscall(57); }", ["fork"], [("syscall", 2)]),
        ('int f(int a) { __asm__("nop"); return a; }', ["fork"], [("asm", 1)]),
        ("struct s { int a[500]; }; void f(struct s *a, struct s *b) { *a = *b; }", ["memcpy", "memset"], []),
        ('#include <stdio.h>\nvoid f(void) { printf("x\\n"); }', ["puts"], []),
        ('#include <stdio.h>\nvoid f(void) { fputs("x", stdout); }', ["stdout"], [("stdout", 2)]),
        ("int f(int x) { return x; }\nint g(void) { return f(f(1)); }", ["f"], [("f", 1)]),
        ('#include <stdio.h>\nvoid put(const char *) __attribute__((weakref("puts")));', ["puts"], None),
    ],
)
def test_a_blacklist_knows_macros_keywords_and_aliases(
    check: Checker, code: str, black: list[str], refused: list[tuple[str, int]] | None
) -> None:
    if refused is None:
        code = code.replace("void put", "static void put") + '\nvoid f(void) { put("x"); }'
        refused = [("puts", 2)]
    if "fopen64" in code:
        code, refused = "#define _GNU_SOURCE\n" + code, [("fopen", 3)]
    assert [(refusal.name, refusal.line) for refusal in check(code, black=black)] == refused


STDLIB = [
    "<stdlib.h>",
    '"stdlib.h"',
    "</usr/include/stdlib.h>",
    '"/usr/include/stdlib.h"',
    "<arpa/../stdlib.h>",
    "<netinet/../stdlib.h>",
]


@pytest.mark.parametrize("spelling", STDLIB)
@pytest.mark.parametrize(
    ("directive", "line"),
    [
        ("#include {}", 2),
        ("%: include{}", 2),
        ("# /**/ \\\n include {}", 3),
        ("#define H {}\n#include H", 3),
        ("#include_next {}", 2),
        ("#import {}", 2),
    ],
)
@pytest.mark.parametrize("before", ["#include <stdio.h>\n", "#include <wchar.h>\n"])
def test_a_denied_header_is_found(check: Checker, spelling: str, directive: str, line: int, before: str) -> None:
    if directive == "#include_next {}" and "/usr" in spelling:
        pytest.skip("there is no next one")
    refusals = check(before + directive.format(spelling) + "\nint x;\n", black=["stdlib.h"])
    assert [refusal.name for refusal in refusals] == ["stdlib.h"]
    assert refusals[0].line in (line, 2) and "header 'stdlib.h'" in refusals[0].sentence


def test_a_header_that_was_included_before_by_another_is_found(check: Checker) -> None:
    code = "#include <stdlib.h>\n#include <stdlib.h>\n#include <sys/types.h>\n"
    assert [(refusal.name, refusal.line) for refusal in check(code, black=["sys/types.h"])] == [("sys/types.h", 3)]


@pytest.mark.parametrize(
    "code",
    ["// #include <stdlib.h>\n", "#if 0\n#include <stdlib.h>\n#endif\n", 'char *s = "\\\n#include <stdlib.h>";\n'],
)
def test_a_header_that_is_not_included_is_not_refused(check: Checker, code: str) -> None:
    assert check("#include <wchar.h>\n" + code, black=["stdlib.h"]) == ()


def test_headers_are_restricted_by_a_whitelist_that_names_one(check: Checker) -> None:
    code = '#include <stdio.h>\n#include <stdlib.h>\nvoid f(void) { printf("x"); }\n'
    assert check(code, white=["printf"]) == ()
    assert [refusal.name for refusal in check(code, white=["printf", "stdio.h"])] == ["stdlib.h"]
    assert [refusal.name for refusal in check(code, white=["<stdio.h>", "<stdlib.h>"])] == []
    assert [refusal.name for refusal in check(code, white=["stdio.h", "stdlib.h", "puts"])] == ["printf"]


@pytest.mark.parametrize(
    "forgery",
    [
        '#line 1 "/usr/include/stdlib.h"\n',
        '# 1 "/usr/include/stdlib.h" 1 3\n',
        '/* a\n */ # /* b */ line 1 "/usr/include/stdlib.h"\n',
        '%: 1 "/usr/include/stdlib.h" 1 3\n',
        '// ??/\n# 1 "/usr/include/stdlib.h" 1 3\n',
        '#\\\nline 1 "/usr/include/stdlib.h"\n',
        'const char *s = R"(\n# 1 "/usr/include/stdlib.h" 1 3\n)";\n',
    ],
)
def test_code_that_claims_to_be_a_headers_is_refused(check: Checker, forgery: str) -> None:
    assert check(forgery + "static void *f(void) { return __builtin_malloc(3); }\n", black=["malloc"])


def test_a_trigraph_line_marker_is_refused_where_trigraphs_count(check: Checker) -> None:
    code = '??=line 1 "/usr/include/stdlib.h"\nint x;\n'
    assert [refusal.name for refusal in check(code, black=["malloc"], flags=("-std=c11",))] == ["#line"]


def test_what_a_comment_says_about_lines_is_no_line_marker(check: Checker) -> None:
    code = '/*\n # 1 first\n #line 2\n*/\nchar *s = "#line 3";\n#if 0\n#line 4\n#endif\n'
    assert check(code, black=["malloc"]) == ()


def test_macros_that_expand_without_end_are_refused() -> None:
    text = '# 1 "submission.c"\n' + "int x;" * 2**20
    assert names.check("int x;", (), ("malloc",), text)[0].sentence


@pytest.mark.parametrize(
    "hostile", ["(" * 10**6, "{" * 10**6, '"' * 10**6, "/*" * 10**6, "\\\n" * 10**6, "#if 0\n" * 10**5]
)
def test_hostile_source_is_looked_at_in_bounded_time(hostile: str) -> None:
    names.check(hostile, (), ("malloc",))
    names.check(hostile, ("malloc",), (), f'# 1 "{CODE_FILE}"\n{hostile}')


def _many(count: int, form: str) -> str:
    return "".join(form.format(number) for number in range(count))


@pytest.mark.parametrize(
    ("code", "undefined"),
    [
        ("int f(void) { return " + "__libc_" * 100_000 + "x(); }", ["__libc_" * 100_000 + "x"]),
        ("int f(void) { " + _many(50_000, "g{0}();") + " }", [f"g{number}" for number in range(50_000)]),
        (
            '__attribute__((weakref)) int y; char *s = "' + "x" * 500_000 + '";',
            [f"g{number}" for number in range(20_000)],
        ),
        ("void f(void) { " + _many(20_000, 'asm("x{0}");') + " }", [f"x{number}" for number in range(20_000)]),
    ],
    ids=["a long name", "many names", "many hidden names", "much assembly"],
)
def test_hostile_names_are_looked_up_in_bounded_time(code: str, undefined: list[str]) -> None:
    macros = "".join(f"#define m{number}(x) _m{number}(x)\n" for number in range(3000))
    mentioned = "#define all " + " ".join(f"m{number}" for number in range(3000)) + "\n"
    text = f'# 1 "/usr/include/x.h" 1 3\n{macros}# 1 "{CODE_FILE}" 2\n{code}\n'
    began = time.process_time()
    found = names.check(mentioned + code, ("malloc",), ("free",), text, undefined)
    assert 0 < len(found) <= 100
    assert time.process_time() - began < 20  # it was hours: nothing here is about speed


def test_without_lists_nothing_is_looked_at() -> None:
    assert names.check("malloc(3)", (), (), 'not "preprocessed') == ()
    assert names.check("malloc(3)", ("", " "), ()) == ()


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("int main(void) { return 0; }", 1),
        ("\n\nint main(int argc, char **argv)\n{ return 0; }", 3),
        ("void main() {}", 1),
        ("main() { return 0; }", 1),
        ("#if 0\nint main(void) {}\n#endif\nint x;", None),
        ("int f(int a, int main) { return main; }", None),
        ("struct main { int a; };", None),
        ("int g(int a);\nint main = 3; int f(void) { return 0; }", None),
        ("int (main)(void) { return 0; }", 1),
        ("int main_loop(void) { return 0; }", None),
        ("// int main(void) {}\nint f(void) { return 0; }", None),
        ('char *s = "int main(void) {}";', None),
        ("int f(void) { int main = 1; return main; }", None),
        ("int main(void);", None),
    ],
)
def test_a_main_of_the_students_is_seen(code: str, line: int | None) -> None:
    assert names.defines_main(code) == line
