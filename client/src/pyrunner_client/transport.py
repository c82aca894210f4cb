"""One request over HTTP: what may be tried again is, and what goes wrong gets its name.

Tried again: 429 and 503 that say when (`Retry-After`), for then nothing was run. A connection that breaks is not:
nobody knows how far the code had come.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import NewConnectionError, SSLError

from pyrunner_client.errors import (
    BadRequest,
    Busy,
    PyRunnerError,
    ServerFault,
    ServerGone,
    ServerUnreachable,
    SessionNotFound,
    Unauthorized,
)

Read = TypeVar("Read")

_CONNECT_S = 10.0
_REUSE_S = 2.0  # the server closes a connection that is idle for 5 s; a request that meets its end may be lost
_KEY = "PYRUNNER_KEY"  # the variable of the environment
_POSSIBLE = re.compile("[!-~]+")  # what can stand in a header
_NEVER_CONNECTED = (NewConnectionError, SSLError)


class Transport:
    """The connections to one server. Any thread may use it.

    `patience`: for how many seconds a busy server is asked again. `key`: of the server, if it wants one; by default
    that of PYRUNNER_KEY in the environment.
    """

    def __init__(self, url: str, patience: float, key: str | None = None) -> None:
        self.url = _address(url)
        self._patience = patience
        given = (os.environ.get(_KEY, "") if key is None else key).strip()
        if given and not _POSSIBLE.fullmatch(given):
            raise Unauthorized("what was given can not be a key: it has letters, digits and signs, and no spaces")
        self._auth = _Bearer(given) if given else None
        self._http = requests.Session()
        self._answered_at = time.monotonic()

    def ask(
        self,
        read: Callable[[Any], Read],
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        within: float | None = 10,
    ) -> Read:
        """What `read` makes of the answer's JSON. `within`: after how many silent seconds the server is gone."""
        with self.reply(method, path, body, within=within) as reply, understanding(reply):
            return read(reply.json() if reply.content else None)

    @contextmanager
    def reply(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        accept: str = "application/json",
        within: float | None = 60,
    ) -> Iterator[requests.Response]:
        """A 2xx answer whose body is still to be read; leaving early closes its connection."""
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        give_up = time.monotonic() + self._patience
        while True:
            with self._named():
                reply = self._send(method, path, data, headers, within)
                try:
                    if 200 <= reply.status_code < 300:
                        _check_kind(reply, accept)
                        yield reply
                        return
                    refused = _refusal(reply, path)
                finally:
                    reply.close()
                    self._answered_at = time.monotonic()
            wait = refused.retry_after if isinstance(refused, Busy) else None
            if wait is None or time.monotonic() + wait > give_up:
                raise refused
            time.sleep(wait)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _send(
        self, method: str, path: str, data: bytes | None, headers: dict[str, str], within: float | None
    ) -> requests.Response:
        if time.monotonic() - self._answered_at > _REUSE_S:
            self._http.close()  # those that are in use stay
        return self._http.request(
            method,
            self.url + path,
            data=data,
            headers=headers,
            auth=self._auth,
            timeout=(_CONNECT_S, within),
            stream=True,
            allow_redirects=False,  # a redirected POST becomes a GET
        )

    @contextmanager
    def _named(self) -> Iterator[None]:
        """What requests raises, by our names."""
        try:
            yield
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
            raise ServerUnreachable(f"{self.url} is no address of a server: {error}") from error
        except (requests.exceptions.ConnectTimeout, requests.exceptions.ProxyError) as error:
            raise ServerUnreachable(f"no connection to {self.url}: {_reason(error)}") from error
        except requests.exceptions.RequestException as error:
            if any(isinstance(part, _NEVER_CONNECTED) for part in _chain(error)):
                raise ServerUnreachable(f"no connection to {self.url}: {_reason(error)}") from error
            raise ServerGone(f"the connection to {self.url} broke: {_reason(error)}") from error


class _Bearer(requests.auth.AuthBase):
    """Sends the key. As a header alone it would give way to a password that ~/.netrc has for the host."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request


def _address(url: str) -> str:
    with_scheme = url if "://" in url else f"http://{url}"
    return with_scheme.rstrip("/")


def _chain(error: Exception) -> Iterator[Exception]:
    """The error, and what lies inside of it: requests, urllib3 and http.client each put it elsewhere."""
    inner: object = error
    while isinstance(inner, Exception):
        yield inner
        places = (getattr(inner, "reason", None), inner.__cause__, *reversed(inner.args))
        inner = next((place for place in places if isinstance(place, Exception)), None)


def _reason(error: Exception) -> str:
    """Its innermost words."""
    if isinstance(error, requests.exceptions.Timeout):
        return "nothing came in time"
    *_, innermost = _chain(error)
    return getattr(innermost, "strerror", None) or str(innermost)


def _check_kind(reply: requests.Response, accept: str) -> None:
    if reply.status_code != 204 and not reply.headers.get("Content-Type", "").startswith(accept):
        raise _foreign(reply)


@contextmanager
def understanding(reply: requests.Response) -> Iterator[None]:
    """Reading an answer inside: raises ServerFault when it is not what a PyRunner server says."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise _foreign(reply) from error


def _foreign(reply: requests.Response) -> ServerFault:
    kind = reply.headers.get("Content-Type", "no type")
    sentence = f"{reply.url} answered {reply.status_code} with some {kind}: is this a PyRunner server?"
    return ServerFault(sentence, reply.status_code)


def _refusal(reply: requests.Response, path: str) -> PyRunnerError:
    status = reply.status_code
    if reply.is_redirect:
        return ServerFault(f"the server is at {_place(reply.headers['Location'])}: use that address", status)
    with understanding(reply):
        answer = reply.json()
        sentence = str(answer["error"])
    if status == 404 and path.startswith("/sessions/"):
        return SessionNotFound(sentence)
    if status == 401:
        return Unauthorized(sentence)
    if status in (409, 429, 503):
        return Busy(sentence, _seconds(reply.headers.get("Retry-After")))
    if status < 500:
        return BadRequest(sentence, status, answer.get("detail", ()))
    request_id = reply.headers.get("X-Request-ID")
    return ServerFault(f"{sentence} (status {status}, request {request_id})", status, request_id)


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after and retry_after.isdecimal() else None


def _place(location: str) -> str:
    parts = urlsplit(location)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else location
