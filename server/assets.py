"""Files that a page loads."""

from typing import Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles

# A browser may keep it all, and asks each time whether it is still the same: no page mixes two versions of the server.
CACHING = {"Cache-Control": "no-cache"}


class Assets(StaticFiles):
    """The files of a folder."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(CACHING)
        return response
