"""GET /docs and /openapi.json."""

from starlette.routing import BaseRoute


def routes() -> list[BaseRoute]:
    """The routes of the documentation."""
    return []
