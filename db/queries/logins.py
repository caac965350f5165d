"""Queries on logins: who is at the pages. Links and cookies are secrets, of which only the sha256 is stored."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import func, update
from sqlmodel import Session, col, select

from db.errors import NotFound
from db.queries.access import check_scopes
from db.queries.webcams import database_time
from db.tables import ApiKey, Login

LINK_LIFETIME = timedelta(hours=1)
"""A link that nobody used is of no use after that."""
LIFETIME = timedelta(hours=12)
"""A login ends so long after it was opened, or with the key that opened it."""


def make_link(session: Session, *, rater: str, scopes: Sequence[str]) -> tuple[Login, str]:
    """Ask for a login; returns its row and the secret of its one-time link, which is not stored.

    Raises:
        Conflict: There is no such scope, or none is given.
    """
    secret = secrets.token_urlsafe(32)
    login = Login(
        rater=rater, scopes=check_scopes(scopes), link_sha256=_sha256(secret),
        link_expires_at=database_time(session) + LINK_LIFETIME,
    )  # fmt: skip
    session.add(login)
    session.flush()
    return login, secret


def find_link(session: Session, link: str) -> Login | None:
    """The login that a link would open; None where the link was used, ended, expired, or never was. Changes nothing."""
    return session.exec(select(Login).where(*_usable(link))).one_or_none()


def open_link(session: Session, link: str) -> tuple[Login, str] | None:
    """Use a link up: its login is open. Returns the row and the secret for the cookie; None where `find_link` is.

    Of several who use it at once one gets in, since the row is changed where it is still unused.
    """
    secret = secrets.token_urlsafe(32)
    opened = session.execute(
        update(Login)
        .where(*_usable(link))
        .values(secret_sha256=_sha256(secret), opened_at=func.now(), expires_at=func.now() + LIFETIME)
        .returning(col(Login.id))
    ).scalar_one_or_none()
    return (session.get_one(Login, opened, populate_existing=True), secret) if opened is not None else None


def open_with_key(session: Session, key: ApiKey, *, rater: str) -> tuple[Login, str]:
    """Open a login with what a key may do. Returns its row and the secret for the cookie."""
    secret = secrets.token_urlsafe(32)
    now = database_time(session)
    until = now + LIFETIME
    login = Login(
        rater=rater, scopes=list(key.scopes), api_key_id=key.id, secret_sha256=_sha256(secret), opened_at=now,
        expires_at=until if key.expires_at is None else min(until, key.expires_at),
    )  # fmt: skip
    session.add(login)
    session.flush()
    return login, secret


def find_login(session: Session, secret: str) -> Login | None:
    """The open login of a cookie; None where it ended, expired, its key was revoked, or there never was one."""
    return session.exec(
        select(Login)
        .join(ApiKey, col(Login.api_key_id) == col(ApiKey.id), isouter=True)
        .where(
            col(Login.secret_sha256) == _sha256(secret),
            col(Login.ended_at).is_(None),
            col(Login.expires_at) > func.now(),
            col(ApiKey.revoked_at).is_(None),
        )
    ).one_or_none()


def end_login(session: Session, login_id: int) -> Login:
    """End a login or its unused link now, or NotFound. One that has ended stays as it is."""
    login = session.get(Login, login_id)
    if login is None:
        raise NotFound(what="login", key=login_id)
    if login.ended_at is None:
        login.ended_at = database_time(session)
        session.add(login)
        session.flush()
    return login


def list_logins(session: Session) -> Sequence[Login]:
    """Logins that are open, and links that are still good, oldest first."""
    query = (
        select(Login)
        .join(ApiKey, col(Login.api_key_id) == col(ApiKey.id), isouter=True)
        .where(
            col(Login.ended_at).is_(None),
            func.coalesce(col(Login.expires_at), col(Login.link_expires_at)) > func.now(),
            col(ApiKey.revoked_at).is_(None),
        )
    )
    return session.exec(query.order_by(col(Login.id))).all()


def _usable(link: str) -> tuple[Any, ...]:
    return (
        col(Login.link_sha256) == _sha256(link),
        col(Login.opened_at).is_(None),
        col(Login.ended_at).is_(None),
        col(Login.link_expires_at) > func.now(),
    )


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
