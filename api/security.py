"""API keys: who calls, and what they may do."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.errors import MissingScope, Unauthenticated
from db.engine import session_scope
from db.queries import access

CACHE_S = 5.0
"""Seconds that a key is believed without asking the database: a revoked one works that much longer at most."""
CACHE_SIZE = 1000
ADMIN = "admin"
"""The scope that stands for all others."""

bearer = HTTPBearer(
    auto_error=False, scheme_name="API key", description="A key of `afterglow keys create`, as `ag_...`."
)


@dataclass(frozen=True)
class Caller:
    """Whose key it is."""

    key_id: str
    name: str
    scopes: tuple[str, ...]
    expires_at: datetime | None

    def may(self, scope: str | None) -> bool:
        """Whether the key's scopes allow this; None asks for a valid key only."""
        return scope is None or scope in self.scopes or ADMIN in self.scopes


class KeyCache:
    """Keys that were found valid, for `CACHE_S` seconds. Holds hashes, never a key."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[bytes, tuple[float, Caller]] = {}
        self._lock = threading.Lock()

    def caller(self, presented: str) -> Caller | None:
        """Whose key this is, or None where it is wrong, expired or revoked. Notes its use once a minute at most."""
        digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).digest()
        with self._lock:
            known = self._known.get(digest)
        if known is None or known[0] <= self._clock():
            known = self._look_up(presented, digest)
        if known is None or (known[1].expires_at is not None and known[1].expires_at <= datetime.now(UTC)):
            return None
        return known[1]

    def _look_up(self, presented: str, digest: bytes) -> tuple[float, Caller] | None:
        now = self._clock()
        with session_scope() as session:
            row = access.find_key(session, presented) if presented.isascii() and "\0" not in presented else None
            if row is not None:
                access.touch_key(session, row.key_id)
        with self._lock:
            if row is None:
                self._known.pop(digest, None)
                return None
            if len(self._known) >= CACHE_SIZE:
                self._known.clear()
            entry = (now + CACHE_S, Caller(row.key_id, row.name, tuple(row.scopes), row.expires_at))
            self._known[digest] = entry
        return entry


def require(scope: str | None = None) -> Any:
    """A dependency that lets a request pass when its key has `scope` (None: any valid key)."""

    def check(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> Caller:
        keys: KeyCache = request.app.state.keys
        caller = keys.caller(given.credentials) if given is not None else None
        if caller is None:
            raise Unauthenticated(Unauthenticated.__doc__)
        request.state.key_name = caller.name
        if not caller.may(scope):
            assert scope is not None
            raise MissingScope(scope, caller.scopes)
        return caller

    return Depends(check)
