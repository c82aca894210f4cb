"""The policy of runs: each row of its tables, each way to write a name, and harmless code that must pass."""

import ast
import builtins
from collections.abc import Iterable

import pytest

from sandbox import policy

ALLOWED = {
    "math": "math cmath decimal fractions statistics",
    "data": "numpy pandas collections itertools functools",
    "scientific": "sympy scipy matplotlib sklearn",
    "utilities": "datetime json csv re random",
}
BLOCKED = {
    "files": "os subprocess shutil pathlib tempfile glob posix fileinput",
    "network": "socket urllib httplib http requests ssl asyncio ftplib",
    "the process": "sys time signal threading multiprocessing ctypes gc inspect resource mmap",
    "imports": "importlib imp pkgutil runpy builtins codeop zipimport",
    "what runs what it reads": "pickle marshal shelve joblib code ast",
    "what looks like an allowed one": "nump numpyx math2 osmath _io",
}
MODULES = frozenset(policy.DEFAULT_MODULES)


def words(table: Iterable[str]) -> list[str]:
    return [name for names in table for name in names.split()]


def judged(source: str, *modules: str) -> policy.Finding:
    return policy.examine(ast.parse(source), source, frozenset(modules) or MODULES)


def messages(source: str) -> list[str]:
    return [violation.message for violation in judged(source).violations]


# Imports

IMPORTS = {
    "plain": "import {}",
    "aliased": "import {} as harmless",
    "from": "from {} import anything",
    "from, aliased": "from {} import anything as harmless",
    "everything from": "from {} import *",
    "a submodule": "import {}.path",
    "from a submodule": "from {}.path.deeper import anything",
    "the second of two": "import math, {}",
    "in a function": "def f():\n    import {}",
    "in a coroutine": "async def f():\n    async with a:\n        import {}",
    "in a method of a nested class": "class A:\n  class B:\n    def f(self):\n      from {} import anything",
    "in a branch that is never taken": "if False:\n    import {}",
    "in an else": "for x in y:\n    pass\nelse:\n    import {}",
    "in a try": "try:\n    import {}\nexcept ImportError:\n    pass",
    "in a handler": "try:\n    pass\nexcept* ValueError:\n    import {}\n",
    "in a finally": "try:\n    pass\nfinally:\n    import {}",
    "in a case": "match x:\n    case 1:\n        import {}",
    "behind a semicolon": "x = 1; import {}",
    "after a line that is continued": "x = \\\n  1\nimport \\\n  {}",
}
# `from x import *` is for the top of a module; the tree has it all the same.


@pytest.mark.parametrize("name", words(ALLOWED.values()))
def test_each_module_that_the_interface_promises_is_allowed(name: str) -> None:
    for form in IMPORTS.values():
        assert messages(form.format(name)) == []


@pytest.mark.parametrize("name", words(row.names for row in policy.MODULES))
def test_each_row_of_the_modules_allows_its_names_and_what_is_below(name: str) -> None:
    assert messages(f"import {name}, {name}.below.it\nfrom {name}.below import it") == []
    assert judged(f"import {name}").packages == {name}


@pytest.mark.parametrize("name", words(BLOCKED.values()))
def test_each_other_module_is_refused_however_it_is_imported(name: str) -> None:
    for how, form in IMPORTS.items():
        source = form.format(name)
        (message,) = messages(source)
        module = f"{name}.path.deeper" if ".deeper" in form else f"{name}.path" if ".path" in form else name
        assert message == f"import of '{module}' is not allowed", how
        assert judged(source).sentence.startswith(f"Security violation: {message} (line ")


@pytest.mark.parametrize(
    "source", ["from . import x", "from .. import numpy", "from .numpy import x", "from .a.b import x"]
)
def test_relative_imports_are_refused(source: str) -> None:
    module = source.split()[1]
    assert messages(source) == [f"import of '{module}' is not allowed"]


@pytest.mark.parametrize(
    "source",
    [
        "__import__('os')",
        "f = __import__\nf('os')",
        "import importlib\nimportlib.import_module('os')",
        "from importlib import import_module as harmless\nharmless('os')",
        "__builtins__['__import__']('os')",
        "__builtins__.__import__('os')",
        "getattr(__builtins__, 'eval')('1')",
        "getattr(math, '__import__')",
        "__loader__.load_module('os')",
        "__spec__.loader.load_module('os')",
        "math.__loader__.load_module('os')",
        "globals()['__builtins__']",
        "vars()['x']",
        "[c for c in ().__class__.__base__.__subclasses__()]",
        "(lambda: 0).__globals__",
        "print.__self__",
        "(lambda f=__import__: f('os'))()",
        "@__import__\ndef os(): pass",
        "class A(metaclass=__import__): pass",
        "def f(x: __import__('os')): pass",
        "[__import__(name) for name in 'os']",
        "f'{__import__(\"os\")}'",
        "f'{1:{__import__(\"os\")}}'",
        "x = y = (__import__)",
        "match x:\n    case int() if __import__('os'):\n        pass",
        "try:\n    1 / 0\nexcept Exception as e:\n    e.__traceback__.tb_frame.f_back.f_globals",
        "(x for x in y).gi_frame.f_back",
    ],
)
def test_an_import_that_is_made_by_a_call_is_refused(source: str) -> None:
    assert judged(source).violations


