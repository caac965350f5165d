"""Suspected wrong labels on the wire."""

from __future__ import annotations

from api.schemas.fields import View


class SuspectView(View):
    """One row of an evaluation, by how doubtful its label is."""

    rank: int
    """1 is the most doubtful."""
    snapshot_id: int
    image_sha256: str
    split: str
    label: float
    """What people said, as the model's target."""
    score: float
    """What a model says that did not learn from this row."""
    residual: float
    """Score minus label."""
    doubt: float
    """Residual without its sign over what is expected of an honest label; 3 is rare."""
    direction: str
    """`label too high` or `label too low`."""
    ratings: int
    """Verdicts behind the label; 0 where they are not known."""
    raters: str
    """Who rated, separated by spaces."""
    by: str
    """Which model doubts it."""
