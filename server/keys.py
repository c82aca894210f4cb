"""API keys: who may come in, and how much each may use.

Only hashes are known here; a token is shown once, when it is made.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from hmac import compare_digest
from pathlib import Path
from typing import Self

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_AMOUNT = re.compile(r"(sessions|requests|cpu)=([0-9]{1,7})")
_FORM = "NAME:SHA256-HEX, with :sessions=N, :requests=N and :cpu=SECONDS after it as wanted"
_PREFIX = "pyrunner_"  # so that a search for secrets in files knows what it has found


class KeysError(Exception):
    """Keys that cannot be used. Its text says where the mistake is, and never what is there: it may be a token."""


@dataclass(frozen=True, slots=True)
class Quota:
    """The most that one key may use. 0: no limit."""

    sessions: int = 0  # open at once
    requests: int = 0  # each minute
    cpu_s: int = 0  # each minute


@dataclass(frozen=True, slots=True)
class Key:
    name: str
    digest: bytes  # SHA-256 of the token
    quota: Quota


KEY: ContextVar[Key | None] = ContextVar("key", default=None)  # of the request that is answered; None without keys


class Keys:
    """The keys that are known."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def find(self, token: bytes) -> Key | None:
        """The key of that token. It takes as long whether there is one or not, and whichever it is."""
        digest = hashlib.sha256(token).digest()
        found = None
        for key in self._keys:
            if compare_digest(key.digest, digest):
                found = key
        return found

    @classmethod
    def read(cls, listed: str, file: str, quota: Quota) -> Self | None:
        """Those of both settings; None when neither is set. `quota`: of a key that has none of its own.

        Raises KeysError, also when a setting is there without a key in it: that would let everybody in or nobody.
        """
        if not listed and not file:
            return None
        keys: list[Key] = []
        if listed:
            entries = enumerate((part.strip() for part in listed.split(",")), 1)
            keys += _parse(((f"API_KEYS: entry {at}", entry) for at, entry in entries), keys, quota)
        if file:
            lines = enumerate((line.strip() for line in _text(file).splitlines()), 1)
            said = ((f"API_KEYS_FILE: line {at}", line) for at, line in lines if line and not line.startswith("#"))
            found = _parse(said, keys, quota)
            if not found:
                raise KeysError("API_KEYS_FILE: there is no key in it")
            keys += found
        return cls(keys)


def new_key(name: str) -> tuple[str, str]:
    """A token, and the entry to store for it. Raises KeysError for a name that cannot be one."""
    if not _NAME.fullmatch(name):
        raise KeysError("a key's name has at most 64 letters, digits, '.', '_' and '-', the first a letter or digit")
    token = _PREFIX + secrets.token_urlsafe(32)
    return token, f"{name}:{hashlib.sha256(token.encode()).hexdigest()}"


def _parse(entries: Iterable[tuple[str, str]], before: Sequence[Key], quota: Quota) -> list[Key]:
    names = {key.name for key in before}
    digests = {key.digest for key in before}
    keys = []
    for place, entry in entries:
        key = _key(entry, quota)
        if key is None:
            raise KeysError(f"{place} is not {_FORM}")
        if key.name in names:
            raise KeysError(f"{place} has the name of a key before it")
        if key.digest in digests:
            raise KeysError(f"{place} has the token of a key before it")
        names.add(key.name)
        digests.add(key.digest)
        keys.append(key)
    return keys


def _key(entry: str, quota: Quota) -> Key | None:
    name, _, rest = entry.partition(":")
    digest, *given = rest.split(":")
    amounts = [_AMOUNT.fullmatch(amount) for amount in given]
    own = {match[1]: int(match[2]) for match in amounts if match}
    if not _NAME.fullmatch(name) or not _DIGEST.fullmatch(digest) or len(own) < len(given):
        return None
    sessions, requests = own.get("sessions", quota.sessions), own.get("requests", quota.requests)
    return Key(name, bytes.fromhex(digest), Quota(sessions, requests, own.get("cpu", quota.cpu_s)))


def _text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise KeysError(f"API_KEYS_FILE: it cannot be read: {error.strerror}") from None
    except ValueError:
        raise KeysError("API_KEYS_FILE: it cannot be read: it is not text") from None
