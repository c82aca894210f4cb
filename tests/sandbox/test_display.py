"""The forms of a value and the bounds on what is shown: whatever a value does when it is asked."""

from collections.abc import Callable
from json import dumps
from typing import Any

import pytest

from sandbox import display, wire
from sandbox.display import MOST_BUNDLES, MOST_BYTES, MOST_FORMS, Budget, rich
from sandbox.limits import ANSWER_FRAME_BYTES
from sandbox.outcome import Ended, Status, Usage


class Told(list[str]):
    """What the budget said."""

    @property
    def text(self) -> str:
        return "".join(self)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def budget(told: Told) -> Budget:
    return Budget(told.append)


def having(**methods: Callable[..., Any]) -> Any:
    """An object of a class with these methods."""
    return type("Value", (), methods)()


def raises(error: BaseException) -> Callable[..., Any]:
    def method(*args: Any, **kwargs: Any) -> Any:
        raise error

    return method


# The forms of a value


def test_each_method_gives_its_form(budget: Budget, told: Told) -> None:
    value = having(
        _repr_html_=lambda self: "<b>",
        _repr_markdown_=lambda self: "**b**",
        _repr_svg_=lambda self: "<svg/>",
        _repr_png_=lambda self: b"\x89PNG",
        _repr_jpeg_=lambda self: b"\xff\xd8",
        _repr_latex_=lambda self: "$b$",
    )
    assert budget.fit(rich(value, budget)) == {
        "text/html": "<b>",
        "text/markdown": "**b**",
        "image/svg+xml": "<svg/>",
        "image/png": "iVBORw==",
        "image/jpeg": "/9g=",
        "text/latex": "$b$",
    }
    assert not told and not budget.truncated


def test_a_mimebundle_comes_first_and_the_other_methods_add_to_it(budget: Budget) -> None:
    value = having(
        _repr_mimebundle_=lambda self, include=None, exclude=None: {"text/html": "whole", "application/x": "y"},
        _repr_html_=lambda self: "part",
        _repr_latex_=lambda self: "$x$",
    )
    assert rich(value, budget) == {"text/html": "whole", "application/x": "y", "text/latex": "$x$"}


@pytest.mark.parametrize(
    ("made", "forms"),
    [
        ({"a/b": "x"}, {"a/b": "x"}),
        (({"a/b": "x"}, {"a/b": {"width": 1}}), {"a/b": "x"}),
        ({"a/b": "x", "c/d": {"json": 1}, "e/f": None, "g/h": 5, 7: "x", None: "x"}, {"a/b": "x"}),
        ({"image/png": b"\0"}, {"image/png": b"\0"}),
        ((), {}),
        ([], {}),
        (None, {}),
        ("text", {}),
        (5, {}),
        (({},), {}),
    ],
)
def test_of_a_mimebundle_what_is_text_or_bytes_counts(budget: Budget, told: Told, made: Any, forms: Any) -> None:
    assert rich(having(_repr_mimebundle_=lambda self: made), budget) == forms
    assert not told


@pytest.mark.parametrize("made", [None, 5, [], {}, ("text", {}), object()])
def test_a_method_that_gives_no_text_gives_no_form(budget: Budget, told: Told, made: Any) -> None:
    assert rich(having(_repr_html_=lambda self: made), budget) == {}
    assert not told


def test_a_class_is_not_asked_for_the_forms_of_its_objects(budget: Budget, told: Told) -> None:
    assert rich(type(having(_repr_html_=lambda self: "x")), budget) == {}
    assert not told


def test_an_object_that_has_any_attribute_has_no_forms(budget: Budget, told: Told) -> None:
    assert rich(having(__getattr__=lambda self, name: lambda *args: name), budget) == {}
    assert not told


# Values that fail and lie


class Lies(str):
    """Text of a class that breaks all that is asked of it."""

    __len__ = __str__ = __repr__ = __eq__ = __hash__ = __iter__ = __getitem__ = raises(ValueError())  # type: ignore
    encode = isascii = __format__ = raises(ValueError())  # type: ignore[assignment]


