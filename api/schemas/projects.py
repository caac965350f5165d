"""Projects and their photos."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, StringConstraints

from api.schemas.fields import Body, Text, View

ProjectName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_. -]{0,63}$")]
"""1 to 64 letters, digits, blanks or `_ . -`, a letter or digit first."""
Directory = Annotated[Text, StringConstraints(pattern="^/")]


class ScanBody(Body):
    """Where the photos are."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"directory": "/srv/photos/training data/mojo1"}]})

    directory: Directory
    """Absolute path on the machine of the worker, below one that AFTERGLOW_PHOTO_ROOTS names there."""


class ProjectView(View):
    """One project."""

    id: int
    name: str
    photos: int
    created_at: datetime


class PhotoView(View):
    """One photo of a project."""

    id: int
    sha256: str
    name: str
    """File name, of the path that came first."""
    media_type: str
    width: int
    """In pixels, upright."""
    height: int
    """In pixels, upright."""
    byte_size: int
    orientation: int
    """As EXIF says, 1 to 8."""
    stage: float | None
    """1, 1.5, 2 or 3 as the name says; null where it says none."""
    taken_at: datetime | None
    """As the name says, read as UTC; null where it says none."""
    created_at: datetime
