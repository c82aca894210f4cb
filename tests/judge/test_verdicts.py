"""The table of programs with known faults, and correct ones: each through the real judge.

The rows are in `programs/*.toml`, a program each. Correct ones are held against gcc and valgrind run by hand.
"""

import dataclasses
import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from judge.submission import Report, Submission

PROGRAMS = Path(__file__).parent / "programs"
OPTIONS = {field.name for field in dataclasses.fields(Submission)} - {"code", "tests"}
LETTERS = {"passed": "P", "failed": "F", "crashed": "C", "timeout": "T", "not_run": "N"}
EXPECTED = {
    "built", "compiled", "ran", "ran_any", "verdicts", "verdicts_match", "failed", "failed_has", "signals", "outputs",
    "output", "output_has", "truncated", "errors", "errors_say", "error_lines_within", "warnings", "memory",
    "memory_lines", "says", "hides", "uses",
}  # fmt: skip


def rows(*files: str) -> list[Any]:
    found = [row for file in files for row in tomllib.loads((PROGRAMS / f"{file}.toml").read_text())["program"]]
    for row in found:
        assert not row.keys() - EXPECTED - OPTIONS - {"name", "code", "tests"}, row["name"]
    return [pytest.param(row, id=row["name"]) for row in found]


Judged = Callable[..., Report]


@pytest.mark.parametrize("row", rows("memory", "compile", "run", "confined"))
def test_a_program_gets_its_verdict(judged: Judged, row: dict[str, Any]) -> None:
    given = {name: row[name] for name in row.keys() & OPTIONS}
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    options.setdefault("valgrind", bool(row.keys() & {"memory", "memory_lines"}))
    report = judged(row["code"], row.get("tests"), **options)
    for check in (_stages, _tests, _messages, _memory, _nothing_of_ours):
        check(row, report)


def _stages(row: dict[str, Any], report: Report) -> None:
    built = row.get("built", True)
    compiled = built and row.get("compiled", True)
    assert (report.built, report.compiled) == (built, compiled), report
    if not row.get("ran_any"):
        assert report.ran == (compiled and row.get("ran", True)), report
    assert (report.compilation_s >= 0) == built or not compiled
    assert (report.run_s >= 0) == compiled


def _tests(row: dict[str, Any], report: Report) -> None:
    verdicts = "".join(LETTERS[test.verdict.value] for test in report.tests)
    if "verdicts" in row:
        assert verdicts == row["verdicts"], report
    assert re.fullmatch(row.get("verdicts_match", ".*"), verdicts), report
    assert [test.number for test in report.tests] == [*range(1, len(report.tests) + 1)]
    for number, signal in row.get("signals", {}).items():
        assert report.tests[int(number) - 1].signal == signal
    if report.compiled:
        bad = {number for number, letter in enumerate(verdicts, 1) if letter in "FCT"}
        assert bad <= set(report.failed_tests), report
    assert list(report.failed_tests) == row.get("failed", list(report.failed_tests))
    assert set(row.get("failed_has", ())) <= set(report.failed_tests)
    for test, output in zip(report.tests, row.get("outputs", ()), strict=False):
        assert test.output == output


def _messages(row: dict[str, Any], report: Report) -> None:
    told = [message for _, message in report.formatted_response]
    if "errors" in row:
        assert len(report.formatted_response) == len(row["errors"]), report.formatted_response
        for (line, message), (wanted_line, part) in zip(report.formatted_response, row["errors"], strict=True):
            assert line == wanted_line and part in message, report.formatted_response
    for part in row.get("errors_say", ()):
        assert any(re.search(part, message) for message in told), report
    if "error_lines_within" in row:
        first, last = row["error_lines_within"]
        assert report.formatted_response and all(first <= line <= last for line, _ in report.formatted_response), report
    if not report.built or not report.compiled:
        assert report.formatted_response, report
    if "warnings" in row:
        warned = [[found.line, found.option] for found in report.diagnostics if found.severity == "warning"]
        assert warned == row["warnings"]
    assert report.output == row.get("output", report.output)
    assert all(part in report.output for part in row.get("output_has", ())), report.output
    assert report.truncated == row.get("truncated", False)
    assert len(report.output) <= 2**21


