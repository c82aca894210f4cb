"""Keys in a real browser: the notebook asks for one, and Swagger UI sends one."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect

from server.keys import new_key
from tests.conftest import Server, running
from tests.live.browsing import Watched, chromium, needs_chromium

pytestmark = needs_chromium

TOKEN, ENTRY = new_key("ada")
OTHER_TOKEN, OTHER_ENTRY = new_key("bob")
REFUSED = "Failed to load resource: the server responded with a status of 40"  # 1, and 4 of another key's session


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("keyed") / "server.log"
    with running(log, API_KEYS=f"{ENTRY},{OTHER_ENTRY}", SESSION_LIBRARIES="plain", POOL_SIZE=2) as server:
        yield server.wait_ready("plain")


class Asked:
    """What the pages of a context sent."""

    def __init__(self, context: BrowserContext) -> None:
        self.requests: list[Request] = []
        context.on("request", lambda request: self.requests.append(request))

    def keys(self, path: str) -> list[str | None]:
        """The header with the key, of each request to this path."""
        return [request.headers.get("authorization") for request in self.requests if request.url.endswith(path)]


@pytest.fixture
def context(browser: Browser, keyed: Server) -> Iterator[BrowserContext]:
    """Afterwards: the browser has complained of nothing but that a key was wanted, and no address has one."""
    context = browser.new_context(viewport={"width": 1280, "height": 1400})
    context.set_default_timeout(20_000)
    watched = Watched(context)
    yield context
    context.close()
    assert [said for said in watched.complaints if not said.startswith(REFUSED)] == []
    assert watched.elsewhere(keyed.url) == []
    assert not [address for address in watched.requested if "pyrunner_" in address]


@pytest.fixture
def notebook(context: BrowserContext, keyed: Server) -> Callable[[], Page]:
    def open_page() -> Page:
        page = context.new_page()
        page.goto(f"{keyed.url}/notebook")
        expect(page.locator("body[data-ready]")).to_have_count(1)
        return page

    return open_page


def start(page: Page, code: str) -> None:
    """A new cell at the end, which is told to run."""
    page.locator(".cell").last.locator(".cm-content").click()
    page.get_by_role("button", name="+ Code", exact=True).click()
    page.keyboard.insert_text(code)
    page.keyboard.press("Control+Enter")


def result(page: Page) -> Any:
    return expect(page.locator(".cell").last.locator(".outputs"))


def storages(page: Page) -> tuple[str, str]:
    """All that the browser keeps for ever, and for the life of the tab."""
    local, tab = page.evaluate("() => [JSON.stringify(localStorage), JSON.stringify(sessionStorage)]")
    return local + page.evaluate("() => document.cookie"), tab


def test_the_notebook_asks_for_the_key_and_goes_on(context: BrowserContext, notebook: Callable[[], Page]) -> None:
    asked, page = Asked(context), notebook()
    dialog = page.get_by_role("dialog", name="A key, please")
    expect(dialog).to_be_hidden()
    start(page, "6 * 7")
    expect(dialog).to_be_visible()
    expect(dialog).to_have_accessible_description(
        "This server wants a key: send it in the header Authorization: Bearer KEY."
    )
    field = dialog.get_by_label("Key", exact=True)
    expect(field).to_be_focused()
    expect(field).to_have_attribute("type", "password")
    page.keyboard.type("nonsense")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("This key is not known here")
    expect(field).to_have_value("")
    field.fill(f" {TOKEN} ")
    dialog.get_by_role("button", name="Use this key").click()
    expect(dialog).to_be_hidden()
    result(page).to_contain_text("42")
    start(page, "6 * 8")
    result(page).to_contain_text("48")
    assert asked.keys("/execute") == [None, "Bearer nonsense", f"Bearer {TOKEN}", f"Bearer {TOKEN}"]
    expect(page.locator("#badge")).to_have_attribute("data-state", "idle")


def test_the_key_is_kept_in_its_tab_only(notebook: Callable[[], Page]) -> None:
    page = notebook()
    start(page, "1")
    page.get_by_label("Key", exact=True).fill(TOKEN)
    page.keyboard.press("Enter")
    result(page).to_contain_text("1")
    for_ever, in_tab = storages(page)
    assert TOKEN not in for_ever and TOKEN in in_tab
    assert TOKEN not in page.content()
    page.reload()
    start(page, "2")
    result(page).to_contain_text("2")
    other = notebook()
    assert TOKEN not in storages(other)[1]


def test_who_gives_no_key_is_told_so_and_can_go_on_typing(notebook: Callable[[], Page]) -> None:
    page = notebook()
    dialog = page.get_by_role("dialog", name="A key, please")
    start(page, "1")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    result(page).to_contain_text("This server wants a key")
    page.locator(".cell").last.locator(".cm-content").click()
    page.keyboard.type(" + 1")
    page.keyboard.press("Control+Enter")
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()


def test_what_can_not_be_a_key_is_not_sent(context: BrowserContext, notebook: Callable[[], Page]) -> None:
    asked, page = Asked(context), notebook()
    start(page, "1")
    for impossible in ("two words", "schlüssel", "🔑"):
        page.get_by_label("Key", exact=True).fill(impossible)
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("A key has letters")
    assert asked.keys("/execute") == [None]


def test_letters_that_are_typed_into_the_field_are_no_commands(notebook: Callable[[], Page]) -> None:
    page = notebook()
    start(page, "1")
    count = page.locator(".cell").count()
    page.get_by_label("Key", exact=True).press_sequentially("abddzm0000?")
    expect(page.locator(".cell")).to_have_count(count)
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()


def test_with_another_key_the_session_of_before_is_not_there(notebook: Callable[[], Page]) -> None:
    page = notebook()
    start(page, "x = 1; x")
    page.get_by_label("Key", exact=True).fill(TOKEN)
    page.keyboard.press("Enter")
    result(page).to_contain_text("1")
    page.evaluate(f"() => sessionStorage.setItem('pyrunner.api-key', {json.dumps(OTHER_TOKEN)})")
    expect(page.locator(".notice[data-subject=lost]")).to_contain_text("no such session")


def test_swagger_ui_runs_code_with_a_key(context: BrowserContext, keyed: Server) -> None:
    page = context.new_page()
    page.goto(f"{keyed.url}/docs")
    box = page.locator(".opblock", has=page.get_by_text("/execute", exact=True))
    box.locator(".opblock-summary-control").click()
    box.get_by_role("button", name="Try it out").click()
    status = box.locator(".live-responses-table tr.response .response-col_status")
    box.get_by_role("button", name="Execute", exact=True).click()
    expect(status).to_contain_text("401")
    page.get_by_role("button", name="Authorize", exact=True).first.click()
    dialog = page.locator(".dialog-ux")
    dialog.get_by_role("textbox").fill(TOKEN)
    dialog.get_by_role("button", name="Apply credentials").click()
    dialog.get_by_role("button", name="Close").click()
    box.get_by_role("button", name="Execute", exact=True).click()
    expect(status).to_contain_text("200")
    expect(box.locator(".live-responses-table .highlight-code").first).to_contain_text('"stdout": "Hello\\n"')


def test_without_keys_swagger_ui_offers_none(browser: Browser, server: Server) -> None:
    page = browser.new_page()
    page.goto(f"{server.url}/docs")
    expect(page.locator(".opblock").first).to_be_visible()
    expect(page.get_by_role("button", name="Authorize")).to_have_count(0)
    page.close()
