"""What the code of a run may import, call and reach by name, judged on its syntax tree before anything of it runs.

This is policy and a good error message: a name that is put together while the code runs passes it. The wall is what
holds then.
"""

import ast
import re
from collections.abc import Callable
from typing import Any, NamedTuple

_MOST_REPORTED = 100
_NAMED_CHARS = 100  # of a name in a message


class Allow(NamedTuple):
    """Modules that may be imported, with all that is below them."""

    names: str
    why: str


class Deny(NamedTuple):
    """Names that are refused."""

    names: str
    why: str


MODULES = (
    Allow("math cmath decimal fractions statistics", "arithmetic"),
    Allow("numpy pandas collections itertools functools", "data"),
    Allow("sympy scipy matplotlib sklearn", "the scientific libraries"),
    Allow("datetime json csv re random", "everyday work"),
    Allow("numbers operator heapq bisect array copy graphlib", "the rest of arithmetic and data: they reach nothing"),
    Allow("typing dataclasses enum abc contextlib warnings __future__", "what the code of a class or a notebook uses"),
    Allow("string textwrap unicodedata difflib pprint struct base64 binascii hashlib uuid", "text and bytes"),
    Allow("calendar zoneinfo", "dates; time is refused, for a run has a clock of its own in execution_time"),
    Allow("io", "StringIO and BytesIO: figures and tables are made in memory; its ways to files are refused below"),
)
MEMBERS = {"io": Deny("open open_code FileIO", "files cannot be reached from a run")}

# Functions that every program has. Those that are refused:
BUILTINS = (
    Deny("eval exec compile", "it runs text that was not checked"),
    Deny("__import__", "it imports what was not checked"),
    Deny("open file", "files cannot be reached from a run; io.StringIO and io.BytesIO hold text and bytes"),
    Deny("globals locals vars", "a namespace as a dictionary leads to everything else"),
    Deny("breakpoint", "nobody is there to debug"),
)
# And their kin, which are not.
HARMLESS_BUILTINS = (
    Allow("getattr setattr delattr hasattr", "columns and methods have names; refused ones are found in the text"),
    Allow("dir type super object id", "they show what is there; the attributes that lead on are refused"),
    Allow("input", "it tells that there is no input"),
    Allow("exit quit", "they end the run"),
    Allow("print help memoryview", "they reach nothing"),
)

ATTRIBUTES = (
    Deny("__class__ __base__ __bases__ __mro__ __subclasses__ mro", "from a value to all classes of the process"),
    Deny("__globals__ __builtins__ __closure__ __code__ __func__ __self__ __wrapped__", "from a function to a module"),
    Deny("__dict__ __getattribute__ __reduce__ __reduce_ex__ __objclass__", "around the attributes that are refused"),
    Deny("__import__ __loader__ __spec__ __path__ __file__ __cached__", "from a module to the import system"),
    Deny("__traceback__ tb_frame tb_next f_back f_builtins f_code f_globals f_locals", "to the frames that called"),
    Deny("gi_frame gi_code gi_yieldfrom cr_frame cr_code cr_origin ag_frame ag_code", "to frames by a generator"),
    Deny("func_globals func_code co_code", "the same by older names"),
)


def _table(rows: tuple[Allow, ...] | tuple[Deny, ...]) -> dict[str, str]:
    return {name: row.why for row in rows for name in row.names.split()}


DEFAULT_MODULES = tuple(_table(MODULES))
_BUILTINS = _table(BUILTINS)
_ATTRIBUTES = _table(ATTRIBUTES)
_MEMBERS = {module: _table((row,)) for module, row in MEMBERS.items()}
_GONE_BUILTINS = {"file"}  # Python 3 has it no more: what binds the name may use it
_NAMES = {name for name in _ATTRIBUTES if name.startswith("__")}  # the others are harmless as names
_IN_A_STRING = {name for name in _ATTRIBUTES if "_" in name}  # the others are words
_DOTTED = re.compile(r"[\w.]+")
_OF_A_FIELD = re.compile(r"\.(\w+)")


