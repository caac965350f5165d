"""API keys, without their secrets."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from api.schemas.fields import Body, Text, View
from db.tables.access import Scope

KeyId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}$")]
"""The public part of a key: of `ag_1a2b3c4d_...` it is `1a2b3c4d`."""


class KeyBody(Body):
    """A key to make."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "webcam-cron", "scopes": ["score", "ingest"], "expires_in_days": 365}]}
    )

    name: Text
    """Whose key it is; it stands in the log beside each of its requests."""
    scopes: list[Scope] = Field(min_length=1, max_length=len(Scope))
    """What it may do beside reading."""
    expires_in_days: int | None = Field(None, ge=1, le=3650, strict=True)
    """Days until it expires; empty: never."""


class KeyView(View):
    """A key, without its secret."""

    key_id: str
    """Its public part."""
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    """To the minute; null when it was never used."""


class NewKey(KeyView):
    """A key that was just made."""

    key: str
    """The whole key: keep it, it is not shown again."""
