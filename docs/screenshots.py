"""Makes docs/images/ anew: `python -m docs.screenshots`, with the packages of requirements-dev.txt and Chromium."""

import io
import json
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.conftest import Server, running
from tests.live.browsing import chromium

IMAGES = Path(__file__).resolve().parent / "images"
COLOURS = 255  # enough for a page, and a third of the bytes
SIZE = {"width": 1000, "height": 800}

TITLE = """\
# Damped oscillation

The amplitude of $x(t) = e^{-t/\\tau} \\cos(\\omega t)$ halves every $\\tau \\ln 2$ seconds."""

PLOT = """\
import numpy as np, matplotlib.pyplot as plt

t = np.linspace(0, 12, 400)
plt.figure(figsize=(6.4, 1.9))
for tau in (2, 4, 8):
    plt.plot(t, np.exp(-t / tau) * np.cos(2 * t), label=f"τ = {tau}")
plt.legend(ncols=3, frameon=False);"""

TABLE = """\
import pandas as pd
pd.DataFrame({"τ": [2, 4, 8], "half-life": np.log(2) * np.array([2, 4, 8])}).round(3)"""

FORMULA = """\
import sympy as sp
s, w = sp.symbols("t omega", positive=True)
sp.Integral(sp.exp(-s / 2) * sp.cos(w * s), (s, 0, sp.oo))"""

COLOURED = 'print("\\x1b[32mpassed\\x1b[0m 3 of 3")'

PRINTS = """\
import time
for step in range(3):
    print(f"\\x1b[34mstep {step}\\x1b[0m: {step ** 2}")"""

FAILS = """\
def mean(values):
    return sum(values) / len(values)

mean([])"""

GREEDY = "table = [bytearray(2**20) for _ in range(500)]"
CRASHES = "import ctypes\nctypes.string_at(0)"


def main() -> None:
    """Each page in a browser, as a PNG."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "server.log") as server, chromium() as browser:
        server.wait_ready()
        code = [("markdown", TITLE), ("code", PLOT), ("code", TABLE), ("code", FORMULA), ("code", COLOURED)]
        shoot(notebook(browser, server, "light", "Oscillation", code), "notebook.png")
        code = [("code", PRINTS), ("code", FAILS), ("code", GREEDY), ("code", CRASHES)]
        shoot(notebook(browser, server, "dark", "What goes wrong", code), "notebook-dark.png")
        shoot(swagger(browser, server), "swagger.png")


def notebook(browser: Browser, server: Server, scheme: str, name: str, cells: list[tuple[str, str]]) -> Page:
    """The notebook page, with these cells run."""
    page = browser.new_page(viewport=SIZE, color_scheme=scheme)
    page.goto(f"{server.url}/notebook")
    file = {"cells": [{"cell_type": kind, "source": text} for kind, text in cells], "nbformat": 4}
    data = {"name": f"{name}.ipynb", "mimeType": "application/json", "buffer": json.dumps(file).encode()}
    page.locator("#file").set_input_files(data)
    page.get_by_role("button", name="Dismiss").click()
    for cell in page.locator(".cell.code").all():
        cell.get_by_role("button", name="Run cell").click()
        expect(page.locator("body:not(.working)")).to_have_count(1, timeout=30_000)
        expect(cell.locator(".outputs > *").first).to_be_visible()
    page.locator(".cell").first.focus()
    page.keyboard.press("ArrowDown")
    page.evaluate("() => scrollTo(0, 0)")
    expect(page.locator("#badge")).to_contain_text("idle" if scheme == "light" else "no session")
    return page


def swagger(browser: Browser, server: Server) -> Page:
    """Swagger UI, with an execution tried out."""
    page = browser.new_page(viewport=SIZE | {"height": 1100})
    page.goto(f"{server.url}/docs")
    box = page.locator(".opblock", has=page.get_by_text("/execute", exact=True))
    box.locator(".opblock-summary").click()
    box.get_by_role("button", name="Try it out").click()
    box.get_by_role("button", name="Execute", exact=True).click()
    expect(box.locator(".live-responses-table .highlight-code").first).to_contain_text("stdout")
    box.locator("textarea").evaluate("text => text.scrollIntoView()")
    return page


def shoot(page: Page, name: str) -> None:
    """The page as a small PNG."""
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    shot.quantize(COLOURS, dither=Image.Dither.NONE).save(IMAGES / name, optimize=True)
    page.close()


if __name__ == "__main__":
    main()