class LiesInBytes(bytes):
    __len__ = __getitem__ = __iter__ = __bytes__ = __buffer__ = raises(ValueError())  # type: ignore


class LiesInDict(dict[Any, Any]):
    items = keys = values = __iter__ = __len__ = __bool__ = get = raises(ValueError())  # type: ignore


class LiesInTuple(tuple[Any, ...]):
    __len__ = __bool__ = __getitem__ = __iter__ = raises(ValueError())  # type: ignore


class Unsayable(Exception):
    __str__ = __repr__ = raises(SystemExit())  # type: ignore


@pytest.mark.parametrize(
    "error",
    [ValueError("why"), SystemExit(3), GeneratorExit(), MemoryError(), RecursionError(), StopIteration(), Unsayable()],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("method", ["_repr_mimebundle_", "_repr_html_", "_repr_png_"])
def test_a_method_that_raises_is_told_and_the_others_are_asked(
    budget: Budget, told: Told, method: str, error: BaseException
) -> None:
    assert rich(having(**{method: raises(error), "_repr_latex_": lambda self: "$x$"}), budget) == {"text/latex": "$x$"}
    words = "an error that cannot be shown" if isinstance(error, Unsayable) else f"{type(error).__name__}: {error}"
    assert told == [f"display: {method} failed: {words}\n"]


def test_an_interrupt_is_no_failure(budget: Budget) -> None:
    for error in (raises(KeyboardInterrupt()), property(raises(KeyboardInterrupt()))):
        with pytest.raises(KeyboardInterrupt):
            rich(having(_repr_html_=error), budget)


def test_a_property_that_raises_is_told(budget: Budget, told: Told) -> None:
    value = having(_repr_html_=property(raises(ValueError("why"))))
    assert rich(value, budget) == {}
    assert told == ["display: _repr_html_ failed: ValueError: why\n"]


@pytest.mark.parametrize("claims", [property(raises(ValueError())), type, int, 5, None])
def test_a_class_that_lies_is_seen_through(budget: Budget, told: Told, claims: Any) -> None:
    assert rich(having(__class__=claims, _repr_html_=lambda self: "x"), budget) == {"text/html": "x"}
    assert not told


def test_a_metaclass_that_fails_is_told(budget: Budget, told: Told) -> None:
    class Meta(type):
        def __getattr__(cls, name: str) -> Any:
            raise SystemExit

    assert rich(Meta("Value", (), {})(), budget) == {}
    assert told and all("SystemExit" in words for words in told)


def test_texts_bytes_and_bundles_of_odd_classes_are_taken_for_what_they_are(budget: Budget, told: Told) -> None:
    value = having(
        _repr_mimebundle_=lambda self: LiesInDict({"a/b": Lies("x")}),
        _repr_html_=lambda self: Lies("z"),
        _repr_png_=lambda self: LiesInBytes(b"\0"),
    )
    bundle = budget.fit(rich(value, budget))
    assert bundle == {"a/b": "x", "text/html": "z", "image/png": "AA=="}
    assert all(type(text) is str for text in bundle.values())
    assert rich(having(_repr_mimebundle_=lambda self: LiesInTuple(({},))), budget) == {}
    assert len(told) == 1


def test_a_stream_that_fails_is_nothing_to_the_value(told: Told) -> None:
    budget = Budget(raises(ValueError()))
    assert rich(having(_repr_html_=raises(ValueError()), _repr_latex_=lambda self: "$x$"), budget) == {
        "text/latex": "$x$"
    }
    assert budget.fit({"a/b": "x" * MOST_BYTES}) is None


def test_what_is_told_of_an_error_is_bounded(budget: Budget, told: Told) -> None:
    rich(having(_repr_html_=raises(ValueError("x" * 10**6))), budget)
    assert len(told.text) < 2000


# Bounds


def test_so_many_bundles_are_shown_and_the_first_that_is_not_is_told(budget: Budget, told: Told) -> None:
    shown = [budget.fit({"a/b": str(n)}) for n in range(MOST_BUNDLES + 100)]
    assert shown[:MOST_BUNDLES] == [{"a/b": str(n)} for n in range(MOST_BUNDLES)]
    assert set(map(str, shown[MOST_BUNDLES:])) == {"None"}
    assert budget.truncated and not budget.has_room()
    assert told == [f"display: an execution shows {MOST_BUNDLES} outputs; the others are left out\n"]
    budget.begin()
    assert budget.fit({"a/b": "x"}) == {"a/b": "x"} and not budget.truncated


@pytest.mark.parametrize(
    ("form", "fits"),
    [
        ("x" * (MOST_BYTES - 1000), True),
        ("x" * MOST_BYTES, False),
        ("\0" * (MOST_BYTES // 6 - 100), True),
        ("\0" * (MOST_BYTES // 6), False),
        ("é" * (MOST_BYTES // 6), False),
        ("🐍" * (MOST_BYTES // 12 - 100), True),
        ("\ud800" * (MOST_BYTES // 7 - 100), True),  # `\\ud800` in JSON
        ("\ud800" * (MOST_BYTES // 7), False),
        (b"x" * (MOST_BYTES // 4 * 3 - 1000), True),
        (b"x" * (MOST_BYTES // 4 * 3), False),
    ],
    ids=range(10),
)
def test_forms_are_measured_as_they_are_sent(budget: Budget, told: Told, form: str | bytes, fits: bool) -> None:
    bundle = budget.fit({"a/b": form, "text/plain": "small"})
    assert bundle is not None and bundle["text/plain"] == "small"
    assert ("a/b" in bundle) is fits is not budget.truncated
    assert len(dumps(bundle)) <= MOST_BYTES + 100
    words = f"display: a/b of {len(form):,} characters is left out: an execution shows 12 MiB\n"
    assert told == ([] if fits else [words])


def test_the_bound_is_on_all_bundles_together(budget: Budget) -> None:
    third = {"a/b": "x" * (MOST_BYTES // 3)}
    assert [budget.fit(third) is not None for _ in range(4)] == [True, True, False, False]
    assert budget.fit({"a/b": "x"}) == {"a/b": "x"}, "what is small may follow"


def test_so_many_types_has_a_bundle(budget: Budget, told: Told) -> None:
    bundle = budget.fit({f"a/{n}": "x" for n in range(5000)})
    assert bundle is not None and list(bundle) == [f"a/{n}" for n in range(MOST_FORMS)]
    assert budget.truncated and len(told) == 1


def test_the_name_of_a_type_counts_too(budget: Budget) -> None:
    assert budget.fit({"x" * MOST_BYTES: ""}) is None
    assert budget.truncated


@pytest.mark.parametrize("character", ["x", "\0", '"', "é", "🐍", "\ud800"])
def test_the_most_that_is_shown_fits_its_frame_and_is_taken(budget: Budget, character: str) -> None:
    forms = {f"a/{n}": character * (MOST_BYTES // (MOST_BUNDLES * MOST_FORMS * 14)) for n in range(MOST_FORMS)}
    bundles = [bundle for _ in range(MOST_BUNDLES) if (bundle := budget.fit(forms))]
    assert len(bundles) == MOST_BUNDLES
    frame = wire.answer(Ended(Status.DONE, Usage(), outputs=bundles))
    assert len(frame) < ANSWER_FRAME_BYTES
    assert wire.parse_answer(frame[4:]).outputs == bundles
    assert sum(len(wire.display(bundle, 0, 0)) for bundle in bundles) < ANSWER_FRAME_BYTES


def test_surrogates_and_null_bytes_are_sent_as_text(budget: Budget) -> None:
    assert budget.fit({"a/b": "\ud800\0é"}) == {"a/b": "\\ud800\0é"}


# Figures


def test_without_pyplot_there_are_no_figures(budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    for modules in ({}, {"matplotlib.pyplot": None}, None, 5):
        monkeypatch.setattr(display.sys, "modules", modules)
        assert list(display.figures(budget, repr)) == []
        assert not display.is_figure(5)
        display.close_figure("all")
    monkeypatch.undo()