def test_a_name_in_other_letters_is_the_name_that_python_makes_of_it() -> None:
    assert messages("ｅｖａｌ('1')") == ["use of 'eval' is not allowed"]
    assert messages("x.__ｃｌａｓｓ__") == ["access to '__class__' is not allowed"]
    assert messages("import ｏｓ") == ["import of 'os' is not allowed"]


def test_what_may_be_imported_is_a_setting() -> None:
    assert judged("import os.path", "os").violations == ()
    assert judged("import matplotlib.pyplot as plt", "matplotlib.pyplot").violations == ()
    assert judged("from matplotlib.pyplot import plot", "matplotlib.pyplot").violations == ()
    for source in ("import math", "import matplotlib", "import matplotlib.colors", "from matplotlib import pyplots"):
        assert judged(source, "matplotlib.pyplot").violations, source


def test_the_packages_that_are_imported_anywhere_are_told() -> None:
    source = "import numpy.linalg as la, os\ndef f():\n    from pandas.io import json\nif 0:\n    import sympy"
    assert judged(source).packages == {"numpy", "os", "pandas", "sympy"}
    assert judged("x = 'import numpy'\n# import pandas").packages == frozenset()


# Builtins

USES = (
    "{}('x')",
    "f = {}",
    "print({})",
    "[{}][0]('x')",
    "(lambda: {})()",
    "def f(x={}): pass",
    "@{}\ndef f(): pass",
    "class A({}): pass",
    "x = [y for y in {}]",
    "f'{{{}}}'",
    "x: {} = 1",
    "with {}('x') as y: pass",
    "{}.x = 1",
    "{}[0] = 1",
    "(x := {})",
    "async def f(): await {}",
    "match {}:\n    case _: pass",
    "match x:\n    case {}(): pass",
)


@pytest.mark.parametrize("name", words(row.names for row in policy.BUILTINS))
def test_each_row_of_the_builtins_refuses_its_names_wherever_they_are_used(name: str) -> None:
    why = next(row.why for row in policy.BUILTINS if name in row.names.split())
    for use in USES:
        source = use.format(name)
        assert f"use of '{name}' is not allowed" in messages(source), source
        assert f"use of '{name}' is not allowed: {why}\n" in judged(source).report


@pytest.mark.parametrize("name", words(row.names for row in policy.HARMLESS_BUILTINS))
def test_each_row_of_the_harmless_builtins_lets_its_names_pass(name: str) -> None:
    assert hasattr(builtins, name)
    for use in USES:
        assert messages(use.format(name)) == []


def test_each_builtin_is_in_one_table_at_most_and_each_row_has_a_reason() -> None:
    tables = (policy.MODULES, policy.BUILTINS, policy.HARMLESS_BUILTINS, policy.ATTRIBUTES)
    assert all(row.names and row.why for table in tables for row in table)
    for table in (policy.MODULES, (*policy.BUILTINS, *policy.HARMLESS_BUILTINS), policy.ATTRIBUTES):
        names = words(row.names for row in table)
        assert len(names) == len(set(names))
    assert {*words(row.names for row in policy.BUILTINS)} <= {*dir(builtins), "file"}


@pytest.mark.parametrize(
    "source",
    [
        "re.compile('x')",
        "frame.eval('a + b')",
        "figure.open",
        "prices.open.mean()",
        "x.vars = 1",
        "f(open=1, eval=2, compile=3)",
        "{'open': 1}['open']",
        "def f(open): pass",
        "class A:\n    def open(self): pass\n    def eval(self): pass",
        "open = 1",
        "for file in files:\n    print(file)",
        "file = io.StringIO()\nfile.write('x')",
        "def f(file): return file",
        "print(file)\nfile = 1",
        "with io.StringIO() as file: file.read()",
        "[file for file in files]",
        "try:\n    pass\nexcept ValueError as file:\n    print(file)",
        "def file(): pass\nfile()",
        "class file: pass\nfile()",
        "import math as file\nfile.pi",
        "match x:\n    case [file, *rest]: file",
        "match x:\n    case [*file]: file",
        "match x:\n    case {'a': 1, **file}: file",
    ],
)
def test_a_name_of_the_program_s_own_is_its_own(source: str) -> None:
    assert messages(source) == []


