"""Who may come in when there are keys: the key of a request is found, and the request is counted."""

import re
from collections.abc import Sequence

from starlette.types import Scope

from server.keys import KEY, Key, Keys
from server.quotas import Quotas, Standing

_OPEN = frozenset(("/", "/livez", "/readyz", "/metrics", "/docs", "/openapi.json", "/notebook"))
_OPEN_FOLDERS = ("/docs/assets/", "/notebook/assets/")
_COUNTED = re.compile(r"/(execute|run|submit|sessions/[^/]*/(complete|inspect))\n?")  # which routes overlook at the end
_MOST_BYTES = 512  # of a token; ours are shorter, and none is hashed that is long
_BEARER = re.compile(rb"bearer +([!-~]+) *", re.IGNORECASE)


class Unauthorized(Exception):
    """A request without a key, or with one that is not known. Its text is a sentence that a person can act on."""


class Gate:
    """Lets in requests with a key, of which KEY tells from then on, and those to pages and figures that need none."""

    def __init__(self, keys: Keys, quotas: Quotas) -> None:
        self.keys = keys
        self.quotas = quotas

    async def admit(self, scope: Scope) -> Sequence[tuple[bytes, bytes]]:
        """The headers that its answer gets. Raises Unauthorized, QuotaExceeded."""
        KEY.set(None)  # a pipelined request begins in the context of the one before
        path = scope["path"]
        if not needs_key(path):
            return ()
        key = self._key(scope)
        KEY.set(key)
        scope["owner"] = key.name
        if not is_counted(scope["method"], path):
            return ()
        standing = await self.quotas.admit(key)
        return () if standing is None else rate_limit_headers(standing)

    def _key(self, scope: Scope) -> Key:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        bearer = _BEARER.fullmatch(given[0]) if len(given) == 1 else None
        token = bearer[1] if bearer and len(bearer[1]) <= _MOST_BYTES else b""
        key = self.keys.find(token)
        if key is not None:
            return key
        if not given:
            raise Unauthorized("This server wants a key: send it in the header Authorization: Bearer KEY")
        raise Unauthorized(
            "This key is not known here: the header must be Authorization: Bearer KEY, with a key of this server"
        )


def needs_key(path: str) -> bool:
    """Whether a request to this path must have a key, where there are keys."""
    return path not in _OPEN and not path.startswith(_OPEN_FOLDERS)


def is_counted(method: str, path: str) -> bool:
    """Whether it is a request for work. To look at what one has, and to end it, must always be possible."""
    return method == "POST" and _COUNTED.fullmatch(path) is not None


def rate_limit_headers(standing: Standing) -> list[tuple[bytes, bytes]]:
    """`X-RateLimit-…`, as they stand in an answer."""
    return [
        (b"x-ratelimit-limit", b"%d" % standing.limit),
        (b"x-ratelimit-remaining", b"%d" % standing.remaining),
        (b"x-ratelimit-reset", b"%d" % standing.reset_at),
    ]
