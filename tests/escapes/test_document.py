"""docs/escapes.md is the table."""

from tests.escapes.document import DOCUMENT, text


def test_the_document_shows_the_table() -> None:
    assert DOCUMENT.read_text() == text(), "python -m tests.escapes.document writes it anew"