def test_file_is_refused_where_it_can_only_be_the_builtin_of_old() -> None:
    assert messages("file('x').read()") == ["use of 'file' is not allowed"]


# What leads from a module that is allowed to files


@pytest.mark.parametrize(("module", "name"), [(m, n) for m, row in policy.MEMBERS.items() for n in row.names.split()])
def test_each_row_of_the_members_refuses_its_names(module: str, name: str) -> None:
    expected = f"use of '{module}.{name}' is not allowed"
    for source in (
        f"import {module}\n{module}.{name}('x')",
        f"import {module} as harmless\nf = harmless.{name}",
        f"def f():\n    return {module}.{name}\nimport {module}",
        f"from {module} import {name}",
        f"from {module} import StringIO, {name} as harmless",
    ):
        assert messages(source) == [expected], source
        assert policy.MEMBERS[module].why in judged(source).report


def test_what_is_no_member_of_theirs_passes() -> None:
    assert messages("import io\nio.BytesIO(io.StringIO().read().encode())\nfrom io import TextIOWrapper") == []
    assert messages("image.open('x')\nx.FileIO") == []


def test_everything_from_a_module_with_refused_members_is_refused() -> None:
    assert messages("from io import *\nFileIO('x')")


# Attributes

ATTRIBUTES = words(row.names for row in policy.ATTRIBUTES)
BARE = (
    "x.{}",
    "x.{} = 1",
    "del x.{}",
    "x.y.{}.z()",
    "f(x)[0].{}",
    "f'{{x.{}}}'",
    "f'{{1:{{x.{}}}}}'",
    "match x:\n    case object({}=y): pass",
    "match x:\n    case [object(a=object({}=1))]: pass",
    "global {}",
    "import math as {}",
    "from math import {}",
    "from math import pi as {}",
    "lambda: x.{}",
    "@x.{}\ndef f(): pass",
)
IN_STRINGS = (
    "getattr(x, '{}')",
    "getattr(x, name := '{}')",
    "operator.attrgetter('a.{}.b')",
    "functools.reduce(getattr, ['{}'], x)",
    "'{{0.{}}}'.format(x)",
    "'{{.{}}}'.format(x)",
    "'{{x.{}}}'.format(x=x)",
    "'{{0[a].{}.b!r:>5}}'.format(x)",
    "'{{0.a[1].{}[b]}}'.format(x)",
    "'{{0:{{1.{}}}}}'.format(x, y)",
    "'before {{}} {{0.{}}} after'.format(x)",
    "str.format('{{0.{}}}', x)",
    "'{{0.{}}}'.format_map(x)",
    "'{{0.' '{}}}'.format(x)",
    "r'{{0.{}}}'.format(x)",
    "def f(x: '{}'): pass",
    "x = {{'{}': 1}}",
)


