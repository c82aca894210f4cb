"""GET /docs: Swagger UI, served whole from here; GET /openapi.json: what it shows."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from server import openapi
from server.settings import Settings

_STATIC = Path(__file__).resolve().parent.parent / "static"

# A browser may keep it all, and asks each time whether it is still the same: no page mixes two versions of the server.
_CACHING = {"Cache-Control": "no-cache"}

_PAGE_HEADERS = _CACHING | {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",  # the icons in Swagger UI's style sheet
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",  # a page that frames this one could have its visitor press Execute
        )
    ),
    "Referrer-Policy": "no-referrer",
}


class _Assets(StaticFiles):
    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(_CACHING)
        return response


def routes() -> list[BaseRoute]:
    """The routes of the documentation."""
    return [
        Route("/docs", page),
        Route("/openapi.json", document),
        Mount("/docs/assets/swagger-ui", _Assets(directory=_STATIC / "swagger-ui")),
        Mount("/docs/assets", _Assets(directory=_STATIC / "docs")),
    ]


async def page(request: Request) -> Response:
    """Swagger UI."""
    return FileResponse(_STATIC / "docs" / "index.html", headers=_PAGE_HEADERS)


async def document(request: Request) -> Response:
    """The OpenAPI document."""
    body = _encoded(request.app.state.settings)
    return Response(body, media_type="application/json", headers=_CACHING)


@cache
def _encoded(settings: Settings) -> bytes:
    return json.dumps(openapi.document(settings), ensure_ascii=False).encode()
