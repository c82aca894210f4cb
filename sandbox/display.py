"""MIME bundles of values and figures, as Jupyter makes them: bounded, and never in the way of the step.

A bundle maps MIME types to texts; those of binary types are in base64.
"""

import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from io import BytesIO
from json.encoder import encode_basestring_ascii
from typing import Any

from sandbox.limits import MIB

Bundle = dict[str, str]

MOST_BYTES = 12 * MIB  # of all bundles of an execution, as JSON; more does not fit the frame of its answer
MOST_BUNDLES = 200
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

    @property
    def is_spent(self) -> bool:
        return self._bundles <= 0

    def fit(self, bundle: Bundle) -> Bundle | None:
        """What of a bundle may be shown, without its types that are too large; None when nothing may."""
        if self.is_spent:
            if not self.truncated:
                self._say(f"display: an execution shows {MOST_BUNDLES} outputs; the others are left out\n")
            self.truncated = True
            return None
        fitting = {}
        for mime, text in bundle.items():
            size = len(encode_basestring_ascii(text))
            if size > self._bytes:
                self.truncated = True
                self._say(f"display: {mime} of {len(text):,} characters is left out: an execution shows 12 MiB\n")
                continue
            self._bytes -= size
            fitting[mime] = text
        self._bundles -= 1
        return fitting or None


def rich(value: object, say: Callable[[str], None]) -> Bundle:
    """The forms that a value has besides its repr; empty when it has none. What fails is told, and left out."""
    if isinstance(value, type):
        return {}
    found: Bundle = {}
    forms = _ask(value, "_repr_mimebundle_", say)
    forms = forms[0] if isinstance(forms, tuple) and forms else forms  # with metadata, which nobody shows
    if isinstance(forms, dict):
        found = {str(mime): text for mime, form in forms.items() if (text := _text(form)) is not None}
    for method, mime in _METHODS:
        if mime not in found and (text := _text(_ask(value, method, say))) is not None:
            found[mime] = text
    if is_figure(value) and (png := _attempt("savefig", say, lambda: _png(value))):
        found["image/png"] = png
    return found


def is_figure(value: object) -> bool:
    """Whether it is a figure of matplotlib's."""
    module = sys.modules.get("matplotlib.figure")
    return module is not None and isinstance(value, module.Figure)


def figures(say: Callable[[str], None]) -> Iterator[Bundle]:
    """The figures of pyplot's that are open, in order; they are closed when this ends."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None or not (numbers := pyplot.get_fignums()):
        return
    try:
        for number in numbers:
            figure = pyplot.figure(number)
            yield {**rich(figure, say), "text/plain": repr(figure)}
            pyplot.close(number)
    finally:
        pyplot.close("all")


def close_figure(figure: object) -> None:
    """One figure, or `all`: it is not shown at the end of the step."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close(figure)


def _ask(value: object, method: str, say: Callable[[str], None]) -> Any:
    """What a method gives, if the value's class has it: an object that has any attribute has no rich form."""
    return _attempt(method, say, lambda: getattr(value, method)() if hasattr(type(value), method) else None)


def _attempt(what: str, say: Callable[[str], None], make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception as error:
        say(f"display: {what} failed: {_words(error)}\n")
        return None


def _words(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return "an error that cannot be shown"


def _png(figure: Any) -> str:
    image = BytesIO()
    figure.savefig(image, format="png", bbox_inches="tight")
    return b64encode(image.getvalue()).decode()


def _text(form: object) -> str | None:
    """A form as text that can be sent; None for what is none."""
    if isinstance(form, bytes):
        return b64encode(form).decode()
    return form.encode("utf-8", "backslashreplace").decode() if isinstance(form, str) else None
