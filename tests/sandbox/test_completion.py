"""Names that go on, and what names stand for: which, from where, and how long it takes to tell."""

import builtins
import json
import time
from types import ModuleType
from typing import Any

import pytest

from sandbox import completion
from sandbox.completion import name_at


class Thing:
    """A thing.

    It has attributes.
    """

    size = 3
    _hidden = 4

    def grow(self, by: int = 1) -> int:
        """Grow it."""
        return by

    @property
    def slow(self) -> int:
        raise AssertionError("nobody asks for it")


def spaces(**names: Any) -> dict[str, Any]:
    return {"__builtins__": builtins, **names}


def complete(text: str, **names: Any) -> tuple[list[str], int]:
    told = json.loads(completion.complete(text, spaces(**names)))
    assert told.keys() == {"names", "start"}
    return told["names"], told["start"]


def look_up(name: str, **names: Any) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(completion.look_up(name, spaces(**names)))
    assert told.keys() == {"name", "signature", "doc"}
    return told


# Completion


def test_names_of_the_namespace_of_builtins_and_of_the_language() -> None:
    names, start = complete("x = pri", prices={})
    assert (names, start) == (["prices", "print"], 4)
    assert complete("whil") == (["while"], 0)
    assert complete("Zero") == (["ZeroDivisionError"], 0)


def test_attributes_of_a_dotted_name() -> None:
    thing = Thing()
    assert complete("thing.", thing=thing) == (["grow", "size", "slow"], 6)
    assert complete("y = thing.si", thing=thing) == (["size"], 10)
    assert complete("box.thing.gr", box=type("Box", (), {"thing": thing})) == (["grow"], 10)
    assert complete("str.jo") == (["join"], 4)


def test_names_with_an_underscore_are_told_to_those_who_begin_one() -> None:
    thing = Thing()
    assert complete("thing._h", thing=thing) == (["_hidden"], 6)
    assert "__class__" in complete("thing.__", thing=thing)[0]
    assert "__class__" not in complete("thing.", thing=thing)[0]


def test_names_come_without_brackets() -> None:
    def free() -> None: ...

    assert complete("fre", free=free) == (["free"], 0)
    assert complete("exi") == (["exit"], 0)


def test_case_does_not_part_what_belongs_together() -> None:
    assert complete("v.", v=type("V", (), {"b": 1, "A": 1, "C": 1})())[0] == ["A", "b", "C"]


def test_a_name_that_is_whole_is_not_repeated() -> None:
    assert complete("prin", prin=1) == (["print"], 0)
    assert complete("size", size=1) == ([], 0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "x = ",
        "x\n",  # the cursor is in the next line
        "x.\n",
        "f().ap",  # what it gives is not known without calling it
        "x[0].ap",
        "'text'.jo",
        "1e5.re",
        "5.",
        "5x",
        "nothing.at",
        "x.nothing.at",
        "x..re",
        "...",
        "é",
        "\0",
        "\ud800",
        "🐍.",
        "x" * 10**5,
    ],
)
def test_where_nothing_fits_there_are_no_names(text: str) -> None:
    names, start = complete(text, x=5, f=len)
    assert names == []
    assert start <= len(text)


def test_the_place_to_replace_is_counted_in_characters() -> None:
    assert complete("🐍 = é; größ", größe=1, é=2) == (["größe"], 7)


def test_so_many_names_are_told() -> None:
    many = {f"name_{n}": n for n in range(5000)}
    assert len(complete("name", **many)[0]) == 1000
    names, _ = complete("x.", x=type("X", (), dict.fromkeys(many)))
    assert len(names) == 1000


def test_what_is_listed_is_not_read() -> None:
    class Reads:
        def __getattribute__(self, name: str) -> Any:
            assert name in ("__dir__", "__class__", "__dict__"), name
            return super().__getattribute__(name)

        def attribute(self) -> None: ...

    assert "attribute" in complete("x.", x=Reads())[0]
    assert complete("x.sl", x=Thing())[0] == ["slow"]


class Lists:
    def __init__(self, names: list[Any]) -> None:
        self.names = names

    def __dir__(self) -> list[Any]:
        return self.names


def test_odd_names_are_left_out_or_sent_as_they_are() -> None:
    assert complete("x.", x=Lists(["a", "a b", "é", "\ud800"]))[0] == ["a", "a b", "é", "\ud800"]
    namespace = spaces(a_name=1) | {5: 1, None: 2}  # type: ignore[dict-item]
    assert json.loads(completion.complete("a_n", namespace))["names"] == ["a_name"]