def _memory(row: dict[str, Any], report: Report) -> None:
    found = [[finding.kind, finding.line] for finding in report.memory]
    for kind_and_line in row.get("memory", ()):
        assert kind_and_line in found, report
        assert str(kind_and_line[1]) in report.valgrind
    for line in row.get("memory_lines", ()):
        assert line in [finding.line for finding in report.memory], report
    assert all(part in report.valgrind for part in row.get("says", ())), report.valgrind


def _nothing_of_ours(row: dict[str, Any], report: Report) -> None:
    """No path of this host, no process id, no address, no name that is only the harness's."""
    text = repr(dataclasses.replace(report, output="" if "output_has" in row else report.output))
    told = [*row.get("hides", ()), "/dev/shm", "/tmp/", "/root", "/usr/", "pyr_", "==", "vgpreload"]
    code = row["code"] + row.get("tests", "")
    assert [word for word in told if word in text and word not in code] == []
    assert not re.search(r"0x[0-9A-Fa-f]{6,}", report.valgrind)


@pytest.mark.parametrize("row", rows("correct"))
@pytest.mark.parametrize("flags", [(), ("-O2", "-Wall", "-Wextra")], ids=["plain", "optimised"])
def test_a_correct_program_is_as_gcc_and_valgrind_by_hand_have_it(
    judged: Judged, tmp_path: Path, row: dict[str, Any], flags: tuple[str, ...]
) -> None:
    report = judged(row["code"], row["tests"], flags=flags)
    by_hand = f"{row['code']}\n#include <assert.h>\nint main(void) {{\n{row['tests']}\nreturn 0; }}\n"
    (tmp_path / "x.c").write_text(by_hand)
    subprocess.run(["gcc", "-g", *flags, "x.c", "-o", "x", "-lm"], cwd=tmp_path, check=True, capture_output=True)
    plain = subprocess.run(["./x"], cwd=tmp_path, check=True, capture_output=True, text=True)
    checked = ["valgrind", "--leak-check=full", "--error-exitcode=9", "./x"]
    assert subprocess.run(checked, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    assert report.ran and not report.failed_tests and report.memory == (), report
    assert {test.verdict.value for test in report.tests} == {"passed"}
    assert len(report.tests) == row["tests"].count("assert(") == report.output.count("ASSERT PASSED!\n")
    assert report.output.replace("ASSERT PASSED!\n", "").split() == plain.stdout.split()


@pytest.mark.parametrize("row", rows("correct"))
def test_a_correct_program_needs_just_the_functions_that_it_uses(judged: Judged, row: dict[str, Any]) -> None:
    uses = tuple(row["uses"])
    allowed = judged(row["code"], row["tests"], whitelisted=(*uses, "unused"), valgrind=False)
    assert allowed.built and not allowed.failed_tests, allowed.formatted_response
    for missing in uses:
        others = tuple(name for name in uses if name != missing)
        report = judged(row["code"], row["tests"], whitelisted=(*others, "unused"), valgrind=False)
        assert not report.built and {missing in sentence for _, sentence in report.formatted_response} == {True}
        denied = judged(row["code"], row["tests"], blacklisted=(missing,), valgrind=False)
        assert not denied.built and denied.formatted_response[0][0] == report.formatted_response[0][0]


def test_a_source_of_a_megabyte_is_compiled(judged: Judged) -> None:
    lines = "".join(f"int f{number}(int n) {{ return n + {number}; }}\n" for number in range(24_000))
    code = lines + "/*" + "x" * (10**6 - len(lines) - 5) + "*/\n"
    report = judged(code, "assert(f23999(1) == 24000);", timeout_s=60, valgrind=False)
    assert report.compiled and report.tests[0].verdict.value == "passed", report.detail


@pytest.mark.parametrize("text", ["{" * 10**6, "(" * 10**6, "int x = " + "-" * 10**6, '"' * 10**6])
def test_hostile_source_of_a_megabyte_is_an_error_of_its_own(judged: Judged, text: str) -> None:
    report = judged(text, "assert(1);", timeout_s=10)
    assert report.built and not report.compiled and report.formatted_response
    assert "pyr_" not in repr(report)


def test_the_same_submission_again_skips_the_compiler(judged: Judged) -> None:
    code = "int f(void) { return 41; }"
    first, second = (judged(code, "assert(f() == 41);", valgrind=False) for _ in range(2))
    assert not first.cached and second.cached
    assert [test.verdict for test in first.tests] == [test.verdict for test in second.tests]
    assert not judged(code, "assert(f() == 41);", valgrind=False, flags=("-O2",)).cached
