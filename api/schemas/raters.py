"""Raters and what the others' ratings tell of them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from api.schemas.fields import View
from api.schemas.lineage import RunUseView
from api.schemas.pages import Page


class FigureView(View):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


class RaterView(View):
    """One rater."""

    id: int
    """Place in lists: of the first rating event."""
    rater: str
    ratings: int
    """Snapshots with a current verdict of this rater."""
    shared: int
    """Of these, snapshots that somebody else whose ratings count has rated too."""
    share_not_sunset: float | None
    per_minute: float | None
    """Ratings in a minute of work, by the median gap; null where they were imported or are few."""
    first_at: datetime
    last_at: datetime
    excluded: bool
    bias: FigureView | None
    """Stars more than others give; null where it cannot be told."""
    noise: FigureView | None
    """SD of the rater's own noise, in stars."""
    agreement: FigureView | None
    """Correlation with the mean of the others; 0 is chance."""
    state: Literal["insufficient", "sound", "doubtful"]
    reason: str
    """Why, as a sentence for people."""
    models: list[RunUseView] | None
    """Training runs that these ratings reached, newest first; in lists only of doubtful raters."""
    exclude_with: str | None
    """The command that has the ratings of a doubtful rater not count."""


class OverallView(View):
    """How far all raters agree whose ratings count."""

    alpha: FigureView | None
    """Krippendorff's alpha of stars, interval metric: 1 perfect, 0 chance."""
    snapshots: int
    """Snapshots with stars of two raters or more."""
    raters: int


class RaterPage(Page[RaterView]):
    """A page of raters, and how far all of them agree."""

    overall: OverallView
