"""GET /notebook: a notebook in the browser, served whole from here; a client of the HTTP interface like others."""

import secrets
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from server.assets import Assets

_STATIC = Path(__file__).resolve().parent.parent / "static"


def routes() -> list[BaseRoute]:
    """The routes of the notebook."""
    return [
        Route("/notebook", page),
        Mount("/notebook/assets/codemirror", Assets(directory=_STATIC / "codemirror")),
        Mount("/notebook/assets/katex", Assets(directory=_STATIC / "katex")),
        Mount("/notebook/assets", Assets(directory=_STATIC / "notebook")),
    ]


async def page(request: Request) -> Response:
    """The page. Each time it is sent, the style elements that its scripts make have another nonce."""
    nonce = secrets.token_urlsafe(18)
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": _policy(nonce),
        "Referrer-Policy": "no-referrer",
    }
    return HTMLResponse(_page().replace("{nonce}", nonce), headers=headers)


def _policy(nonce: str) -> str:
    return "; ".join(
        (
            "default-src 'none'",  # frames among it: HTML output is in a frame that can not go anywhere
            "script-src 'self'",
            f"style-src 'self' 'nonce-{nonce}'",  # the editor makes its style sheets itself
            "img-src 'self' data:",  # what cells draw
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",  # a page that frames this one could have its visitor press Run
            "require-trusted-types-for 'script'",  # text becomes markup in one place: notebook/frame.js
            "trusted-types html-output",
        )
    )


@cache
def _page() -> str:
    return (_STATIC / "notebook" / "index.html").read_text()
