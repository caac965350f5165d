"""API keys: who calls, and what they may do."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from fastapi.security.utils import get_authorization_scheme_param
from starlette.concurrency import run_in_threadpool

from api.errors import MissingScope, Unauthenticated
from db.engine import session_scope
from db.queries import access
from db.tables.access import Scope

CACHE_S = 5.0
"""Seconds that a key is believed without asking the database: a revoked one works that much longer at most."""
CACHE_SIZE = 1000

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="A key of `afterglow keys create`, as `ag_...`. Any valid key may read; beyond that it needs a scope:\n"
    + "\n".join(f"- `{scope.value}`: {scope.allows}" for scope in Scope),
)


@dataclass(frozen=True)
class Caller:
    """Whose key it is."""

    key_id: str
    name: str
    scopes: tuple[str, ...]
    expires_at: datetime | None

    def may(self, scope: str) -> bool:
        """Whether the key's scopes allow this."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


class KeyCache:
    """Keys that were found valid, for `CACHE_S` seconds. Holds hashes, never a key. Belongs to one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[bytes, tuple[float, Caller]] = {}
        self._pending: dict[bytes, asyncio.Task[Caller | None]] = {}

    async def caller(self, presented: str) -> Caller | None:
        """Whose key this is, or None where it is wrong, expired or revoked.

        What is remembered is answered at once. Anything else is looked up in a thread, by one request for all that
        wait for the same key; its use is noted then, once a minute at most.
        """
        digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).digest()
        known = self._known.get(digest)
        if known is not None and known[0] > self._clock():
            caller: Caller | None = known[1]
        else:
            task = self._pending.get(digest)
            if task is None:
                task = asyncio.create_task(self._refresh(presented, digest))
                self._pending[digest] = task
                task.add_done_callback(lambda done: self._ended(digest, done))
            # Shielded: the request that began to look may go away while others wait for the same answer.
            caller = await asyncio.shield(task)
        if caller is None or (caller.expires_at is not None and caller.expires_at <= datetime.now(UTC)):
            return None
        return caller

    def forget(self, key_id: str) -> None:
        """Have a key looked up again at its next use."""
        self._known = {digest: entry for digest, entry in self._known.items() if entry[1].key_id != key_id}

    def _ended(self, digest: bytes, task: asyncio.Task[Caller | None]) -> None:
        self._pending.pop(digest, None)
        if not task.cancelled():
            task.exception()  # seen here, in case that nobody waits for it any more

    async def _refresh(self, presented: str, digest: bytes) -> Caller | None:
        until = self._clock() + CACHE_S
        caller = await run_in_threadpool(_look_up, presented)
        if caller is None:
            self._known.pop(digest, None)
        else:
            if len(self._known) >= CACHE_SIZE:
                self._known.clear()
            self._known[digest] = (until, caller)
        return caller


def _look_up(presented: str) -> Caller | None:
    with session_scope() as session:
        row = access.find_key(session, presented)
        if row is None:
            return None
        access.touch_key(session, row.key_id)
        return Caller(row.key_id, row.name, tuple(row.scopes), row.expires_at)


async def admit(request: Request, scopes: Sequence[str]) -> Caller:
    """Whose request this is, when the key may do all of `scopes`. Asks once for each request.

    Raises:
        Unauthenticated: There is no key, or it is wrong, expired or revoked; which of these is never told.
        MissingScope: The key is valid and lacks a scope.
    """
    caller: Caller | None = request.scope["state"].get("caller")
    if caller is None:
        scheme, presented = get_authorization_scheme_param(request.headers.get("Authorization"))
        if scheme.lower() == "bearer":
            keys: KeyCache = request.app.state.keys
            caller = await keys.caller(presented)
        if caller is None:
            raise Unauthenticated(Unauthenticated.__doc__)
        request.state.caller, request.state.key_name = caller, caller.name
    for scope in scopes:
        if not caller.may(scope):
            raise MissingScope(scope, caller.scopes)
    return caller


async def check(
    request: Request, asked: SecurityScopes, _given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Caller:
    """The dependency behind `require`; `_given` is there for the description only."""
    return await admit(request, asked.scopes)


def require(scope: Scope | str | None = None) -> Any:
    """A dependency that lets a request pass when its key has `scope` (None: any valid key). Gives the Caller.

    Raises:
        ValueError: There is no such scope.
    """
    return Security(check, scopes=[] if scope is None else [Scope(scope).value])
