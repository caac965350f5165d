"""Retention."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from api.schemas.fields import Body, Flag


class RetentionBody(Body):
    """What may be removed, and whether it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"dry_run": True, "frames_days": 365}]})

    dry_run: Flag = True
    """Count only; false removes."""
    frames_days: float | None = Field(None, ge=1, le=36500, allow_inf_nan=False, strict=True)
    """Days that an image stays which nobody needs; null: as set."""
    events_days: float | None = Field(None, ge=1, le=36500, allow_inf_nan=False, strict=True)
    """Days that an attempt to score stays which kept no frame; null: as set."""
