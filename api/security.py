"""Who calls, by an API key or by the cookie of a login, and what they may do."""

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

from api.cookies import is_from_us, login_cookie
from api.errors import ForeignRequest, MissingScope, OtherRater, Unauthenticated
from db.engine import session_scope
from db.queries import access, logins
from db.tables.access import Scope

CACHE_S = 5.0
"""Seconds that a key is believed without asking the database: a revoked one works that much longer at most."""
CACHE_SIZE = 1000

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="A key of `afterglow keys create`, as `ag_...`. The pages send the cookie of a login in its place. Any "
    "valid key may read; beyond that it needs a scope:\n"
    + "\n".join(f"- `{scope.value}`: {scope.allows}" for scope in Scope),
)


@dataclass(frozen=True)
class Caller:
    """Whose key or login it is."""

    key_id: str
    name: str
    scopes: tuple[str, ...]
    expires_at: datetime | None
    login_id: int | None = None
    """The login, where a cookie named one. Its rater is `name`, in whose name alone it may rate."""

    @property
    def by(self) -> str:
        """How the record names who did something."""
        return f"{'key' if self.login_id is None else 'login'}:{self.name}"

    def may(self, scope: str) -> bool:
        """Whether the key's scopes allow this."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


class KeyCache:
    """Keys that were found valid, for `CACHE_S` seconds. Holds hashes, never a key. Belongs to one event loop.

    Args:
        clock: seconds that only grow.
        look_up: asks the database whose key it is; `look_up_login` has it remember the cookies of logins instead.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, look_up: Callable[[str], Caller | None] | None = None
    ) -> None:
        self._clock = clock
        self._look_up = look_up
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

    def forget_all(self) -> None:
        """Have every key looked up again."""
        self._known.clear()

    def _ended(self, digest: bytes, task: asyncio.Task[Caller | None]) -> None:
        self._pending.pop(digest, None)
        if not task.cancelled():
            task.exception()  # seen here, in case that nobody waits for it any more

    async def _refresh(self, presented: str, digest: bytes) -> Caller | None:
        until = self._clock() + CACHE_S
        caller = await run_in_threadpool(self._look_up or _look_up, presented)
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


def look_up_login(secret: str) -> Caller | None:
    """Whose login a cookie's secret names, asking the database."""
    with session_scope() as session:
        login = logins.find_login(session, secret)
        if login is None or login.id is None:
            return None
        return Caller(f"login-{login.id}", login.rater, tuple(login.scopes), login.expires_at, login.id)


async def admit(request: Request, scopes: Sequence[str]) -> Caller:
    """Whose request this is, when the key or login may do all of `scopes`. Asks once for each request.

    Raises:
        Unauthenticated: There is neither, or it is wrong, expired or revoked; which of these is never told.
        ForeignRequest: A browser would change something for a login, on behalf of another site's page.
        MissingScope: The key or login is valid and lacks a scope.
    """
    caller: Caller | None = request.scope["state"].get("caller")
    if caller is None:
        caller = await _caller_of(request)
        if caller is None:
            raise Unauthenticated(Unauthenticated.__doc__)
        request.state.caller, request.state.key_name = caller, caller.name
    for scope in scopes:
        if not caller.may(scope):
            raise MissingScope(scope, caller.scopes, is_login=caller.login_id is not None)
    return caller


async def _caller_of(request: Request) -> Caller | None:
    """Who presents a key, or else a cookie: a request with a key is that key's, whatever cookies come along."""
    given = request.headers.get("Authorization")
    if given is not None:
        scheme, presented = get_authorization_scheme_param(given)
        keys: KeyCache = request.app.state.keys
        return await keys.caller(presented) if scheme.lower() == "bearer" else None
    secret = login_cookie(request)
    if secret is None:
        return None
    logged_in: KeyCache = request.app.state.logins
    caller = await logged_in.caller(secret)
    if caller is not None and not is_from_us(request):
        raise ForeignRequest(ForeignRequest.__doc__)
    return caller


async def check(
    request: Request, asked: SecurityScopes, _given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Caller:
    """The dependency behind `require`; `_given` is there for the description only."""
    return await admit(request, asked.scopes)


def check_rater(caller: Caller, rater: str) -> None:
    """A login rates in its own name; a key, which is a program's, in any.

    Raises:
        OtherRater: It would be in somebody else's.
    """
    if caller.login_id is not None and rater != caller.name:
        raise OtherRater(caller.name)


def require(scope: Scope | str | None = None) -> Any:
    """A dependency that lets a request pass when its key has `scope` (None: any valid key). Gives the Caller.

    Raises:
        ValueError: There is no such scope.
    """
    return Security(check, scopes=[] if scope is None else [Scope(scope).value])
