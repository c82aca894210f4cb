"""Allow and deny lists of functions and headers, held against real identifiers.

A call can be hidden from any one way of looking, so there are three: the syntax tree of the expanded source (which
line; what is a local variable, a member, a function of the student's own), its tokens (`asm`, attributes, pragmas),
and the undefined symbols of the object (function pointers, aliases, what no parser understood).
What a program computes at run time, an address from another function's, is beyond all of them: the wall holds then.
"""

import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import tree_sitter_c
from tree_sitter import Language, Node, Parser

from judge import tokens
from judge.expanded import Expanded, Macro, cut
from judge.submission import NameRefusal

MOST_EXPANDED = 4 * 2**20  # characters: macros can make a source of one kilobyte endless
_INCLUDE_FOLDERS = ("/usr/include/x86_64-linux-gnu/", "/usr/include/aarch64-linux-gnu/", "/usr/include/", "./")

# Part of the language, though they look like functions or are macros around a built-in.
_LANGUAGE = frozenset("va_start va_arg va_end va_copy offsetof static_assert".split())
# Variables of the C library: they are undefined symbols, too, and no functions.
_VARIABLES = frozenset(
    "stdin stdout stderr environ __environ _environ optarg optind opterr optopt signgam timezone daylight tzname "
    "__timezone __daylight __tzname program_invocation_name program_invocation_short_name errno h_errno sys_errlist "
    "sys_siglist _GLOBAL_OFFSET_TABLE_ _DYNAMIC __dso_handle".split()
)
# Each of them reaches any function, by a number or by a text: with them, a list would say nothing.
_REACH_ANYTHING = {
    "syscall": "calls the kernel by number",
    "dlsym": "finds any function by a text",
    "dlvsym": "finds any function by a text",
    "dlopen": "loads any library",
    "dlmopen": "loads any library",
    "dl_iterate_phdr": "finds any library in memory",
    "__libc_dlsym": "finds any function by a text",
    "__libc_dlopen_mode": "loads any library",
}
_KEYWORDS = frozenset(  # that look like functions where they are used
    "sizeof typeof __typeof__ __typeof _Alignof alignof __alignof__ __alignof _Alignas alignas _Generic _Static_assert "
    "__attribute__ __attribute __extension__ _Atomic if while for switch return asm __asm __asm__".split()
)
_ASM = frozenset(("asm", "__asm", "__asm__"))
# What gcc calls where the source does not: copies of structures, printf of a constant, checks, division.
_INSERTED = re.compile(
    r"mem(?:cpy|set|move|cmp|chr)|puts|putchar|fputs|fputc|fwrite|putc|str(?:cpy|len|chr|cmp)|stpcpy|abort|sincosf?l?"
    r"|__(?:asan|ubsan|lsan|sanitizer|tsan|stack_chk|gcov|emutls|tls|cxa|gmon|mcount|fentry)\w*|_Unwind_\w+|_ITM_\w+"
    r"|__\w+[sdtxh][ifc]\d?|_GLOBAL_OFFSET_TABLE_|__memcpy_chk|__builtin_\w+"
)
# Beside these words (or `#pragma weak`), another name than the written one may be what is called.
_RENAMES = frozenset(("weakref", "__weakref__", "alias", "__alias__", "ifunc", "__ifunc__", *_ASM))
_ALIAS_PREFIX = re.compile(r"__builtin_|__libc_|__isoc99_|__isoc23_|__GI_|_IO_(?=[a-z])|__(?=[a-z])")

_ALIAS_SUFFIX = re.compile(r"(?:_chk|_nocancel|_internal|_2|64)+$")
_LONGEST_ALIAS, _MOST_ALIASES = 100, 4  # `__builtin___memcpy_chk`; hostile names have a thousand prefixes
_MOST_SEARCHED = 50  # symbols that only strings or pragmas can tell the line of
_MOST_TOLD = 100  # refusals

_LANGUAGE_C = Language(tree_sitter_c.language())
_DECLARES = {"declaration", "parameter_declaration", "type_definition"}


@dataclass(frozen=True, slots=True)
class Use:
    """A name that the code uses. `names`: all that it goes by; `shown` is what the student knows it as."""

    shown: str
    line: int | None
    names: frozenset[str]
    free: bool = False  # no function of the library's: a list of allowed functions need not name it


