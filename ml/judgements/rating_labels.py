"""What people say of a webcam snapshot and what a model says of it, and what follows from votes.

The label query of the database computes `label_from_votes` alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ml.judgements.base import JudgementError, Scale

LABEL_SCALE = Scale(0.0, 5.0)
"""What people's ratings are on, whatever the scale of a model's answers."""
GOOD_FROM = 4.0
"""A label of at least this, on LABEL_SCALE, is worth showing."""


class RatingLabel(BaseModel):
    """What people say of one snapshot."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    kind: Literal["rating"] = "rating"
    rating: float = Field(ge=0, le=5)
    """Mean rating, 0..5; 0 where it is not a sunset."""
    is_sunset: bool = True
    """False where most verdicts say "not a sunset"."""

    @model_validator(mode="after")
    def _not_a_sunset_is_zero(self) -> RatingLabel:
        if not self.is_sunset and self.rating != 0:
            raise ValueError("a snapshot that is not a sunset has rating 0")
        return self


class RatingPrediction(BaseModel):
    """What a model says of one snapshot."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    kind: Literal["rating"] = "rating"
    raw_score: float = Field(ge=0, le=1)
    """Calibrated model output."""
    ai_rating: float | None = None
    """`raw_score` on the model's scale; None from a binary head, which has no mapping to ratings."""
    p_good: float | None = Field(None, ge=0, le=1)
    """Probability that people would rate it 4 or more; None where no curve for it could be fitted."""


def label_from_votes(ratings: Sequence[int | None]) -> tuple[float | None, int, bool | None]:
    """What a snapshot's verdicts mean together: `(label_value, rating_count, is_good)`.

    A verdict is a rating 1..5, or None for "not a sunset". Where these are the majority, or as many as the ratings,
    the label is 0. Otherwise it is the mean rating, rounded half up to the two decimals that the column
    `calculated_rating` holds, so that label and column never stand on two sides of the threshold. `rating_count`
    counts ratings only. Without any verdict: `(None, 0, None)`.

    Raises:
        JudgementError: A rating is not one of 1..5.
    """
    given = [rating for rating in ratings if rating is not None]
    wrong = [rating for rating in given if rating not in (1, 2, 3, 4, 5)]
    if wrong:
        raise JudgementError(f"a rating is 1, 2, 3, 4 or 5, or empty for 'not a sunset'; got {wrong[0]!r}")
    if not ratings:
        return None, 0, None
    if len(ratings) - len(given) >= len(given):
        return 0.0, len(given), False
    mean = (Decimal(sum(given)) / Decimal(len(given))).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
    return float(mean), len(given), float(mean) >= GOOD_FROM
