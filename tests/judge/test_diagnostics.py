"""What gcc, as and ld say, read as it comes from real ones, and as hostile text."""

import json
import random
import subprocess
from pathlib import Path

import pytest

from judge import diagnostics
from judge.submission import CODE_FILE, TESTS_FILE, Diagnostic

CODE = f'#line 1 "{CODE_FILE}"\n'


def said(folder: Path, source: str, *flags: str) -> tuple[Diagnostic, ...]:
    """What a compilation tells, as the judge starts it: the source on stdin."""
    argv = ["gcc", "-g", "-pipe", "-Wall", *flags, "-fdiagnostics-format=json", "-x", "c", "-", "-o", "x", "-lm"]
    told = subprocess.run(argv, cwd=folder, input=source.encode(), capture_output=True, check=False)
    return diagnostics.parse(told.stderr)


# Each row: code, (line, column, severity, a part of the message, place) of each diagnostic that must be there.
ROWS: list[tuple[str, list[tuple[int | None, int | None, str, str, str]]]] = [
    ("int f(void) { return 1 }", [(1, 23, "error", "expected ';'", "code")]),
    ("int a;\nint f(void) { return x; }", [(2, 22, "error", "'x' undeclared", "code")]),
    ("int f(void) {\n int b;\n return 1; }", [(2, 6, "warning", "unused variable 'b'", "code")]),
    ("#define BAD return 1 +;\nint f(void) {\n BAD }", [(3, 2, "error", "expected expression", "code")]),
    (
        "#include <stdio.h>\nint f(void) {\n return printf(3); }",
        [(3, 16, "warning", "makes pointer from integer", "code")],
    ),
    (
        "#include <assert.h>\nint f(void) {\n assert(1, 2);\n return 1; }",
        [(3, 13, "error", "passed 2 arguments", "code")],
    ),
    ('#include "no_such.h"\n', [(1, 10, "error", "no_such.h: No such file", "code")]),
    (
        "int f(void) { return g(); }",
        [(1, 22, "warning", "implicit declaration", "code"), (1, None, "error", "undefined reference to 'g'", "code")],
    ),
    (
        f'int f(void) {{ return 1; }}\n#line 1 "{TESTS_FILE}"\nint main(void) {{\n return g(); }}',
        [(2, None, "error", "undefined reference to 'g'", "tests")],
    ),
    (
        f'int f(void) {{ return 1; }}\n#line 1 "{TESTS_FILE}"\nint main(void) {{\n return f() }}',
        [(2, None, "error", "expected ';'", "tests")],
    ),
    (
        'void f(void) { __asm__("bogus"); }',
        [(1, None, "error", "no such instruction: 'bogus'", "code")],
    ),
    ('__asm__(".incbin \\"/no/such\\"");', [(None, None, "error", "file not found", "code")]),
    ("#error this is wrong", [(1, 2, "error", "this is wrong", "code")]),
    ("#warning mind this\nint x;", [(1, 2, "warning", "mind this", "code")]),
    ("extern int y; int *f(void) { return &y; }", [(1, None, "error", "undefined reference to 'y'", "code")]),
    ("int \u00e9t\u00e9 = z;", [(1, None, "error", "'z' undeclared", "code")]),
]


@pytest.mark.parametrize(("code", "wanted"), ROWS)
def test_what_is_said_is_told_of_the_students_line(
    tmp_path: Path, code: str, wanted: list[tuple[int | None, int | None, str, str, str]]
) -> None:
    found = said(tmp_path, CODE + code + ("" if "main" in code else "\nint main(void) { return 0; }\n"))
    for line, column, severity, part, place in wanted:
        matching = [told for told in found if part in told.message and told.severity == severity]
        assert matching, found
        assert (line, place) in {(told.line, told.place) for told in matching}, found
        assert column is None or column in {told.column for told in matching}, found
    assert not any(word in told.message for told in found for word in ("/usr", "/tmp", "collect2", str(tmp_path)))