@dataclass(slots=True)
class Lists:
    """The two lists, functions and headers apart. An empty list restricts nothing."""

    allowed: frozenset[str] = frozenset()
    allowed_headers: frozenset[str] = frozenset()
    denied: frozenset[str] = frozenset()
    denied_headers: frozenset[str] = frozenset()

    @classmethod
    def of(cls, whitelisted: Sequence[str], blacklisted: Sequence[str]) -> "Lists":
        white, black = {_entry(text) for text in whitelisted} - {""}, {_entry(text) for text in blacklisted} - {""}
        return cls(
            frozenset(filter(_is_function, white)),
            frozenset(_header(name) for name in white if not _is_function(name)),
            frozenset(filter(_is_function, black)),
            frozenset(_header(name) for name in black if not _is_function(name)),
        )

    def __bool__(self) -> bool:
        return bool(self.allowed or self.allowed_headers or self.denied or self.denied_headers)


@dataclass(slots=True)
class Scene:
    """All that is known about a source when the lists are held against it."""

    source: tokens.Source
    expanded: Expanded
    words: dict[str, int] = field(default_factory=dict)  # of the expanded source, with the first line
    strings: list[tuple[str, int]] = field(default_factory=list)  # adjacent ones joined
    own: set[str] = field(default_factory=set)  # functions that the student defines
    local: set[str] = field(default_factory=set)  # variables, parameters, types: no functions
    calls: dict[str, int] = field(default_factory=dict)
    mentions: dict[str, int] = field(default_factory=dict)  # identifiers, where they do not declare
    brought: dict[str, list[str]] = field(default_factory=dict)  # by which of the headers' macros in the source
    lines: dict[str, int] = field(default_factory=dict)  # of each form of a name, a call's before a mention's
    searched: int = 0

    @property
    def renames(self) -> bool:
        return not _RENAMES.isdisjoint(self.words) or any(
            re.search(r"redefine_extname|\bweak\b", text) for text, _ in self.expanded.pragmas
        )


def check(
    code: str,
    whitelisted: Sequence[str],
    blacklisted: Sequence[str],
    preprocessed: str | None = None,
    undefined: Collection[str] = (),
    defined: Collection[str] = (),
) -> tuple[NameRefusal, ...]:
    """What the lists refuse, in the order of the lines. Without `preprocessed`: only what is certain from the source.

    `preprocessed` is the code after `gcc -E -dD -dI`, `undefined` and `defined` are the symbols of its object.
    """
    lists = Lists.of(whitelisted, blacklisted)
    if not lists:
        return ()
    source = tokens.read(code, "??" in code)
    found = [*_forgeries(code, source)]
    if not found and preprocessed is None:
        found = [*_certain(code, source, lists)]
    elif not found and preprocessed is not None:
        found = [*_in_full(source, cut(preprocessed), lists, undefined, defined)]
    return _sorted(found)


def defines_main(code: str) -> int | None:
    """The line on which the code defines a function `main`, as far as it does so without macros."""
    if "main" not in code:
        return None
    found = [*tokens.outside_of_directives(code)]
    text = [token.text for token in found]
    named, depth, nested = 0, 0, 0  # the line of a main that may be defined; how deep in braces, in parentheses
    for place, token in enumerate(found):
        around = text[place - 1 : place + 3] if place else ["", *text[:3]]
        if depth == 0 and (around[1:3] == ["main", "("] or around == ["(", "main", ")", "("]) and nested <= 1:
            named = token.line
        elif token.text in (";", "=", ",") and nested == 0:
            named = 0
        depth += (token.text == "{") - (token.text == "}")
        nested += (token.text == "(") - (token.text == ")")
        if named and token.text == "{" and nested == 0:
            return named
    return None


def _certain(code: str, source: tokens.Source, lists: Lists) -> Iterator[NameRefusal]:
    """What the source alone proves: with directives or spliced lines in it, it takes the preprocessor to tell."""
    if any(directive.name != "include" for directive in source.directives) or re.search(r"\\\s*\n|\?\?|%:", code):
        return
    includes = [(rest.strip().strip('<>"').replace(" ", ""), line) for rest, line in _includes(source)]
    yield from _headers(includes, lists)
    rows = ["" if line.lstrip().startswith("#") else line for line in code.split("\n")]
    scene = _scene(source, Expanded("\n".join(rows), [*range(1, len(rows) + 1)]), ())
    yield from _held_against(Lists(denied=lists.denied), _mentioned(scene))


def _includes(source: tokens.Source) -> Iterator[tuple[str, int]]:
    yield from ((directive.rest, directive.line) for directive in source.directives if directive.name == "include")


