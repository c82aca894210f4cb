"""Chromium as the tests of pages use it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

CHROMIUM = shutil.which("chromium")

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium is installed (Debian: apt-get install chromium)"
)

_QUIET = (  # Chromium's own traffic, and what a container lacks
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_WATCH_THE_POLICY = (
    "addEventListener('securitypolicyviolation', e => console.error('CSP', e.violatedDirective, e.blockedURI))"
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_QUIET))
        yield browser
        browser.close()


class Watched:
    """What the pages of a context asked for, and what they or the browser complained of."""

    def __init__(self, context: BrowserContext) -> None:
        self.requested: list[str] = []
        self.answered: list[str] = []  # of these, what was really sent: no policy stopped it
        self.complaints: list[str] = []
        complain = self.complaints.append
        context.add_init_script(_WATCH_THE_POLICY)
        context.on("request", lambda request: self.requested.append(request.url))
        context.on("response", lambda response: self.answered.append(response.url))
        context.on("console", lambda said: complain(said.text) if said.type in ("error", "warning") else None)
        context.on("weberror", lambda error: complain(str(error.error)))
        context.on("requestfailed", lambda request: self._failed(request.url, request.failure))

    def _failed(self, url: str, why: str | None) -> None:
        if why != "net::ERR_ABORTED":  # which is the browser's own doing: a page that is left, a stream that was read
            self.complaints.append(f"failed: {url} {why}")

    def elsewhere(self, url: str) -> list[str]:
        """What was asked of others than the server at `url`."""
        return [asked for asked in self.requested if not asked.startswith((f"{url}/", "data:", "blob:", "about:"))]
