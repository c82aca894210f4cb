"""MIME bundles of values and figures, as Jupyter makes them: bounded, and never in the way of the step.

A bundle maps MIME types to texts; those of binary types are in base64. What makes the forms of a value is the user's:
it may fail in every way, lie about its class, and be of any size.
"""

import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from json.encoder import encode_basestring_ascii
from typing import Any

from sandbox.limits import MIB

Forms = dict[str, str | bytes]
Bundle = dict[str, str]

MOST_BYTES = 12 * MIB  # of all bundles of an execution, as JSON; more does not fit the frame of its answer
MOST_BUNDLES = 200
MOST_FORMS = 10  # of one bundle; all together are strings that the other side takes for harmless
_PIECE = 64 * 1024  # characters that are looked at together, so that looking takes little memory
_MOST_WORDS = 1000  # characters of an error
_METHODS = (
    ("_repr_html_", "text/html"),
    ("_repr_markdown_", "text/markdown"),
    ("_repr_svg_", "image/svg+xml"),
    ("_repr_png_", "image/png"),
    ("_repr_jpeg_", "image/jpeg"),
    ("_repr_latex_", "text/latex"),
)


class Budget:
    """Bounds what one execution shows. `say` tells what is left out, and what failed."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.begin()

    def begin(self) -> None:
        """An execution begins."""
        self._bytes = MOST_BYTES
        self._bundles = MOST_BUNDLES
        self.truncated = False

    def say(self, text: str) -> None:
        """Tell it, if the code has left us a stream to tell it on."""
        with suppress(Exception):
            self._say(f"display: {text}\n")

    def has_room(self) -> bool:
        """Whether another bundle may be shown. The first that may not is told."""
        if self._bundles == 0:
            self._bundles = -1
            self._leave_out(f"an execution shows {MOST_BUNDLES} outputs; the others are left out")
        return self._bundles > 0

    def fit(self, forms: Forms) -> Bundle | None:
        """The bundle of what may be shown, without the forms that are too large; None when nothing may."""
        if not self.has_room():
            return None
        if len(forms) > MOST_FORMS:
            self._leave_out(f"an output has {MOST_FORMS} types; the others are left out")
            forms = dict(list(forms.items())[:MOST_FORMS])
        self._bundles -= 1
        return {mime: text for mime, form in forms.items() if (text := self._fitting(mime, form)) is not None} or None

    def _fitting(self, mime: str, form: str | bytes) -> str | None:
        size = len(mime) + len(form)
        if size <= self._bytes:  # else it is not looked at: that could take more memory than there is
            text = _text(form)
            size = _json_bytes(mime) + _json_bytes(text)
            if size <= self._bytes:
                self._bytes -= size
                return text
        self._leave_out(f"{mime[:100]} of {len(form):,} characters is left out: an execution shows 12 MiB")
        return None

    def _leave_out(self, words: str) -> None:
        self.truncated = True
        self.say(words)


def rich(value: object, budget: Budget) -> Forms:
    """The forms that a value has besides its repr; empty when it has none. What fails is told, and left out."""
    if issubclass(type(value), type):
        return {}
    found: Forms = _attempt("_repr_mimebundle_", budget, _bundle_of, value) or {}
    for method, mime in _METHODS:
        if mime not in found and (form := _attempt(method, budget, _form_of, value, method)) is not None:
            found[mime] = form
    if is_figure(value) and (png := _attempt("savefig", budget, _png, value)) is not None:
        found["image/png"] = png
    return found


def is_figure(value: object) -> bool:
    """Whether it is a figure of matplotlib's."""
    figure = getattr(_module("matplotlib.figure"), "Figure", None)
    return isinstance(figure, type) and issubclass(type(value), figure)


def figures(budget: Budget, describe: Callable[[object], str]) -> Iterator[Forms]:
    """The figures of pyplot's that are open, in order; all are closed when this ends.

    `describe` gives a figure's plain text. Those for which there is no room are not drawn.
    """
    pyplot = _module("matplotlib.pyplot")
    if pyplot is None:
        return
    numbers = _attempt("get_fignums", budget, lambda: list(pyplot.get_fignums()))
    if not numbers:
        return
    try:
        for number in numbers:
            if not budget.has_room():
                return
            figure = _attempt("figure", budget, lambda number: pyplot.figure(number), number)
            yield {**rich(figure, budget), "text/plain": describe(figure)}
            close_figure(number)
    finally:
        close_figure("all")


def close_figure(figure: object) -> None:
    """One figure, or `all`: it is not shown at the end of the step."""
    with suppress(Exception):  # pyplot is open to the user, who may have put anything there
        pyplot = _module("matplotlib.pyplot")
        if pyplot is not None:
            pyplot.close(figure)


def _module(name: str) -> Any:
    modules = getattr(sys, "modules", None)
    return modules.get(name) if isinstance(modules, dict) else None


def _ask(value: object, method: str) -> Any:
    """What a method gives, if the value's class has it: an object that has any attribute has no rich form."""
    return getattr(value, method)() if hasattr(type(value), method) else None


def _form_of(value: object, method: str) -> str | bytes | None:
    return _plain(_ask(value, method))


def _bundle_of(value: object) -> Forms:
    made = _ask(value, "_repr_mimebundle_")
    if issubclass(type(made), tuple) and len(made):
        made = made[0]  # behind it is metadata, which nobody shows
    if not issubclass(type(made), dict):
        return {}
    return {mime: plain for mime, form in dict.items(made) if type(mime) is str and (plain := _plain(form)) is not None}


def _plain(form: object) -> str | bytes | None:
    """A form without what a class of the user's adds to text or bytes; None for what is neither."""
    if issubclass(type(form), str):
        return str.__str__(form)
    return b"".join((form,)) if issubclass(type(form), bytes) else None  # type: ignore[arg-type]


def _attempt(what: str, budget: Budget, make: Callable[..., Any], *of: Any) -> Any:
    try:
        return make(*of)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        budget.say(f"{what} failed: {_words(error)}")
        return None


def _words(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:_MOST_WORDS]
    except KeyboardInterrupt:
        raise
    except BaseException:
        return "an error that cannot be shown"


def _png(figure: Any) -> bytes:
    image = BytesIO()
    figure.savefig(image, format="png", bbox_inches="tight")
    return image.getvalue()


def _text(form: str | bytes) -> str:
    """A form as text that can be sent."""
    if isinstance(form, bytes):
        return b64encode(form).decode()
    return form if form.isascii() else form.encode("utf-8", "backslashreplace").decode()


def _json_bytes(text: str) -> int:
    """How long it is in JSON."""
    return sum(len(encode_basestring_ascii(text[at : at + _PIECE])) for at in range(0, len(text), _PIECE))