def _in_full(
    source: tokens.Source, expanded: Expanded, lists: Lists, undefined: Collection[str], defined: Collection[str]
) -> Iterator[NameRefusal]:
    if len(expanded.text) > MOST_EXPANDED:
        yield NameRefusal("#define", None, "the macros expand to more than can be checked against the lists")
        return
    scene = _scene(source, expanded, defined)
    yield from _headers(expanded.includes, lists)
    yield from _assembly(scene, lists)
    uses = [*_called(scene), *_linked(scene, undefined)]
    yield from _held_against(lists, uses)
    yield from _held_against(Lists(denied=lists.denied), (*_mentioned(scene), *_macros(scene)))
    if lists.allowed or lists.denied:
        yield from _reaching(uses, lists)


def _forgeries(code: str, source: tokens.Source) -> Iterator[NameRefusal]:
    """What could make a part of the source look as if it came from a header."""
    sources = (source, tokens.read(code)) if "??" in code else (source,)
    for seen in sources:
        for directive in seen.directives:
            if directive.name == "line":
                yield NameRefusal(
                    "#line", directive.line, f"#line is not allowed together with a list (line {directive.line})"
                )
        if seen.raw_string is not None:
            line = seen.raw_string
            yield NameRefusal('R"', line, f"a raw string is not allowed together with a list (line {line})")


def _headers(includes: Sequence[tuple[str, int]], lists: Lists) -> Iterator[NameRefusal]:
    for path, line in includes:
        header = _header(path)
        denied = any(header == name or header.endswith("/" + name) for name in lists.denied_headers)
        if denied or (lists.allowed_headers and header not in lists.allowed_headers):
            yield NameRefusal(header, line, _sentence(f"header '{header}'", line, denied))


def _held_against(lists: Lists, uses: Iterable[Use]) -> Iterator[NameRefusal]:
    for use in uses:
        if denied := sorted(lists.denied & use.names):
            yield NameRefusal(denied[0], use.line, _sentence(f"'{denied[0]}'", use.line, True))
        elif lists.allowed and not use.free and lists.allowed.isdisjoint(use.names):
            shown = use.shown[:_LONGEST_ALIAS]
            yield NameRefusal(shown, use.line, _sentence(f"'{shown}'", use.line, False))


def _assembly(scene: Scene, lists: Lists) -> Iterator[NameRefusal]:
    """Assembly code can call anything; an empty one (a barrier) cannot."""
    if not (lists.allowed or lists.denied) or not _ASM.isdisjoint(lists.allowed):
        return
    spelled = {word for text, _ in scene.strings for word in re.findall(r"\w+", text)}
    for word in sorted(_ASM & scene.words.keys()):
        if word not in scene.source.words and word in scene.brought:
            continue
        line = scene.words[word]
        named = sorted(lists.denied & spelled)
        for name in named:
            yield NameRefusal(name, line, f"'{name}' is not allowed, in inline assembly neither (line {line})")
        if not named and _asm_says_something(scene.expanded.text):
            yield NameRefusal("asm", line, f"inline assembly can call anything: 'asm' is not allowed (line {line})")


def _asm_says_something(text: str) -> bool:
    """Whether any assembly in it has a text. One that is not understood has."""
    for match in re.finditer(r"\b__asm__\b|\basm\b|\b__asm\b", text):
        rest = text[match.end() : match.end() + 200]
        if not re.match(r'\s*(?:(?:volatile|__volatile__|__volatile|inline|goto)\s*)*\(\s*(?:""\s*)+[:)]', rest):
            return True
    return False


def _reaching(uses: Sequence[Use], lists: Lists) -> Iterator[NameRefusal]:
    for use in uses:
        for name in sorted(use.names & _REACH_ANYTHING.keys()):
            if name not in lists.allowed:
                why = f"'{name}' {_REACH_ANYTHING[name]}, and is not allowed together with a list"
                yield NameRefusal(name, use.line, why + _at(use.line))


def _called(scene: Scene) -> Iterator[Use]:
    """By the syntax: what is called, and gcc's built-in functions wherever they are mentioned."""
    builtin = {name: line for name, line in scene.mentions.items() if name.startswith("__builtin_")}
    for name, line in {**builtin, **scene.calls}.items():
        if name not in scene.own and name not in scene.local:
            yield from _uses(name, line, scene)