class Violation(NamedTuple):
    line: int  # from 1
    column: int  # from 1, in characters
    message: str
    why: str = ""


class Finding(NamedTuple):
    """What an examination found. Many violations are counted only (`more`); `packages`: that are imported."""

    violations: tuple[Violation, ...]  # in the order of the text
    more: int
    packages: frozenset[str]

    @property
    def sentence(self) -> str:
        """The first violation, as an error."""
        first = self.violations[0]
        return f"Security violation: {first.message} (line {first.line})"

    @property
    def report(self) -> str:
        """A line for each."""
        lines = [f"line {v.line}, column {v.column}: {v.message}{v.why and ': ' + v.why}\n" for v in self.violations]
        if self.more:
            lines.append(f"and {self.more} more\n")
        return "".join(lines)


def examine(tree: ast.AST, source: str, modules: frozenset[str]) -> Finding:
    """Judge a program. `modules`: the dotted names that may be imported, with all below them."""
    checker = _Checker(modules)
    checker.visit_all(tree)
    checker.judge_names()
    found = sorted(set(checker.found))
    lines = re.split("\r\n|\r|\n", source)  # as Python counts them
    shown = tuple(v._replace(column=_characters(lines, v)) for v in found[:_MOST_REPORTED])
    return Finding(shown, len(found) - len(shown), frozenset(checker.packages))


def _characters(lines: list[str], violation: Violation) -> int:
    """A column as a person counts it: the tree counts bytes, from 0."""
    line = lines[violation.line - 1] if violation.line <= len(lines) else ""
    return len(line.encode("utf-8", "surrogatepass")[: violation.column].decode("utf-8", "ignore")) + 1


_BINDING = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)