@pytest.mark.parametrize(
    "found", [None, 5, vars(builtins), ModuleType("builtins"), {}], ids=["None", "5", "a dict", "empty", "nothing"]
)
def test_builtins_may_be_missing(found: Any) -> None:
    names = json.loads(completion.complete("prin", {"__builtins__": found, "prince": 1}))["names"]
    assert names == (["prince", "print"] if found is vars(builtins) else ["prince"])
    assert json.loads(completion.look_up("prince", {"prince": 1}))["name"] == "prince"


# What a name stands for


def test_a_function_has_a_signature_and_a_doc() -> None:
    assert look_up("thing.grow", thing=Thing()) == {
        "name": "thing.grow",
        "signature": "(by: int = 1) -> int",
        "doc": "Grow it.",
    }
    assert look_up("Thing", Thing=Thing) == {
        "name": "Thing",
        "signature": "()",
        "doc": "A thing.\n\nIt has attributes.",
    }


def test_a_value_has_the_doc_of_its_class() -> None:
    told = look_up("x", x=5)
    assert (told["name"], told["signature"]) == ("x", None)
    assert told["doc"].startswith("int(")


def test_none_is_something() -> None:
    assert look_up("x", x=None)["name"] == "x"
    assert look_up("box.x", box=type("Box", (), {"x": None}))["name"] == "box.x"


def test_builtins_are_known_and_may_have_no_signature() -> None:
    assert look_up("print")["doc"]
    assert look_up("print", print=5)["doc"].startswith("int(")
    assert look_up("type") == {"name": "type", "signature": None, "doc": builtins.type.__doc__}


@pytest.mark.parametrize("name", ["", "nothing", "x.nothing", "x.", ".x", "x..real", "5", "x real", "\ud800", "é.é"])
def test_what_is_not_there_has_no_name(name: str) -> None:
    assert look_up(name, x=5) == {"name": None, "signature": None, "doc": None}


def test_long_texts_are_cut() -> None:
    def long(x: Any = "y" * 50_000) -> None: ...

    long.__doc__ = "z" * 50_000
    told = look_up("long", long=long)
    assert len(told["signature"]) == len(told["doc"]) == 10_001
    assert told["doc"].endswith("z…")


@pytest.mark.parametrize("error", [ValueError, AttributeError, RecursionError])
def test_a_class_that_fails_when_asked_has_no_signature_and_no_doc(error: type[Exception]) -> None:
    class Fails:
        @property
        def __doc__(self) -> str:  # type: ignore[override]
            raise error

        @property
        def __signature__(self) -> str:
            raise error

        def __call__(self) -> None: ...

    told = look_up("x", x=Fails())
    assert told["name"] == "x" and told["doc"] is None


# The name at a place in a text


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("pri|nt", "print"),
        ("|print", "print"),
        ("print|", "print"),
        ("print(|", "print"),
        ("print(|x", "x"),
        ("print( |", ""),
        ("a.b|.c", "a.b"),
        ("a.b.c|", "a.b.c"),
        ("a|.b", "a"),
        ("a.|b", "a.b"),
        ("a.|", ""),
        ("f().b|", ""),
        ("x[0].b|", ""),
        ("1e5|", ""),
        ("y = größe|", "größe"),
        ("print|\n", "print"),
        ("print\n|", ""),
        ("|", ""),
        (" | ", ""),
        ("5|", ""),
        ("🐍|x", "x"),
    ],
)
def test_the_name_at_the_cursor(text: str, name: str) -> None:
    assert name_at(text.replace("|", ""), text.index("|")) == name


@pytest.mark.parametrize("cursor", [4, 5, 1000, 2**63, 10**30])
def test_a_cursor_behind_the_end_is_at_the_end(cursor: int) -> None:
    assert name_at("x = y", cursor + 1) == "y"


UNITS = ["a", "a.", ".a", "a ", "a(", "(", ".", "1a", "1", "é.", "_", " ", "\n", "a.b(", "\\"]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("end", ["", " ", "(", ".", "x y"])
def test_telling_takes_no_longer_than_reading(unit: str, end: str) -> None:
    text = unit * (10**6 // len(unit))
    started = time.process_time()
    name_at(text + end, len(text + end))
    name_at(text + end, 0)
    completion.complete(text + end, {})
    assert time.process_time() - started < 3, "some 30 ms, where trying each place anew takes hours"