def _linked(scene: Scene, undefined: Collection[str]) -> Iterator[Use]:
    """By the object: what it wants from the library, but for what gcc added."""
    for symbol in sorted({name.partition("@")[0] for name in undefined}):
        if _INSERTED.fullmatch(symbol) and not scene.renames and scene.lines.keys().isdisjoint(_forms(symbol)):
            continue
        yield from _uses(symbol, _line_of(symbol, scene), scene)


def _mentioned(scene: Scene) -> Iterator[Use]:
    """Each identifier, keywords too, that is neither a variable of the student's nor the name of a member."""
    for name, line in scene.mentions.items():
        if name not in scene.local:
            yield from _uses(name, line, scene)
    for keyword in ("goto", "while", "for", "do", "switch", "if", "return", "break", "continue", "union", "struct"):
        if keyword in scene.words:
            yield Use(keyword, scene.words[keyword], frozenset((keyword,)))


def _macros(scene: Scene) -> Iterator[Use]:
    """Macros of the headers that the student's source names: INT_MAX, assert."""
    for word, line in scene.source.words.items():
        if word in scene.expanded.macros and word not in scene.local:
            yield Use(word, line, frozenset((word,)))


def _uses(name: str, line: int | None, scene: Scene) -> Iterator[Use]:
    """The use of a name. One that the student did not write is used by each macro of theirs that brings it."""
    forms = _forms(name)
    free = name in _VARIABLES or name in _KEYWORDS or not _LANGUAGE.isdisjoint(forms)
    macros = [] if name in scene.source.words else scene.brought.get(name, [])
    for macro in macros:
        spared = free or macro in _LANGUAGE or not scene.expanded.macros[macro].takes_arguments
        yield Use(macro, scene.source.words[macro], forms | {macro}, spared)
    if not macros:
        yield Use(name if name in scene.words else min(forms, key=len), line, forms, free)


def _reach(macro: str, known: dict[str, Macro]) -> set[str]:
    """All identifiers that the expansion of a macro can show."""
    seen, waiting = set[str](), [macro]
    while waiting:
        body = known[waiting.pop()].body
        fresh = set(re.findall(r"[^\W\d]\w*", body)) - seen
        seen |= fresh
        waiting += fresh & known.keys()
    return seen


def _line_of(symbol: str, scene: Scene) -> int | None:
    """Where the source names a symbol: as an identifier, else in a string (asm, attributes) or a pragma."""
    forms = _forms(symbol)
    lines = [scene.lines[form] for form in forms if form in scene.lines]
    if lines:
        return min(lines)
    scene.searched += 1
    for text, line in (*scene.strings, *scene.expanded.pragmas) if scene.searched <= _MOST_SEARCHED else ():
        if any(form in text and re.search(rf"\b{re.escape(form)}\b", text) for form in forms):
            return line
    return None


def _forms(name: str) -> frozenset[str]:
    """A name, and what is the same function under another: `__builtin_malloc` is `malloc`, `fopen64` is `fopen`."""
    forms = {name}
    for _ in range(_MOST_ALIASES if len(name) <= _LONGEST_ALIAS else 0):
        match = _ALIAS_PREFIX.match(name)
        if match is None:
            break
        name = name[match.end() :]
        forms |= {name, _ALIAS_SUFFIX.sub("", name)}
    forms |= {form.removesuffix("64") for form in forms if len(form) > 4}
    return frozenset(forms)


def _scene(source: tokens.Source, expanded: Expanded, defined: Collection[str]) -> Scene:
    scene = Scene(source, expanded, own=set(defined))
    for word in source.words.keys() & expanded.macros.keys():
        for name in _reach(word, expanded.macros):
            scene.brought.setdefault(name, []).append(word)
    _read_words(scene)
    _read_tree(scene)
    for found in (scene.calls, scene.mentions, scene.words):
        for name, line in found.items():
            for form in _forms(name):
                scene.lines.setdefault(form, line)
    return scene


def _read_words(scene: Scene) -> None:
    lines = scene.expanded.lines
    parts: list[str] = []  # of a string: adjacent literals are one
    begins = 0
    for token in tokens.tokens(scene.expanded.text):
        line = lines[min(token.line, len(lines)) - 1]
        if token.kind == "string":
            begins = begins if parts else line
            parts.append(tokens.text_of(token.text))
        elif token.kind != "newline" and parts:
            scene.strings.append(("".join(parts), begins))
            parts.clear()
        if token.kind == "word":
            scene.words.setdefault(token.text, line)