class _Checker:
    """Visits each node of a tree, without recursion: a tree may be deeper than Python's own stack."""

    def __init__(self, modules: frozenset[str]) -> None:
        self.found: list[Violation] = []
        self.packages: set[str] = set()
        self._modules = modules
        self._bound: set[str] = set()  # names that the program gives a value
        self._builtins: list[ast.Name] = []  # uses of those that are refused
        self._joined: set[int] = set()  # nodes that are parts of a text which was judged as a whole
        self._most_parts = 1 + max((name.count(".") for name in modules), default=0)
        self._aliases: dict[str, str] = {}  # name: the module of MEMBERS that it stands for
        self._members: list[ast.Attribute] = []  # attributes of a plain name
        self._visitors: dict[type[ast.AST], Callable[[Any], None]] = {
            ast.Import: self._see_import,
            ast.ImportFrom: self._see_import_from,
            ast.Name: self._see_name,
            ast.Attribute: self._see_attribute,
            ast.MatchClass: self._see_match_class,
            ast.Global: self._see_global,
            ast.Constant: self._see_constant,
            ast.BinOp: self._see_joined,
            ast.JoinedStr: self._see_joined,
            ast.arg: lambda node: self._bound.add(node.arg),
            ast.MatchMapping: lambda node: self._bound.add(node.rest),
            **dict.fromkeys(_BINDING, lambda node: self._bound.add(node.name)),
        }

    def visit_all(self, tree: ast.AST) -> None:
        waiting = [tree]
        while waiting:
            node = waiting.pop()
            visitor = self._visitors.get(type(node))
            if visitor is not None:
                visitor(node)
            waiting.extend(ast.iter_child_nodes(node))

    def judge_names(self) -> None:
        """Last, for what a name stands for may be told behind its use in the text."""
        for node in self._builtins:
            why = _BUILTINS[node.id]
            if node.id in self._bound:
                if node.id in _GONE_BUILTINS:
                    continue
                why += "; what is your own needs another name"
            self._refuse(node, f"use of '{node.id}' is not allowed", why)
        for member in self._members:
            assert isinstance(member.value, ast.Name)
            module = self._aliases.get(member.value.id, "")
            if member.attr in _MEMBERS.get(module, ()):
                self._refuse(member, f"use of '{module}.{member.attr}' is not allowed", _MEMBERS[module][member.attr])

    def _see_import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._judge_import(alias, alias.name)
            self._alias(alias, alias.name)
            self._bind(alias)

    def _see_import_from(self, node: ast.ImportFrom) -> None:
        module = "." * node.level + (node.module or "")
        self._judge_import(node, module)
        for alias in node.names:
            self._judge_name(alias, alias.name)
            self._bind(alias)
            for name in _MEMBERS.get(module, ()) if alias.name == "*" else (alias.name,):
                if name in _MEMBERS.get(module, ()):
                    self._refuse(alias, f"use of '{module}.{name}' is not allowed", _MEMBERS[module][name])

    def _see_name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._bound.add(node.id)
        elif node.id in _BUILTINS:
            self._builtins.append(node)
            return
        if node.id in _NAMES:
            self._judge_name(node, node.id)

    def _see_attribute(self, node: ast.Attribute) -> None:
        self._judge_name(node, node.attr)
        if isinstance(node.value, ast.Name):
            self._members.append(node)

    def _see_match_class(self, node: ast.MatchClass) -> None:
        for name in node.kwd_attrs:  # `case object(__class__=c)` reads the attribute
            self._judge_name(node, name)

    def _see_global(self, node: ast.Global) -> None:
        for name in node.names:
            self._judge_name(node, name)

    def _see_constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self._judge_text(node, node.value)

    def _see_joined(self, node: ast.BinOp | ast.JoinedStr) -> None:
        """Text that is put together, by + or in an f-string: what stands side by side in it is one text."""
        if id(node) in self._joined:
            return
        parts: list[str] = []
        waiting: list[ast.expr] = [node]
        while waiting:
            part = waiting.pop()
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                parts.append(part.value)
                continue
            if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Add):
                waiting += (part.right, part.left)
            elif isinstance(part, ast.JoinedStr):
                waiting += reversed(part.values)
            elif isinstance(part, ast.FormattedValue) and part.conversion == -1 and part.format_spec is None:
                waiting.append(part.value)
            else:
                self._judge_text(node, "".join(parts))
                parts.clear()
            self._joined.add(id(part))
        self._judge_text(node, "".join(parts))

    def _judge_import(self, node: ast.AST, module: str) -> None:
        parts = module.split(".")
        self.packages.add(parts[0])
        if not any(".".join(parts[:count]) in self._modules for count in range(1, self._most_parts + 1)):
            self._refuse(node, f"import of '{module[:_NAMED_CHARS]}' is not allowed")

    def _bind(self, alias: ast.alias) -> None:
        self._bound.add(alias.asname or alias.name)
        self._judge_name(alias, alias.asname)

    def _alias(self, alias: ast.alias, module: str) -> None:
        if module in _MEMBERS:
            self._aliases[alias.asname or module] = module

    def _judge_name(self, node: ast.AST, name: str | None) -> None:
        if name in _ATTRIBUTES:
            self._refuse(node, f"access to '{name}' is not allowed", f"it leads {_ATTRIBUTES[name]}")

    def _judge_text(self, node: ast.AST, text: str) -> None:
        """Text that names an attribute: for getattr, for operator.attrgetter, or in a field for str.format."""
        if "_" not in text:
            return
        if _DOTTED.fullmatch(text):
            named = set(text.split("."))
        else:
            named = set(_OF_A_FIELD.findall(text, text.find("{"))) if "{" in text else set()
        for name in named & _IN_A_STRING:
            self._refuse(node, f"access to '{name}' in a string is not allowed", f"it leads {_ATTRIBUTES[name]}")

    def _refuse(self, node: ast.AST, message: str, why: str = "") -> None:
        line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
        self.found.append(Violation(line, column, message, why))
