"""/docs in a real browser: what a visitor presses works, and nothing is asked of any other host."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.conftest import Server
from tests.live.browsing import Watched, chromium, needs_chromium

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def docs(browser: Browser, server: Server) -> Iterator[Page]:
    """The open page. Afterwards: it has reported nothing, and has asked only the server."""
    context = browser.new_context(viewport={"width": 1280, "height": 1400})
    watched = Watched(context)
    page = context.new_page()
    page.goto(f"{server.url}/docs")
    yield page
    context.close()
    assert watched.complaints == []
    assert f"{server.url}/openapi.json" in watched.requested
    assert watched.elsewhere(server.url) == []


def open_execute(docs: Page) -> Locator:
    """The opened box of POST /execute, ready for a press on Execute."""
    box = docs.locator(".opblock", has=docs.get_by_text("/execute", exact=True))
    box.locator(".opblock-summary").click()
    box.get_by_role("button", name="Try it out").click()
    return box


def press_execute(box: Locator) -> dict[str, object]:
    """The answer: as the server sent it, after it is seen on the page."""
    with box.page.expect_response("**/execute") as answered:
        box.get_by_role("button", name="Execute", exact=True).click()
    expect(box.locator(".live-responses-table tr.response .response-col_status")).to_contain_text("200")
    answer: dict[str, object] = answered.value.json()
    return answer


def shown(box: Locator) -> Locator:
    return box.locator(".live-responses-table .highlight-code").first


def test_try_it_out_then_execute_runs_the_first_example(docs: Page) -> None:
    box = open_execute(docs)
    press_execute(box)
    expect(shown(box)).to_contain_text('"stdout": "Hello\\n"')
    expect(shown(box)).to_contain_text('"result": "42"')
    expect(shown(box)).to_contain_text('"error": null')


def test_an_edited_body_is_what_runs(docs: Page) -> None:
    box = open_execute(docs)
    box.locator("textarea.body-param__text").fill('{"code": "print(sum(range(101)))"}')
    press_execute(box)
    expect(shown(box)).to_contain_text('"stdout": "5050\\n"')


def test_a_session_is_gone_on_with_and_closed_from_the_page(docs: Page) -> None:
    box = open_execute(docs)
    editor = box.locator("textarea.body-param__text")
    editor.fill('{"code": "x = 20"}')
    id = press_execute(box)["id"]
    editor.fill(f'{{"code": "x + 1", "id": "{id}"}}')
    assert press_execute(box)["result"] == "21"
    closing = docs.locator("#operations-Sessions-closeSession")
    closing.locator(".opblock-summary").click()
    closing.get_by_role("button", name="Try it out").click()
    closing.get_by_placeholder("id").fill(str(id))
    closing.get_by_role("button", name="Execute", exact=True).click()
    expect(closing.locator(".live-responses-table tr.response .response-col_status")).to_contain_text("204")


@pytest.mark.parametrize(
    ("example", "answer"),
    [
        ("step", '"result": "6.5"'),
        ("stdin", "Hello, Ada"),
        ("exception", "ZeroDivisionError"),
        ("numpy", "array([2., 3.])"),
    ],
)
def test_each_example_can_be_chosen_and_runs(docs: Page, example: str, answer: str) -> None:
    box = open_execute(docs)
    box.locator(".examples-select select").first.select_option(example)
    press_execute(box)
    expect(shown(box)).to_contain_text(answer)


def test_the_page_is_named_and_shows_each_operation(docs: Page, server: Server) -> None:
    expect(docs).to_have_title("PyRunner")
    paths = server.http.get(f"{server.url}/openapi.json", timeout=10).json()["paths"]
    expect(docs.locator(".opblock")).to_have_count(sum(map(len, paths.values())))
    expect(docs.locator(".validator-badge, img[src*='validator']")).to_have_count(0)
