"""API keys: who may call. A key's scopes never change, not by itself and not by others: make a new one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Request, Response, status

from api.deps import SessionDep
from api.keyed_route import KeyedRoute
from api.schemas.keys import KeyBody, KeyId, KeyView, NewKey
from api.schemas.pages import DEFAULT_LIMIT, Cursor, Limit, Page, page_of, rows_to_ask
from api.security import KeyCache, require
from db.queries import access
from db.tables import ApiKey
from db.tables.access import Scope

router = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=KeyedRoute, dependencies=[require(Scope.ADMIN)])


@router.post("", response_model=NewKey, status_code=status.HTTP_201_CREATED, summary="Make a key")
def create_key(body: KeyBody, session: SessionDep, response: Response) -> dict[str, Any]:
    """Make a key. It is shown in this answer and never again; only its hash is stored."""
    expires_in = timedelta(days=body.expires_in_days) if body.expires_in_days is not None else None
    row, key = access.add_key(session, name=body.name, scopes=body.scopes, expires_in=expires_in)
    session.refresh(row)
    response.headers["Cache-Control"] = "no-store"
    return {**row.model_dump(), "key": key}


@router.get("", response_model=Page[KeyView], summary="List keys")
def list_keys(session: SessionDep, *, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT) -> dict[str, Any]:
    """Keys in the order in which they were made, those that have ended too; never their secrets."""
    return page_of(access.list_keys(session, cursor=cursor, limit=rows_to_ask(limit)), limit)


@router.delete("/{key_id}", response_model=KeyView, summary="Revoke a key")
def revoke_key(key_id: KeyId, session: SessionDep, request: Request) -> ApiKey:
    """End a key: this server refuses it at once, every other within 5 seconds. Repeating it changes nothing."""
    row = access.revoke_key(session, key_id)
    keys: KeyCache = request.app.state.keys
    keys.forget(key_id)
    logged_in: KeyCache = request.app.state.logins
    logged_in.forget_all()  # those that the key opened end with it
    return row
