"""Shadows: candidates that score along and are never shown."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import ConfigDict

from api.schemas.fields import View


class ShadowView(View):
    """Whether a version shadows, and how it did beside the active one."""

    model_config = ConfigDict(protected_namespaces=())

    model_version: str
    kind: str
    shadows: bool
    """It scores what the active version scores, from now on."""
    chosen_by: str | None
    """Who chose it; null while it does not shadow."""
    chosen_at: datetime | None
    comparison: dict[str, Any] | None
    """The newest one, with the active version of then; null before the first. `difference`, `flips` and `people`, each
    with n and intervals."""
    compared_at: datetime | None