def test_the_option_of_a_warning_is_told(tmp_path: Path) -> None:
    (found,) = said(tmp_path, CODE + "int main(void) { int b; return 0; }")
    assert (found.option, found.severity) == ("-Wunused-variable", "warning")
    (found,) = said(tmp_path, CODE + "int main(void) { int b; return 0; }", "-Werror")
    assert (found.option, found.severity) == ("-Werror=unused-variable", "error")


def test_the_errors_of_the_code_come_first() -> None:
    code = Diagnostic(3, 1, "error", None, "of the code")
    warning = Diagnostic(1, 1, "warning", "-Wall", "a warning")
    tests = Diagnostic(2, 1, "error", None, "of the tests", "tests")
    linker = Diagnostic(None, None, "error", None, "of the linker", "linker")
    assert diagnostics.formatted((warning, linker, tests, code)) == ((3, "of the code"),)
    assert diagnostics.formatted((warning, tests, linker)) == (
        (0, "in the tests, line 2: of the tests"),
        (0, "of the linker"),
    )
    assert diagnostics.formatted((warning,)) == ()


def test_an_array_that_was_cut_tells_what_is_whole() -> None:
    one = {"kind": "error", "message": "x", "locations": [{"caret": {"file": CODE_FILE, "line": 3, "column": 4}}]}
    text = json.dumps([one, one | {"message": "y"}, one | {"message": "z"}])
    whole = diagnostics.parse(text.encode())
    assert [told.message for told in whole] == ["x", "y", "z"]
    assert diagnostics.parse(text[:-20].encode()) == whole[:2]
    for end in range(len(text)):
        assert set(diagnostics.parse(text[:end].encode())) <= set(whole)


def test_the_number_of_diagnostics_and_their_length_are_bounded() -> None:
    flood = [{"kind": "error", "message": str(number) + "x" * 10**5, "locations": []} for number in range(1000)]
    found = diagnostics.parse(json.dumps(flood).encode())
    assert len(found) == diagnostics.MOST
    assert max(len(told.message) for told in found) <= diagnostics.MOST_CHARS


HOSTILE = [
    b"",
    b"[",
    b"[]",
    b"[" * 100_000,
    b"[{" * 100_000,
    b'[{"kind": ' + b"[" * 100_000,
    b'[null, 1, {}, [], "x"]',
    b'[{"kind": 3, "message": 4, "locations": 5, "children": 6}]',
    b'[{"kind": [], "message": "m", "locations": [3, null, {}], "children": [1, {"locations": {}}]}]',
    b'[{"kind": "error", "message": "m", "locations": [{"caret": {"file": "submission.c", "line": "3", "column": true}}]}]',
    b'[{"kind": "error", "message": "m", "locations": [{"caret": {"file": ["submission.c"], "line": -1, "column": 1e999}}]}]',
    b'[{"kind": "error", "message": "\\ud800", "locations": [{"caret": {"file": "submission.c", "line": 99999999999999999999}}]}]',
    b"submission.c:99999999999999999999999999: undefined reference to `f'",
    b"\xff\xfe\x00[{\x00",
    b"{standard input}:1: Error: \x1b[31m",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_read_without_a_fault(text: bytes) -> None:
    for told in diagnostics.parse(text):
        assert told.line is None or 0 < told.line < 2**31
        assert told.column is None or 0 < told.column < 2**31
        assert isinstance(told.message, str) and told.severity in ("error", "warning", "note")
        told.message.encode()
    diagnostics.formatted(diagnostics.parse(text))


def test_random_damage_is_read_without_a_fault(tmp_path: Path) -> None:
    argv = ["gcc", "-fdiagnostics-format=json", "-x", "c", "-", "-o", str(tmp_path / "x")]
    source = (CODE + "int f(void) { return g() + y }").encode()
    text = bytearray(subprocess.run(argv, input=source, capture_output=True, check=False).stderr)
    damage = random.Random(5)
    for _ in range(3000):
        text[damage.randrange(len(text))] = damage.choice(b'{}[]",:0\\\n ')
        diagnostics.parse(bytes(text))