def _read_tree(scene: Scene) -> None:
    """What the syntax tree tells. A part that is not understood declares nothing, so nothing is excused by it."""
    identifiers: list[Node] = []
    declaring: set[int] = set()  # where an identifier only declares what is defined elsewhere, or a variable
    for node in _walk(scene.expanded.text):
        kind = node.type
        if kind == "identifier":
            identifiers.append(node)
        elif kind == "call_expression":
            for name in _reached_from(node.child_by_field_name("function")):
                scene.calls.setdefault(_text(name), _line(name, scene))
        elif kind == "function_definition":
            defined, _ = _declared(node.child_by_field_name("declarator"))
            if defined is not None:
                scene.own.add(_text(defined))
        elif kind in _DECLARES:
            declaring.update(_declares(node, scene))
        elif kind == "enumerator" and (constant := node.child_by_field_name("name")) is not None:
            declaring.add(constant.start_byte)
            scene.local.add(_text(constant))
    for node in identifiers:
        if node.start_byte not in declaring:
            scene.mentions.setdefault(_text(node), _line(node, scene))


def _declares(node: Node, scene: Scene) -> Iterator[int]:
    """Where a declaration has its names. Those of variables and types are noted as the student's."""
    extern = any(child.type == "storage_class_specifier" and _text(child) == "extern" for child in node.children)
    for declarator in node.children_by_field_name("declarator"):
        name, is_function = _declared(declarator)
        if name is not None:
            yield name.start_byte
            if not is_function and not extern:
                scene.local.add(_text(name))


def _walk(text: str) -> Iterator[Node]:
    """All nodes, outermost first. With a cursor: a query takes for ever on some hostile texts."""
    cursor = Parser(_LANGUAGE_C).parse(text.encode(errors="replace")).walk()
    while True:
        if cursor.node is not None:
            yield cursor.node
        if cursor.goto_first_child() or cursor.goto_next_sibling():
            continue
        while cursor.goto_parent():
            if cursor.goto_next_sibling():
                break
        else:
            return


def _declared(node: Node | None) -> tuple[Node | None, bool]:
    """The name in a declarator, and whether it is a function's: `(*p)(void)` is a variable's."""
    is_function = False
    while node is not None and node.type not in ("identifier", "type_identifier"):
        if node.type == "function_declarator":
            is_function = True
        elif node.type in ("pointer_declarator", "array_declarator"):
            is_function = False
        inner = node.child_by_field_name("declarator")
        node = inner or next(
            (child for child in node.named_children if "identifier" in child.type or child.type.endswith("declarator")),
            None,
        )
    return node, is_function


def _reached_from(node: Node | None) -> Iterator[Node]:
    """The identifiers that a called expression may be: not its arguments, members or types."""
    waiting = [node] if node is not None else []
    while waiting:
        node = waiting.pop()
        if node.type == "identifier":
            yield node
        elif node.type not in ("argument_list", "type_descriptor", "field_expression", "call_expression"):
            waiting += node.named_children


def _line(node: Node, scene: Scene) -> int:
    return scene.expanded.lines[min(node.start_point.row, len(scene.expanded.lines) - 1)]


def _text(node: Node) -> str:
    return (node.text or b"").decode(errors="replace")


def _entry(text: str) -> str:
    """An entry of a list as it is compared: `<stdio.h>` is `stdio.h`, `malloc()` is `malloc`."""
    return text.strip().removesuffix("()").strip().removeprefix("#include").strip().strip('<>"').strip()


def _is_function(name: str) -> bool:
    return not ("/" in name or "." in name)


def _header(path: str) -> str:
    path = posixpath.normpath(path.strip())
    for folder in _INCLUDE_FOLDERS:
        path = path.removeprefix(folder)
    return path


def _sentence(what: str, line: int | None, denied: bool) -> str:
    return what + (" is forbidden by the blacklist" if denied else " is not on the whitelist") + _at(line)


def _at(line: int | None) -> str:
    return "" if line is None else f" (line {line})"


def _sorted(found: Collection[NameRefusal]) -> tuple[NameRefusal, ...]:
    """Each name once, at its first line. A name can be as long as a source."""
    first: dict[str, NameRefusal] = {}
    for refusal in sorted(found, key=lambda refusal: (refusal.line is None, refusal.line or 0)):
        first.setdefault(refusal.name, refusal)
    return tuple(first.values())[:_MOST_TOLD]
