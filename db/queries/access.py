"""Queries on API keys. A key reads `ag_<key id>_<secret>`; only the secret's sha256 is stored."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, update
from sqlmodel import Session, col, select

from db.errors import Conflict, NotFound
from db.queries.paging import page_rows
from db.tables import ApiKey
from db.tables.access import SCOPES

PREFIX = "ag"
_SHAPE = re.compile(PREFIX + r"_([0-9a-f]{8})_([0-9a-f]{48})")
_NOBODY = "0" * 64
"""Compared with where a key is not known, so that this takes as long as a wrong secret."""


def add_key(
    session: Session, *, name: str, scopes: Sequence[str], expires_in: timedelta | None = None
) -> tuple[ApiKey, str]:
    """Make a key; returns its row and the whole key, which is shown once and never stored."""
    key_id, secret = secrets.token_hex(4), secrets.token_hex(24)
    row = ApiKey(
        key_id=key_id,
        secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
        name=name,
        scopes=check_scopes(scopes),
        expires_at=datetime.now(UTC) + expires_in if expires_in else None,
    )
    session.add(row)
    session.flush()
    return row, f"{PREFIX}_{key_id}_{secret}"


def check_scopes(scopes: Sequence[str]) -> list[str]:
    """Each of the scopes once, in order.

    Raises:
        Conflict: There is no such scope, or none is given.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise Conflict(f"unknown scope {', '.join(unknown) or '(none given)'}; choose from {', '.join(SCOPES)}")
    return sorted(set(scopes))


def list_keys(session: Session, *, cursor: int | None = None, limit: int | None = None) -> Sequence[ApiKey]:
    """Keys, oldest first, from beyond the row `cursor`; their secrets are not known to anybody but their owners."""
    return page_rows(session, select(ApiKey), col(ApiKey.id), cursor=cursor, limit=limit)


def find_key(session: Session, presented: str) -> ApiKey | None:
    """The valid key that was presented: right secret, not expired, not revoked; else None."""
    parts = _SHAPE.fullmatch(presented)
    if parts is None:
        return None
    row = session.exec(select(ApiKey).where(col(ApiKey.key_id) == parts[1])).one_or_none()
    digest = hashlib.sha256(parts[2].encode()).hexdigest()
    is_right = hmac.compare_digest(row.secret_sha256 if row is not None else _NOBODY, digest)
    if row is None or not is_right:
        return None
    now = datetime.now(UTC)
    if row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now):
        return None
    return row


def touch_key(session: Session, key_id: str) -> None:
    """Note that a key was used; written once a minute at most."""
    session.execute(
        update(ApiKey)
        .where(
            col(ApiKey.key_id) == key_id,
            (col(ApiKey.last_used_at).is_(None)) | (col(ApiKey.last_used_at) < func.now() - timedelta(minutes=1)),
        )
        .values(last_used_at=func.now())
    )


def revoke_key(session: Session, key_id: str) -> ApiKey:
    """End a key now, or NotFound. One that has ended stays as it is."""
    row = session.exec(select(ApiKey).where(col(ApiKey.key_id) == key_id)).one_or_none()
    if row is None:
        raise NotFound(what="key", key=key_id)
    if row.revoked_at is None:
        row.revoked_at = datetime.now(UTC)
        session.add(row)
        session.flush()
    return row