def split(name: str) -> tuple[str, str]:
    return name[: len(name) // 2], name[len(name) // 2 :]


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_each_row_of_the_attributes_refuses_its_names_however_they_are_written(name: str) -> None:
    why = next(row.why for row in policy.ATTRIBUTES if name in row.names.split())
    for form in (*BARE, "{}") if name.startswith("__") else BARE:
        source = form.format(name)
        (message,) = messages(source)
        assert message in (f"access to '{name}' is not allowed", f"use of '{name}' is not allowed"), source
        if message.startswith("access"):
            assert f": it leads {why}\n" in judged(source).report


@pytest.mark.parametrize("name", [name for name in ATTRIBUTES if "_" in name])
def test_each_of_them_is_refused_in_a_string_that_could_name_it(name: str) -> None:
    left, right = split(name)
    forms = [form.format(name) for form in IN_STRINGS]
    forms += [
        f"getattr(x, '{left}' + '{right}')",
        f"getattr(x, '{left}' + ('{right}' + ''))",
        f"getattr(x, f'{left}{{\"{right}\"}}')",
        f"getattr(x, f'{{\"{left}\"}}' + '{right}')",
        f"('{{0.{left}' + '{right}}}').format(x)",
    ]
    for source in forms:
        assert messages(source) == [f"access to '{name}' in a string is not allowed"], source


@pytest.mark.parametrize(
    "source",
    [
        "'It has a __class__ of its own'",
        "'''A class.\n\n    Its __dict__ is small; see {this}.\n    '''",
        "print('{} {:.2f} {0[__class__]} {name}'.format(1, 2, name=3))",
        "getattr(x, 'columns')",
        "x.__init__, x.__name__, x.__doc__, x.__len__(), x.__version__, x.__eq__(y), x.__add__",
        "'{0.real} {0.imag}'.format(1j)",
        "'{a.__name__}'.format(a=int)",
        "getattr(x, '__name__')",
        "{'__init__': 1, 'mro': 2}",
        "'mro'",
        "b'__class__'",
        "f'{x!r:>{width}}'",
        "'%(a.b)s' % x",
        "x.klass, x.dict, x.globals, x.code",
    ],
)
def test_what_only_looks_like_an_attribute_passes(source: str) -> None:
    assert messages(source) == []


def test_a_text_put_together_of_very_many_parts_is_not_followed_to_its_end() -> None:
    assert messages(" + ".join(["'x'"] * 900) + " + '__class__'") == [
        "access to '__class__' in a string is not allowed"
    ]


# Places


@pytest.mark.parametrize(
    ("source", "line", "column"),
    [
        ("import os", 1, 8),
        ("import math, os", 1, 14),
        ("from os import path", 1, 1),
        ("\n\n  \nx = eval", 4, 5),
        ("def f():\n\timport os", 2, 9),
        ("é = 1; eval('1')", 1, 8),
        ("'🐍🐍', eval", 1, 7),
        ("'€' + x.__class__", 1, 7),
        ("ｘ = '‮'; import os", 1, 17),
        ("# é\n'é'; import os\n# é", 2, 13),
        ("x = 1\r\n'é'; import os", 2, 13),
        ("x = 1\r'é'; import os", 2, 13),
        ("x = 'a\x0cb'\n\x0cimport os", 2, 9),
        ("x = '''\u2028\x85\n'''; import os", 2, 13),
        ("x = (\n  1 +\n  eval)", 3, 3),
        ("match x:\n  case a.b(__class__=c): pass", 2, 8),
        ("'é' '{0.__class__}'", 1, 1),
        ("f('é', '__class__')", 1, 8),
    ],
)
def test_a_violation_is_at_its_line_and_column_in_characters_from_1(source: str, line: int, column: int) -> None:
    (violation,) = judged(source).violations
    assert (violation.line, violation.column) == (line, column)
    assert judged(source).report.startswith(f"line {line}, column {column}: ")
    assert judged(source).sentence.endswith(f" (line {line})")


def test_every_violation_is_told_in_the_order_of_the_text_and_the_first_is_the_error() -> None:
    source = "def f():\n    return eval('1'), x.__dict__\nclass A: import os\nimport sys, socket\nx = '__class__'\n"
    finding = judged(source)
    assert finding.sentence == "Security violation: use of 'eval' is not allowed (line 2)"
    assert [(violation.line, violation.column, violation.message) for violation in finding.violations] == [
        (2, 12, "use of 'eval' is not allowed"),
        (2, 23, "access to '__dict__' is not allowed"),
        (3, 17, "import of 'os' is not allowed"),
        (4, 8, "import of 'sys' is not allowed"),
        (4, 13, "import of 'socket' is not allowed"),
        (5, 5, "access to '__class__' in a string is not allowed"),
    ]
    assert finding.report.count("\n") == 6


def test_two_in_one_place_are_both_told() -> None:
    assert messages("'{0.__class__.__mro__}'") == [
        "access to '__class__' in a string is not allowed",
        "access to '__mro__' in a string is not allowed",
    ]
    assert messages("x.__class__.__mro__") == [
        "access to '__class__' is not allowed",
        "access to '__mro__' is not allowed",
    ]
    assert messages("from os import __builtins__ as __class__") == [
        "import of 'os' is not allowed",
        "access to '__builtins__' is not allowed",
        "access to '__class__' is not allowed",
    ]


def test_very_many_violations_are_counted_and_cut_short() -> None:
    finding = judged("import os\n" * 5000)
    assert (len(finding.violations), finding.more) == (100, 4900)
    lines = finding.report.splitlines()
    assert len(lines) == 101
    assert (lines[0], lines[-1]) == ("line 1, column 8: import of 'os' is not allowed", "and 4900 more")


def test_a_very_long_name_is_cut_short_in_its_message() -> None:
    assert len(judged(f"import {'x' * 10**5}").report) < 250


# Trees of any depth and size


@pytest.mark.parametrize(
    "wrap",
    [
        lambda node: ast.UnaryOp(ast.USub(), node),
        lambda node: ast.Attribute(node, "real", ast.Load(), lineno=1, col_offset=0),
        lambda node: ast.BinOp(node, ast.Add(), ast.Constant(1, lineno=1, col_offset=0), lineno=1, col_offset=0),
        lambda node: ast.JoinedStr([ast.FormattedValue(node, -1)], lineno=1, col_offset=0),
        lambda node: ast.Expr(ast.Lambda(ast.arguments([], [], None, [], [], None, []), node)),
    ],
    ids=["operators", "attributes", "sums", "f-strings", "lambdas"],
)
def test_a_tree_deeper_than_any_stack_is_judged_to_its_bottom(wrap) -> None:
    node: ast.AST = ast.Name("eval", ast.Load(), lineno=1, col_offset=0)
    for _ in range(10_000):
        node = wrap(node)
    finding = policy.examine(node, "eval", MODULES)
    assert [violation.message for violation in finding.violations] == ["use of 'eval' is not allowed"]
    assert policy.examine(node, "eval", MODULES).sentence == finding.sentence


def test_an_empty_program_and_one_of_comments_have_nothing_to_refuse() -> None:
    for source in ("", "\n", "# import os\n", "'''import os'''", "pass"):
        assert judged(source) == policy.Finding((), 0, frozenset())


# Code that must pass

HARMLESS = {
    "a class": (
        "from dataclasses import dataclass, field\nfrom typing import Self\n\n@dataclass\nclass Point:\n"
        "    '''A point; its __dict__ has x and y.'''\n    __slots__ = ('x', 'y')\n    x: float\n    y: float = 0\n"
        "    def __init__(self, x, y):\n        super().__init__()\n        self.x, self.y = x, y\n"
        "    def __repr__(self):\n        return f'{type(self).__name__}({self.x!r}, {self.y:.2f})'\n"
        "    def __eq__(self, other):\n        return isinstance(other, Point) and self.x == other.x\n"
        "    def __hash__(self):\n        return hash((self.x, self.y))\n"
        "    def __reduce__(self):\n        return Point, (self.x, self.y)\n"
        "    def __getattr__(self, name):\n        return getattr(self.inner, name)\n"
    ),
    "a script": "def main():\n    print('Hello')\n\nif __name__ == '__main__':\n    main()",
    "a frame": (
        "import io\nimport numpy as np, pandas as pd\nframe = pd.read_csv(io.StringIO('open,close\\n1,2'))\n"
        "frame['up'] = frame.close > frame.open\nprint(frame.eval('close - open').describe(), pd.__version__)\n"
        "print(frame.groupby('up').agg({'open': 'mean'}).to_dict())\nsetattr(frame, 'name', 'prices')"
    ),
    "a figure": (
        "import matplotlib\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as plt\nfrom io import BytesIO\n"
        "import base64\nfig, ax = plt.subplots()\nax.plot([1, 2])\nbuffer = BytesIO()\n"
        "fig.savefig(buffer, format='png')\nprint(base64.b64encode(buffer.getvalue())[:10])"
    ),
    "symbols": "import sympy as sp\nx, y = sp.symbols('x y')\nprint(sp.solve(x**2 - 4*x + 3, x), sp.latex(x / y))",
    "learning": (
        "from sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import StandardScaler\n"
        "from sklearn.linear_model import LinearRegression\n"
        "model = make_pipeline(StandardScaler(), LinearRegression())\n"
        "print(model.fit([[0], [1]], [0, 1]).score([[0], [1]], [0, 1]), model.named_steps)"
    ),
    "text": (
        "import re, string, textwrap\npattern = re.compile(r'(?P<name>\\w+)')\n"
        "template = '{name:>10} {0} {1[key]} {2.real}'\n"
        "print(template.format(1, {'key': 2}, 3, name='x'), pattern.sub('', 'a_b__c'), string.ascii_letters)"
    ),
    "generators": "def count():\n    yield from range(3)\nprint(list(count()), *map(str, (x for x in count())))",
    "an error": "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    print(error, type(error).__name__)",
    "annotations": "from __future__ import annotations\nimport typing as t\ndef f(x: 'list[int]') -> t.Any: ...",
    "matching": "match {'a': [1, 2]}:\n    case {'a': [x, *rest], **others}:\n        print(x, rest, others)",
    "input": "try:\n    name = input('Who? ')\nexcept EOFError:\n    exit()",
    "operators": "import operator as op, functools as f\nprint(f.reduce(op.mul, [1, 2]), op.attrgetter('real')(1))",
}  # fmt: skip


@pytest.mark.parametrize("source", HARMLESS.values(), ids=HARMLESS)
def test_harmless_code_passes(source: str) -> None:
    assert judged(source).report == ""
