"""/notebook in a real browser: what its user types, presses and reads; and what cells can not do to the page."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.conftest import Server
from tests.live.browsing import Watched, chromium, needs_chromium
from tests.rogues import SPIKES

pytestmark = needs_chromium

PLAIN = {"SESSION_LIBRARIES": "plain", "POOL_SIZE": 1}
LONG_MS = 20_000  # loading libraries on a busy machine


class Book:
    """The open page."""

    def __init__(self, page: Page, server: Server, watched: Watched) -> None:
        self.page = page
        self.server = server
        self.watched = watched

    @property
    def cells(self) -> Locator:
        return self.page.locator(".cell")

    @property
    def chosen(self) -> Locator:
        return self.page.locator(".cell.chosen")

    @property
    def badge(self) -> Locator:
        return self.page.locator("#badge")

    def notice(self, subject: str) -> Locator:
        return self.page.locator(f".notice[data-subject={subject}]")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def button(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def add(self, code: str) -> Locator:
        """A new cell at the end, with this code and the cursor in it."""
        last = self.cells.last
        last.locator(".cm-content").click()
        if source(last):
            self.button("+ Code")
        at = self.cells.count() - 1
        self.page.keyboard.insert_text(code)
        return self.cells.nth(at)

    def start(self, code: str) -> Locator:
        """A new cell that runs."""
        cell = self.add(code)
        self.press("Control+Enter")
        return cell

    def run(self, code: str) -> Locator:
        """A new cell that has run."""
        cell = self.start(code)
        self.wait()
        return cell

    def wait(self) -> None:
        """Until nothing runs."""
        expect(self.page.locator("body:not(.working)")).to_have_count(1, timeout=LONG_MS)

    def reload(self) -> None:
        self.page.reload()
        expect(self.page.locator("body[data-ready]")).to_have_count(1)


def source(cell: Locator) -> str:
    return cell.locator(".cm-content").inner_text().strip()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1100, "height": 1000}, accept_downloads=True)
    context.set_default_timeout(LONG_MS)
    yield context
    context.close()


@pytest.fixture
def open_book(context: BrowserContext) -> Iterator[Callable[[Server], Book]]:
    """Opens the page of a server: a new notebook of one empty cell.

    Afterwards: nothing was reported but what the test took from `complaints`, and only the server was asked.
    """
    books: list[Book] = []
    watched = Watched(context)

    def open_page(server: Server) -> Book:
        page = context.new_page()
        page.goto(f"{server.url}/notebook")
        expect(page.locator("body[data-ready]")).to_have_count(1)
        book = Book(page, server, watched)
        if not books:
            book.button("New")
        books.append(book)
        return book

    yield open_page
    context.close()
    assert watched.complaints == []
    assert watched.elsewhere(books[0].server.url) == []


@pytest.fixture
def book(open_book: Callable[[Server], Book], server: Server) -> Book:
    return open_book(server)


def outputs(cell: Locator) -> Locator:
    return cell.locator(".outputs")


# --- typing and running ---------------------------------------------------------------------------------------------


def test_what_is_typed_runs_and_its_value_is_shown(book: Book) -> None:
    book.chosen.locator(".cm-content").click()
    book.page.keyboard.type("x = 6\nprint('Hello')\nx * 7")
    book.press("Shift+Enter")
    cell = book.cells.first
    expect(outputs(cell).locator(".stdout")).to_have_text("Hello\n")
    expect(outputs(cell).locator(".result")).to_have_text("42")
    expect(cell.locator(".count")).to_have_text("[1]")
    expect(book.cells).to_have_count(2)
    expect(book.cells.nth(1).locator(".cm-content")).to_be_focused()


def test_a_semicolon_at_the_end_says_that_the_value_is_not_wanted(book: Book) -> None:
    expect(outputs(book.run("print('printed')\n6 * 7;  # no"))).to_have_text("printed\n")


def test_variables_stay_from_cell_to_cell_until_a_restart(book: Book) -> None:
    book.run("x = 20")
    expect(outputs(book.run("x + 1"))).to_have_text("21")
    book.button("Restart")
    expect(book.badge).to_contain_text("no session yet")
    expect(book.cells.first.locator(".count")).to_have_class(re.compile("stale"))
    expect(outputs(book.run("x"))).to_contain_text("NameError: name 'x' is not defined")


def test_output_is_seen_while_the_cell_runs_and_an_interrupt_keeps_the_variables(book: Book) -> None:
    cell = book.start("x = 5\nprint('begun')\nwhile True: pass")
    expect(outputs(cell)).to_contain_text("begun")
    expect(book.badge).to_contain_text("running")
    book.button("Interrupt")
    expect(outputs(cell).locator(".ending")).to_contain_text("It was interrupted")
    expect(outputs(cell).locator(".ending")).to_contain_text("The variables are still there")
    expect(outputs(cell)).to_contain_text("begun")
    expect(outputs(book.run("x"))).to_have_text("5")


def test_run_all_stops_at_the_first_cell_that_fails(book: Book) -> None:
    for code in ("print(1)", "1 / 0", "print(3)"):
        book.add(code)
    book.button("Run all")
    book.wait()
    expect(outputs(book.cells.nth(0))).to_contain_text("1")
    expect(outputs(book.cells.nth(1))).to_contain_text("ZeroDivisionError: division by zero")
    expect(outputs(book.cells.nth(2))).to_be_empty()


def test_the_time_limit_of_the_page_is_the_one_of_its_cells(book: Book) -> None:
    book.page.get_by_label("Time limit").fill("0.3")
    cell = book.run("while True: pass")
    expect(outputs(cell)).to_contain_text("It was stopped at its time limit (interrupted after 0.3 s)")


def test_input_is_read_from_the_field_below_the_cell(book: Book) -> None:
    cell = book.add("print('Hello', input(), input())")
    cell.get_by_label("What input() reads").fill("Ada\nLovelace")
    cell.get_by_role("button", name=re.compile("^Run cell")).click()
    expect(outputs(cell).locator(".stdout")).to_have_text("Hello Ada Lovelace\n")


def test_names_are_completed_from_the_session(book: Book) -> None:
    book.run("value_of_mine = 1")
    cell = book.add("")
    book.page.keyboard.type("value_")
    book.page.locator(".cm-tooltip-autocomplete li", has_text="value_of_mine").click()
    expect(cell.locator(".cm-content")).to_have_text("value_of_mine")


def test_a_name_is_explained_after_characters_of_any_width(book: Book) -> None:
    book.run("def 挨拶(name, greeting='😀'):\n    'Greets somebody.'")
    book.add("'😀😀'; 挨拶")
    book.press("Shift+Tab")
    tip = book.page.locator(".cm-tooltip.inspected, .cm-tooltip .inspected")
    expect(tip).to_contain_text("挨拶(name, greeting='😀')")
    expect(tip).to_contain_text("Greets somebody.")
    book.press("Escape")
    expect(tip).to_have_count(0)


# --- what is shown --------------------------------------------------------------------------------------------------


def test_a_plot_is_seen(book: Book) -> None:
    cell = book.run("import matplotlib.pyplot as plt\nfig = plt.figure(figsize=(4, 2))\nplt.plot([1, 3, 2])")
    image = outputs(cell).locator("img")
    expect(image).to_have_js_property("complete", True)
    expect(image).not_to_have_js_property("naturalWidth", 0)


def test_a_table_is_in_a_frame_that_may_do_nothing(book: Book) -> None:
    cell = book.run("import pandas as pd\npd.DataFrame({'city': ['Rome', 'Oslo'], 'n': [1, 2]})")
    frame = outputs(cell).locator("iframe")
    expect(frame).to_have_attribute("sandbox", "")
    expect(outputs(cell).frame_locator("iframe").locator("table")).to_contain_text("Oslo")
    expect(outputs(cell).locator(".display")).to_have_count(1)  # and not its repr once more


def test_style_of_html_output_is_shown(book: Book) -> None:
    html = "<style>b { color: rgb(1, 2, 3) }</style><b>a</b><i style='color: rgb(4, 5, 6)'>b</i>"
    cell = book.run(showing("text/html", html))
    inside = outputs(cell).frame_locator("iframe")
    expect(inside.locator("b")).to_have_css("color", "rgb(1, 2, 3)")
    expect(inside.locator("i")).to_have_css("color", "rgb(4, 5, 6)")


def test_a_formula_is_typeset(book: Book) -> None:
    cell = book.run("import sympy\nsympy.sqrt(sympy.Symbol('x')) / 2")
    expect(outputs(cell).locator("math msqrt")).to_have_count(1)


def test_a_formula_that_is_not_understood_is_shown_as_it_is(book: Book) -> None:
    cell = book.run(showing("text/latex", r"$\nonsense{x$"))
    expect(outputs(cell)).to_have_text(r"\nonsense{x")


def test_colours_and_lines_that_are_written_over(book: Book) -> None:
    cell = book.run("print('\\x1b[31mred\\x1b[0m plain')\nfor n in range(3): print(n, 'of 3', end='\\r')\nprint()")
    expect(outputs(cell).locator(".fg1")).to_have_text("red")
    expect(outputs(cell).locator(".stdout")).to_have_text("red plain\n2 of 3\n")


def test_displays_and_prints_are_in_their_order(book: Book) -> None:
    cell = book.run("print('a')\ndisplay('b')\nprint('c')")
    expect(outputs(cell).locator("> *")).to_have_text(["a\n", "'b'", "c\n"])


def test_text_cells_are_rendered(book: Book) -> None:
    book.button("+ Text")
    book.page.keyboard.insert_text("# Title\n\n**bold**, `code`, $x^2$, <b>no markup</b>\n\n- one\n- two")
    book.press("Shift+Enter")
    shown = book.page.locator(".cell.markdown .rendered")
    expect(shown.locator("h1")).to_have_text("Title")
    expect(shown.locator("strong")).to_have_text("bold")
    expect(shown.locator("math")).to_have_count(1)
    expect(shown.locator("li")).to_have_count(2)
    expect(shown).to_contain_text("<b>no markup</b>")


@pytest.mark.parametrize(("scheme", "paper"), [("light", "rgb(246, 247, 249)"), ("dark", "rgb(22, 24, 29)")])
def test_the_page_is_light_or_dark_as_its_user_wishes(book: Book, scheme: Any, paper: str) -> None:
    book.page.emulate_media(color_scheme=scheme)
    expect(book.page.locator("body")).to_have_css("background-color", paper)


# --- what is lost, and why ------------------------------------------------------------------------------------------


def test_a_session_that_is_lost_to_the_memory_limit_says_so(
    start_server: Callable[..., Server], open_book: Callable[[Server], Book]
) -> None:
    without_wall = {"ALLOW_STUBS_ONLY": "true", "SANDBOX_STEPS": "session"}  # which would refuse the memory beforehand
    book = open_book(start_server(**PLAIN, **without_wall))
    book.run("x = 1")
    cell = book.run(SPIKES["a shared mapping"].code + "\nimport time\ntime.sleep(1)")
    ending = outputs(cell).locator(".ending")
    expect(ending).to_contain_text(
        re.compile(r"reached the memory limit of the session \(killed: used \d+ of 100 MiB\)")
    )
    expect(ending).to_contain_text("The session is lost, and with it all variables")
    expect(book.notice("lost")).to_contain_text("memory limit exceeded")
    expect(book.badge).to_contain_text("no session yet")
    expect(outputs(book.run("'x' in dir()"))).to_have_text("False")
    expect(book.notice("lost")).to_have_count(0)


def test_an_allocation_past_the_limit_keeps_the_variables(book: Book) -> None:
    cell = book.run("x = 1\ny = bytearray(500 * 2**20)")
    expect(outputs(cell)).to_contain_text(
        "an allocation failed at the limit of 100 MiB). The variables are still there."
    )
    expect(outputs(book.run("x"))).to_have_text("1")


def test_a_crash_says_so(book: Book) -> None:
    cell = book.run("import os\nos._exit(3)")
    expect(outputs(cell)).to_contain_text("The Python process crashed (exit status 3). The session is lost")


def test_a_session_that_was_closed_when_idle_says_so_and_all_cells_run_again(
    start_server: Callable[..., Server], open_book: Callable[[Server], Book]
) -> None:
    book = open_book(start_server(**PLAIN, IDLE_TIMEOUT_SECONDS=1))
    book.run("x = 20")
    expect(book.notice("lost")).to_contain_text("was closed, for it was not used for 1 s", timeout=LONG_MS)
    expect(book.cells.first.locator(".cm-content")).to_have_text("x = 20")
    book.add("x + 1")
    book.notice("lost").get_by_role("button", name="Run all cells").click()
    expect(outputs(book.cells.nth(1))).to_have_text("21")
    book.watched.complaints.clear()  # of the browser, about a status of 404


def test_a_cell_that_finds_its_session_gone_says_what_became_of_it(book: Book) -> None:
    book.run("x = 1")
    idle = {"state": "idle", "idle": 0, "memory": 0}
    book.page.route("**/sessions/*", lambda route: route.fulfill(json=idle))  # the page does not see it beforehand
    book.server.close(book.server.http.get(f"{book.server.url}/sessions").json()["sessions"][-1]["id"])
    cell = book.run("x")
    expect(outputs(cell)).to_contain_text("Nothing was run, for the session is no more (closed by DELETE)")
    book.watched.complaints.clear()  # of the browser, about a look that was on its way when the session was closed


def test_typing_keeps_the_session_open(
    start_server: Callable[..., Server], open_book: Callable[[Server], Book]
) -> None:
    server = start_server(**PLAIN, IDLE_TIMEOUT_SECONDS=6)
    book = open_book(server)
    book.run("x = 1")
    book.add("typed")
    expect(book.badge).to_contain_text("idle")
    with book.page.expect_request("**/execute", timeout=LONG_MS) as asked:
        pass
    assert asked.value.post_data_json["code"] == "pass"


def test_all_sessions_in_use_says_so(start_server: Callable[..., Server], open_book: Callable[[Server], Book]) -> None:
    server = start_server(**PLAIN, MAX_SESSIONS=1)
    other = server.execute("1")["id"]
    book = open_book(server)
    cell = book.run("6 * 7")
    expect(outputs(cell)).to_contain_text("all sessions of the server are in use")
    server.close(other)
    cell.get_by_role("button", name=re.compile("^Run cell")).click()
    expect(outputs(cell)).to_have_text("42")


def test_a_server_that_goes_while_a_cell_runs(
    start_server: Callable[..., Server], open_book: Callable[[Server], Book]
) -> None:
    server = start_server(**PLAIN)
    book = open_book(server)
    cell = book.start("print('begun')\nwhile True: pass")
    expect(outputs(cell)).to_contain_text("begun")
    server.process.kill()
    expect(outputs(cell).locator(".ending")).to_contain_text("The connection to the server broke while this ran")
    expect(outputs(cell)).to_contain_text("begun")
    expect(book.badge).to_contain_text("server does not answer")
    expect(book.notice("server")).to_contain_text("What you type is kept in this browser")
    typed = book.start("y = 2")
    expect(outputs(typed)).to_contain_text("The server does not answer. Is it running?")
    expect(typed.locator(".cm-content")).to_have_text("y = 2")
    book.page.close()
    book.watched.complaints.clear()  # of the browser, about the connection


# --- nothing typed is lost ------------------------------------------------------------------------------------------


def test_a_reload_keeps_text_outputs_and_session(book: Book) -> None:
    book.run("x = 20\nprint('kept')")
    book.add("typed and not run")
    book.reload()
    expect(outputs(book.cells.nth(0))).to_have_text("kept\n")
    expect(book.cells.nth(1).locator(".cm-content")).to_have_text("typed and not run")
    expect(outputs(book.run("x + 1"))).to_have_text("21")


def test_a_second_tab_has_a_copy_and_the_same_session(open_book: Callable[[Server], Book], server: Server) -> None:
    first = open_book(server)
    first.run("x = 20")
    second = open_book(server)
    expect(second.notice("copy")).to_contain_text("This notebook is open in another tab, so this is a copy of it")
    expect(outputs(second.run("x + 1"))).to_have_text("21")
    first.add("of the first")
    second.add("of the second")
    first.reload()
    second.reload()
    expect(first.cells.last.locator(".cm-content")).to_have_text("of the first")
    expect(second.cells.last.locator(".cm-content")).to_have_text("of the second")


def test_cells_of_two_tabs_run_one_after_another(open_book: Callable[[Server], Book], server: Server) -> None:
    first = open_book(server)
    first.run("x = 1")
    second = open_book(server)
    running = first.start("print('begun')\nwhile x == 1: pass")
    expect(outputs(running)).to_contain_text("begun")
    waiting = second.start("x + 1")
    expect(second.badge).to_contain_text("running")
    expect(outputs(waiting)).to_be_empty()
    first.button("Interrupt")
    expect(outputs(waiting)).to_have_text("2")


def test_a_new_notebook_keeps_the_one_before(book: Book) -> None:
    book.page.get_by_label("Name of the notebook").fill("First")
    book.add("of the first")
    book.button("New")
    expect(book.cells).to_have_count(1)
    book.button("Open…")
    book.page.get_by_role("button", name=re.compile("^First, 1 cells")).click()
    expect(book.cells.first.locator(".cm-content")).to_have_text("of the first")


def test_outputs_that_kill_the_page_are_not_shown_again(book: Book) -> None:
    book.run("print('shown')")
    book.reload()
    book.page.evaluate("() => localStorage.setItem('pyrunner.showing', sessionStorage.getItem('pyrunner.key'))")
    book.page.evaluate("() => addEventListener('pagehide', event => event.stopImmediatePropagation(), true)")
    key = book.page.evaluate("() => sessionStorage.getItem('pyrunner.key')")
    book.page.context.add_init_script(f"localStorage.setItem('pyrunner.showing', '{key}')")
    book.reload()
    expect(book.notice("died")).to_contain_text("did not survive the outputs")
    expect(outputs(book.cells.first)).to_be_empty()
    book.notice("died").get_by_role("button", name="Show them").click()
    expect(outputs(book.cells.first)).to_have_text("shown\n")


def test_outputs_that_are_too_large_for_the_browser_do_not_cost_the_text(book: Book) -> None:
    for _ in range(7):
        book.run("print('x' * 1000000)")
    expect(book.notice("outputs")).to_contain_text("The outputs are too large to be kept")
    book.add("typed at last")
    book.reload()
    expect(book.cells).to_have_count(8)
    expect(book.cells.last.locator(".cm-content")).to_have_text("typed at last")


# --- files ----------------------------------------------------------------------------------------------------------


def exported(book: Book) -> tuple[str, dict[str, Any]]:
    with book.page.expect_download() as download:
        book.button("Export")
    return download.value.suggested_filename, json.loads(Path(download.value.path()).read_text())


def import_file(book: Book, name: str, text: str | bytes) -> None:
    data = text.encode() if isinstance(text, str) else text
    book.page.locator("#file").set_input_files({"name": name, "mimeType": "application/json", "buffer": data})


def cell_of(kind: str, text: str, **more: Any) -> dict[str, Any]:
    code = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {"cell_type": kind, "id": f"id-{kind}", "metadata": {}, "source": text} | code | more


def notebook_of(*cells: dict[str, Any], **more: Any) -> str:
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5} | more)


def test_an_export_is_nbformat_and_comes_back_the_same(book: Book) -> None:
    book.page.get_by_label("Name of the notebook").fill("My: plot")
    book.run("import sys\nprint('out')\nprint('err', file=sys.stderr)\ndisplay(1)\n6 * 7")
    book.run("import os\nos._exit(3)")
    book.button("+ Text")
    book.page.keyboard.insert_text("# Title")
    name, first = exported(book)
    assert name == "My plot.ipynb"
    assert (first["nbformat"], first["nbformat_minor"]) == (4, 5)
    assert first["metadata"]["kernelspec"]["name"] == "python3"
    code, crash, text = first["cells"]
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", cell["id"]) for cell in first["cells"])
    assert code["source"][0] == "import sys\n"
    assert sorted(output["output_type"] for output in code["outputs"]) == [
        "display_data", "execute_result", "stream", "stream",
    ]  # fmt: skip
    assert code["outputs"][-1] == {
        "output_type": "execute_result", "data": {"text/plain": "42"}, "metadata": {}, "execution_count": 1,
    }  # fmt: skip
    assert crash["outputs"][-1]["ename"] == "session crashed"
    assert (text["cell_type"], text["source"]) == ("markdown", ["# Title"])
    import_file(book, "again.ipynb", json.dumps(first))
    expect(book.page.get_by_label("Name of the notebook")).to_have_value("again")
    expect(outputs(book.cells.first)).to_contain_text("42")
    assert exported(book)[1] == first


def test_what_others_wrote_into_a_notebook_is_kept(book: Book) -> None:
    outputs_of_jupyter = [
        {"output_type": "error", "ename": "E", "evalue": "e", "traceback": ["\x1b[31mE\x1b[0m", "e"]},
        {
            "output_type": "display_data",
            "metadata": {"a": 1},
            "data": {"application/x-own": "b", "text/plain": ["c\n"]},
        },
    ]
    code = cell_of("code", ["a\n", "b"], outputs=outputs_of_jupyter, metadata={"tags": ["t"]}, execution_count=7)
    file = notebook_of(code, cell_of("markdown", "t", attachments={"x": {}}), metadata={"own": {"deep": [1]}})
    import_file(book, "jupyter.ipynb", file)
    expect(book.cells.first.locator(".count")).to_have_text("[7]")
    expect(outputs(book.cells.first).locator(".fg1")).to_have_text("E")
    again = exported(book)[1]
    assert again["metadata"]["own"] == {"deep": [1]}
    assert again["cells"][0]["metadata"] == {"tags": ["t"]}
    assert again["cells"][0]["outputs"][0] == outputs_of_jupyter[0]
    assert again["cells"][0]["outputs"][1]["data"] == {"application/x-own": "b", "text/plain": "c\n"}
    assert again["cells"][1]["attachments"] == {"x": {}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{\n'cells': []}", "It is not JSON (line 2), and a notebook is."),
        (b"\x89PNG\r\n\x1a\n", "It is not JSON"),
        ("", "It is not JSON"),
        ("[1]", "It is JSON, but no notebook."),
        ('{"cells": 1}', "it has no list of cells"),
        ('{"nbformat": 3, "worksheets": []}', "format 3; this page reads format 4"),
    ],
)
def test_a_file_that_is_no_notebook_changes_nothing(book: Book, text: str | bytes, says: str) -> None:
    book.add("typed")
    import_file(book, "bad.ipynb", text)
    expect(book.notice("file")).to_contain_text("bad.ipynb was not imported.")
    expect(book.notice("file")).to_contain_text(says)
    expect(book.cells).to_have_count(1)
    expect(book.cells.first.locator(".cm-content")).to_have_text("typed")


def test_unknown_cell_types_are_named_and_their_text_is_kept(book: Book) -> None:
    file = notebook_of(cell_of("heading", "A title"), cell_of("<b>", "bold"), 5, cell_of("code", "1"), None)
    import_file(book, "odd.ipynb", file)
    expect(book.notice("file")).to_contain_text("2 cells have a type that this page does not know (“heading”, “<b>”)")
    expect(book.notice("file")).to_contain_text("2 entries of its list of cells are no cells and were left out")
    expect(book.page.locator(".cell.raw .cm-content")).to_have_text(["A title", "bold"])


# --- what a cell can not do -----------------------------------------------------------------------------------------


def showing(mime: str, data: str) -> str:
    """Code whose last value has one rich form."""
    return f"class Shown:\n    def _repr_mimebundle_(self, **_): return {{{mime!r}: {data!r}}}\nShown()"


TAKE_OVER = "top.document.title='PWNED';parent.document.title='PWNED';fetch('/execute',{method:'POST'})"
XSS = {
    "script": f"<p>seen</p><script>{TAKE_OVER}</script>",
    "end of a script": f"<p>seen</p></script><script>{TAKE_OVER}</script>",
    "end of the frame": f"<p>seen</p>\"></iframe><script>{TAKE_OVER}</script><img src=x onerror=\"{TAKE_OVER}\">",
    "listeners": f"<p>seen</p><img src=data:, onerror=\"{TAKE_OVER}\"><svg onload=\"{TAKE_OVER}\"></svg>",
    "odd listeners": f"<p>seen</p><svg/onload=\"{TAKE_OVER}\"></svg><details open/ontoggle=\"{TAKE_OVER}\">",
    "a frame": f"<p>seen</p><iframe srcdoc=\"<script>{TAKE_OVER}</script>\"></iframe>",
    "another page": "<p>seen</p><meta http-equiv=refresh content='0;url=/docs'><base href='https://example.com/'>",
    "an object": "<p>seen</p><object data='/docs'></object><embed src='/docs'>",
    "style": "<p>seen</p><style>@import '/docs'; p { background: url('/docs') }</style>",
    "a form": "<p>seen</p><form action=/execute method=post><button autofocus>press</button></form>",
    "mutation": f"<p>seen</p><svg><style><img src=x onerror=\"{TAKE_OVER}\"></style></svg><math><mtext></form><form>",
}  # fmt: skip


@pytest.mark.parametrize("name", XSS)
def test_html_output_can_not_script_the_page(book: Book, name: str) -> None:
    cell = book.run(showing("text/html", XSS[name]))
    expect(outputs(cell).frame_locator("iframe").locator("p").first).to_contain_text("seen")
    expect(outputs(book.run("'the page lives'"))).to_have_text("'the page lives'")
    expect(book.page).to_have_title("Notebook – PyRunner")
    executed = [url for url in book.watched.answered if url.endswith(("/execute", "/docs"))]
    assert executed == [f"{book.server.url}/execute"] * 2
    book.watched.complaints.clear()  # of the browser, about what it refused


def test_a_click_in_html_output_leads_nowhere(book: Book) -> None:
    links = "<a href=\"javascript:top.document.title='PWNED'\">one</a> <a href=/docs target=_top>two</a>"
    form = "<form action=/docs target=_top><button>three</button></form>"
    cell = book.run(showing("text/html", links + form))
    inside = outputs(cell).frame_locator("iframe")
    for words in ("one", "two", "three"):
        inside.get_by_text(words).click()
    expect(outputs(book.run("6 * 7"))).to_have_text("42")
    expect(book.page).to_have_url(f"{book.server.url}/notebook")
    expect(book.page).to_have_title("Notebook – PyRunner")
    book.watched.complaints.clear()


@pytest.mark.parametrize(
    ("mime", "data"),
    [
        (
            "image/svg+xml",
            f'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9" onload="{TAKE_OVER}">'
            f"<script>{TAKE_OVER}</script><image href='/docs'/></svg>",
        ),
        ("text/latex", r"$\href{javascript:alert(1)}{x}\htmlStyle{color:red}{y}\includegraphics{/docs}$"),
        ("text/latex", "$\\def\\a{\\a\\a}\\a$"),
        ("text/markdown", f"<img src=x onerror=\"{TAKE_OVER}\"> [x](javascript:alert) ![](/docs)"),
        ("text/plain", f"<script>{TAKE_OVER}</script>"),
        ("application/json", f"<script>{TAKE_OVER}</script>"),
    ],
)  # fmt: skip
def test_other_outputs_can_not_script_the_page(book: Book, mime: str, data: str) -> None:
    cell = book.run(showing(mime, data))
    expect(outputs(cell).locator(".display").first).to_be_visible()
    expect(outputs(cell).locator("a, script, iframe")).to_have_count(0)
    expect(outputs(book.run("6 * 7"))).to_have_text("42")
    expect(book.page).to_have_title("Notebook – PyRunner")
    assert not [url for url in book.watched.answered if url.endswith(("/docs", "/x"))]


def test_an_imported_notebook_can_not_script_the_page(book: Book) -> None:
    markup = f'<img src=x onerror="{TAKE_OVER}"><script>{TAKE_OVER}</script>'
    error = {"output_type": "error", "ename": markup, "evalue": markup, "traceback": []}
    html = {"output_type": "display_data", "metadata": {}, "data": {"text/html": markup + "seen"}}
    file = notebook_of(
        cell_of("code", markup, outputs=[error, html]), cell_of("markdown", markup), cell_of(markup, markup)
    )
    import_file(book, f"{markup.replace('/', ' ')}.ipynb", file)
    expect(outputs(book.cells.first).frame_locator("iframe").locator("body")).to_contain_text("seen")
    expect(outputs(book.cells.first).locator(".ending")).to_contain_text("<script>")
    assert "PWNED" not in book.page.title().replace(TAKE_OVER, "").replace(TAKE_OVER.replace("/", " "), "")
    assert not [url for url in book.watched.answered if url.endswith("/execute")]
    book.watched.complaints.clear()


def test_very_long_html_leaves_the_page_usable(book: Book) -> None:
    cell = book.run("class Long:\n    def _repr_html_(self): return '<b>x</b>' * 12_000_000\nLong()")
    expect(outputs(cell)).not_to_be_empty()
    expect(outputs(book.run("6 * 7"))).to_have_text("42")


def test_html_that_is_nested_very_deeply_leaves_the_page_usable(book: Book) -> None:
    cell = book.run("class Deep:\n    def _repr_html_(self): return '<div>' * 100_000\nDeep()")
    expect(outputs(cell)).to_contain_text("nested too deeply")
    expect(outputs(book.run("6 * 7"))).to_have_text("42")


def test_ten_thousand_outputs_leave_the_page_usable(book: Book) -> None:
    cell = book.run("for n in range(10_000): display(n)")
    expect(outputs(cell).locator(".display")).to_have_count(100)
    expect(outputs(cell)).to_contain_text("not shown here")
    expect(outputs(book.run("6 * 7"))).to_have_text("42")


def test_an_image_that_is_larger_than_memory_is_not_decoded(book: Book) -> None:
    head = (
        "b'\\x89PNG\\r\\n\\x1a\\n\\0\\0\\0\\rIHDR' + (60000).to_bytes(4, 'big') * 2 + b'\\x08\\6\\0\\0\\0' + bytes(99)"
    )
    cell = book.run(f"class Bomb:\n    def _repr_png_(self): return {head}\nBomb()")
    expect(outputs(cell)).to_contain_text("An image of 60000 × 60000 pixels is too large to be shown here")


def test_a_flood_of_output_leaves_the_page_usable(book: Book) -> None:
    cell = book.run("for n in range(200_000): print('\\x1b[31m', n, '\\x1b[32mx\\r')")
    expect(outputs(cell)).to_contain_text("Output past the server's limit was dropped")
    expect(outputs(book.run("6 * 7"))).to_have_text("42")


# --- keyboard only --------------------------------------------------------------------------------------------------


def test_a_notebook_is_made_with_the_keyboard_alone(book: Book) -> None:
    keyboard = book.page.keyboard
    book.press("Enter")
    keyboard.type("a = 1")
    book.press("Shift+Enter")  # and a new cell, with the cursor in it
    keyboard.type("a + 1")
    book.press("Control+Enter", "ArrowUp")  # from its first line to the cell above
    expect(book.cells.nth(0).locator(".cm-content")).to_be_focused()
    book.press("ArrowDown")
    expect(book.cells.nth(1).locator(".cm-content")).to_be_focused()
    book.press("Escape", "ArrowUp")
    expect(book.cells.nth(0)).to_be_focused()
    expect(outputs(book.cells.nth(1))).to_have_text("2")
    book.press("ArrowDown", "Alt+ArrowUp")  # the second goes up
    expect(book.page.locator(".cell .cm-content")).to_have_text(["a + 1", "a = 1"])
    book.press("b")
    keyboard.type("third")
    book.press("Escape", "Escape", "a")  # the first one may close a list of completions
    keyboard.type("before it")
    book.press("Escape", "Escape")
    expect(book.page.locator(".cell .cm-content")).to_have_text(["a + 1", "before it", "third", "a = 1"])
    book.press("d", "d")
    expect(book.page.locator(".cell .cm-content")).to_have_text(["a + 1", "third", "a = 1"])
    book.press("z")
    expect(book.page.locator(".cell .cm-content")).to_have_text(["a + 1", "before it", "third", "a = 1"])
    book.press("m")
    expect(book.cells.nth(1).locator(".rendered")).to_have_text("before it")
    book.press("y", "Enter")
    expect(book.cells.nth(1).locator(".cm-content")).to_be_focused()


def test_an_endless_loop_is_interrupted_and_the_session_restarted_with_the_keyboard(book: Book) -> None:
    cell = book.start("print('begun')\nwhile True: pass")
    expect(outputs(cell)).to_contain_text("begun")
    book.press("Escape", "Escape", "i", "i")
    expect(outputs(cell)).to_contain_text("It was interrupted")
    book.wait()
    book.press("0", "0")
    expect(book.badge).to_contain_text("no session yet")


def test_the_help_lists_the_keys(book: Book) -> None:
    book.press("?")
    expect(book.page.get_by_role("dialog", name="Keys")).to_contain_text("Run the cell and go to the next")
    book.press("Escape")
    expect(book.page.get_by_role("dialog")).to_have_count(0)


def test_each_control_has_a_name_and_can_be_reached_with_tab(book: Book) -> None:
    controls = book.page.locator("button:visible, input:visible, a:visible")
    names = [name for name in controls.evaluate_all(NAMES)]
    assert len(names) > 15 and all(names)
    reached: set[str] = set()
    for _ in range(len(names) + 5):
        book.press("Tab")
        reached.update(book.page.locator(":focus").evaluate_all(NAMES))
    assert set(names) <= reached


NAMES = "all => all.map(e => e.getAttribute('aria-label') || e.labels?.[0]?.textContent.trim() || e.textContent.trim())"
