"""Rating: how good is this webcam snapshot, 0 (not a sunset) to 5 (spectacular and rare).

Also here: what follows from votes (`label_from_votes`), which the label query of the database computes alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ml import calibration as calibrations
from ml import metrics, thresholds
from ml.calibration import Calibration
from ml.judgements.base import Judgement, JudgementError, MetricSpec, ReviewSpec, Scale
from ml.manifest import ManifestRow

if TYPE_CHECKING:
    import torch

LABEL_SCALE = Scale(0.0, 5.0)
"""What people's ratings are on, whatever the scale of a model's answers."""
GOOD_FROM = 4.0
"""A label of at least this, on LABEL_SCALE, is worth showing."""
GOOD_PROBABILITY = 0.5
"""Default gate of the binary head, on `p_good`."""
HALF_STAR = 0.5
HUBER_DELTA = 0.2
"""One star on the raw scale: beyond it the loss grows linearly, so that one careless rating does not steer a fit."""


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
    """Probability that people would rate it 4 or more; None from a regression head."""


_REGRESSION = (
    MetricSpec("mae", False, 0.0, 5.0, "Mean absolute error, in stars."),
    MetricSpec("rmse", False, 0.0, 5.0, "Root mean squared error, in stars."),
    MetricSpec("pearson", True, -1.0, 1.0, "Linear correlation with people's ratings."),
    MetricSpec("spearman", True, -1.0, 1.0, "Rank correlation with people's ratings."),
    MetricSpec("r2", True, float("-inf"), 1.0, "Share of the variance of people's ratings that is explained."),
    MetricSpec("acc_within_half", True, 0.0, 1.0, "Share of snapshots at most half a star away."),
    MetricSpec("auc_good", True, 0.0, 1.0, "Chance that a good snapshot outscores another; good is 4 stars or more."),
    MetricSpec("f1_good", True, 0.0, 1.0, "F1 of 'good' when snapshots from 4.0 stars on are called good."),
    MetricSpec("balanced_accuracy", True, 0.0, 1.0, "Mean of the hit rates of good and other snapshots at 4.0 stars."),
)
_BINARY = (
    MetricSpec("auc", True, 0.0, 1.0, "Chance that a good snapshot outscores another one."),
    MetricSpec("average_precision", True, 0.0, 1.0, "Area under the precision-recall curve of 'good'."),
    MetricSpec("f1", True, 0.0, 1.0, "F1 of 'good' at probability 0.5."),
    MetricSpec("precision", True, 0.0, 1.0, "Share of snapshots called good that are."),
    MetricSpec("recall", True, 0.0, 1.0, "Share of good snapshots that are called good."),
    MetricSpec("balanced_accuracy", True, 0.0, 1.0, "Mean of the hit rates of good and other snapshots."),
    MetricSpec("brier", False, 0.0, 1.0, "Mean squared error of the probability."),
    MetricSpec("log_loss", False, 0.0, float("inf"), "Mean negative log likelihood, in nats."),
)


class Rating(Judgement):
    """Ratings of webcam snapshots, by regression (0..5 stars) or as a yes/no question (is it good?)."""

    name: ClassVar[str] = "rating"
    version: ClassVar[int] = 1
    version_prefix: ClassVar[str] = "sunset_v2"
    Label: ClassVar[type[BaseModel]] = RatingLabel
    Prediction: ClassVar[type[BaseModel]] = RatingPrediction
    images_per_item: ClassVar[tuple[int, int]] = (1, 1)
    label_sources: ClassVar[tuple[str, ...]] = ("calculated_rating", "manual_seed")
    heads: ClassVar[tuple[str, ...]] = ("regression", "binary")
    scale: ClassVar[Scale] = LABEL_SCALE
    scores_snapshots: ClassVar[bool] = True
    review: ClassVar[ReviewSpec] = ReviewSpec(
        widget="stars",
        keys={
            "1": "nothing", "2": "a trace of colour", "3": "real but unremarkable", "4": "vivid (would be shown)",
            "5": "spectacular and rare", "n": "not a sunset", "0": "not a sunset", "space": "skip, nothing is written",
            "z": "undo",
        },
    )  # fmt: skip
    recipe_defaults: ClassVar[dict[str, Any]] = {}
    good_from: ClassVar[float | None] = GOOD_FROM

    def _check_head(self, head: str) -> None:
        if head not in self.heads:
            raise JudgementError(f"a rating has no head called {head!r}; use one of: {', '.join(self.heads)}")

    # -- labels -> targets -------------------------------------------------------------------------------------------

    def target(self, label_value: float, head: str) -> float:
        """Stars 0..5 for regression; 1.0 (good) or 0.0 for binary."""
        self._check_head(head)
        return float(label_value) if head == "regression" else float(self.is_good(label_value))

    def is_good(self, label_value: float) -> bool:
        """Whether people would show it: 4 stars or more."""
        return bool(label_value >= GOOD_FROM)

    def check_targets(self, targets: np.ndarray, head: str) -> None:
        """Refuse targets from which the head can learn nothing."""
        self._check_head(head)
        if len(targets) == 0:
            raise JudgementError(
                "there are no labelled snapshots to train on; rate some over HTTP, or run "
                "`afterglow import snapshots FILE.csv --images DIR` with a column `rating`"
            )
        if not np.isfinite(targets).all():
            raise JudgementError("a target is not a finite number; the manifest is damaged, export the dataset again")
        if float(np.min(targets)) != float(np.max(targets)):
            return
        if head == "binary":
            rate = float(np.mean(targets))
            raise JudgementError(
                f"all {len(targets)} rows are {'good' if rate else 'not good'} (positive rate {rate:g}) at the "
                f"threshold {GOOD_FROM:g} on the scale {LABEL_SCALE.low:g}..{LABEL_SCALE.high:g}, so a binary head "
                "cannot learn; check that the ratings are on that scale, add labels of the other class, or train with "
                "head=regression"
            )
        raise JudgementError(
            f"all {len(targets)} rows have the same rating ({float(targets[0]):g} on the scale {LABEL_SCALE.low:g}.."
            f"{LABEL_SCALE.high:g}), so there is nothing to learn; add snapshots with other ratings"
        )

    def encode(self, targets: np.ndarray, head: str) -> np.ndarray:
        """Stars 0..5 to [0, 1]; classes stay 0 and 1. float32 (N,)."""
        self._check_head(head)
        encoded = LABEL_SCALE.to_raw(np.asarray(targets, dtype=np.float64)) if head == "regression" else targets
        return np.asarray(encoded, dtype=np.float32)

    # -- torch -------------------------------------------------------------------------------------------------------

    def build_head(self, num_features: int, head: str, dropout: float) -> torch.nn.Module:
        """Dropout and one linear layer, (N, D) -> (N, 1): a raw score for regression, a logit for binary."""
        import torch

        self._check_head(head)
        linear = torch.nn.Linear(num_features, 1)
        # Random weights on hundreds of standardised features are noise of half the scale, which few rows never undo.
        torch.nn.init.zeros_(linear.weight)
        if head == "regression":
            torch.nn.init.constant_(linear.bias, 0.5)  # the middle of the raw scale, else the first epochs only find it
        return torch.nn.Sequential(torch.nn.Dropout(dropout), linear)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, head: str) -> torch.Tensor:
        """Huber loss on the raw scale, or cross entropy with logits; weighted mean."""
        from torch.nn import functional

        self._check_head(head)
        flat = outputs.flatten()
        if head == "regression":
            each = functional.huber_loss(flat, targets, reduction="none", delta=HUBER_DELTA)
        else:
            each = functional.binary_cross_entropy_with_logits(flat, targets, reduction="none")
        return (each * weights).sum() / weights.sum()

    def graph_outputs(
        self, outputs: torch.Tensor, calibration: Calibration, scale: Scale, head: str
    ) -> dict[str, torch.Tensor]:
        """`raw_score` and `ai_rating`, or `raw_score` and `p_good`, each (N,) float32."""
        import torch

        self._check_head(head)
        if calibration.method == "platt":
            raw = torch.sigmoid(calibration.slope * outputs + calibration.intercept).flatten()
        else:
            k0, y0, s0, bends = calibrations.knot_form(calibration)
            raw = y0 + s0 * (outputs - k0)
            if bends:
                knots = torch.tensor([[knot for knot, _ in bends]], dtype=torch.float32, device=outputs.device)
                change = torch.tensor([[each for _, each in bends]], dtype=torch.float32, device=outputs.device)
                inside = outputs.clamp(calibration.knots_x[0], calibration.knots_x[-1])
                raw = raw + (torch.relu(inside - knots) * change).sum(dim=1, keepdim=True)
            raw = raw.clamp(0.0, 1.0).flatten()
        if head == "binary":
            return {"raw_score": raw, "p_good": raw.clone()}
        return {"raw_score": raw, "ai_rating": scale.low + (scale.high - scale.low) * raw}

    # -- numpy -------------------------------------------------------------------------------------------------------

    def fit_calibration(self, outputs: np.ndarray, targets: np.ndarray, head: str, method: str) -> Calibration:
        """Regression: `auto` is linear, from 300 rows on isotonic. Binary: `auto` is platt, `none` the sigmoid."""
        self._check_head(head)
        known = ("auto", "none", "platt", "isotonic") if head == "binary" else ("auto", *calibrations.METHODS)
        if method not in known:
            raise JudgementError(f"the {head} head cannot be calibrated by {method!r}; use one of: {', '.join(known)}")
        if method == "auto":
            enough = len(np.ravel(outputs)) >= calibrations.ISOTONIC_MIN_ROWS
            method = "platt" if head == "binary" else "isotonic" if enough else "linear"
        if method == "none":
            return Calibration("platt" if head == "binary" else "none")  # a logit must become a probability in any case
        return calibrations.FITS[method](outputs, targets)

    def outputs_from_head(
        self, outputs: np.ndarray, calibration: Calibration, scale: Scale, head: str
    ) -> dict[str, np.ndarray]:
        """The graph's outputs, computed with numpy."""
        self._check_head(head)
        raw = calibration.apply(np.ravel(outputs))
        return {"raw_score": raw, "p_good": raw.copy()} if head == "binary" else {
            "raw_score": raw, "ai_rating": scale.from_raw(raw)
        }  # fmt: skip

    def decode(self, outputs: dict[str, np.ndarray], scale: Scale, head: str) -> list[BaseModel]:
        """One RatingPrediction per item."""
        self._check_head(head)
        raw = np.ravel(outputs["raw_score"])
        other = "p_good" if head == "binary" else "ai_rating"
        return [
            RatingPrediction.model_validate({"raw_score": float(score), other: float(value)})
            for score, value in zip(raw, np.ravel(outputs[other]), strict=True)
        ]

    def from_raw_score(self, raw_score: float, scale: Scale, head: str) -> tuple[BaseModel, dict[str, float]]:
        """The prediction and the named outputs that belong to a `raw_score` in [0, 1]."""
        self._check_head(head)
        other = {"p_good": raw_score} if head == "binary" else {"ai_rating": float(scale.from_raw(raw_score))}
        outputs = {"raw_score": raw_score, **other}
        return RatingPrediction.model_validate(outputs), outputs

    def scores(self, outputs: dict[str, np.ndarray], head: str) -> np.ndarray:
        """Stars on the label's scale 0..5 (whatever the model's scale), or the probability of good."""
        self._check_head(head)
        raw = np.asarray(outputs["raw_score"], dtype=np.float64).ravel()
        return np.asarray(LABEL_SCALE.from_raw(raw) if head == "regression" else raw)

    def metrics(self, head: str) -> tuple[MetricSpec, ...]:
        """Regression: MAE first. Binary: AUC first."""
        self._check_head(head)
        return _REGRESSION if head == "regression" else _BINARY

    def measure(self, scores: np.ndarray, targets: np.ndarray, head: str) -> dict[str, float]:
        """All metrics of `head`, NaN where undefined."""
        measured = self.measure_many(scores, targets, metrics.once(len(scores)), head)
        return {name: float(values[0]) for name, values in measured.items()}

    def measure_many(
        self, scores: np.ndarray, targets: np.ndarray, weights: np.ndarray, head: str
    ) -> dict[str, np.ndarray]:
        """All metrics of `head` under many weightings of the rows (B, N), each (B,)."""
        self._check_head(head)
        s, t = np.asarray(scores, dtype=np.float64).ravel(), np.asarray(targets, dtype=np.float64).ravel()
        if head == "regression":
            positive = t >= GOOD_FROM
            decided = metrics.decisions(s >= GOOD_FROM, positive, weights)
            return {
                "mae": metrics.mae(s, t, weights), "rmse": metrics.rmse(s, t, weights),
                "pearson": metrics.pearson(s, t, weights), "spearman": metrics.spearman(s, t, weights),
                "r2": metrics.r2(s, t, weights),
                "acc_within_half": metrics.accuracy_within(s, t, weights, HALF_STAR),
                "auc_good": metrics.auc(s, positive, weights), "f1_good": decided["f1"],
                "balanced_accuracy": decided["balanced_accuracy"],
            }  # fmt: skip
        positive = t > 0.5
        decided = metrics.decisions(s >= GOOD_PROBABILITY, positive, weights)
        return {
            "auc": metrics.auc(s, positive, weights),
            "average_precision": metrics.average_precision(s, positive, weights),
            **{name: decided[name] for name in ("f1", "precision", "recall", "balanced_accuracy")},
            "brier": metrics.brier(s, positive, weights), "log_loss": metrics.log_loss(s, positive, weights),
        }  # fmt: skip

    def stars_per_target(self, head: str) -> float | None:
        """Regression is in stars; the binary head answers yes or no."""
        self._check_head(head)
        return 1.0 if head == "regression" else None

    def baselines(self, train: Sequence[ManifestRow], test: Sequence[ManifestRow], head: str) -> dict[str, np.ndarray]:
        """Predictors without a model, fitted on `train`.

        Raises:
            JudgementError: `train` has no row.
        """
        self._check_head(head)
        targets = np.array([_target_of(row) for row in train])
        if len(targets) == 0:
            raise JudgementError("baselines need at least one training row")
        mean = float(targets.mean())
        binary = head == "binary"
        found = {"predict the base rate" if binary else "predict the mean": np.full(len(test), mean)}
        if not binary:
            found["predict the median"] = np.full(len(test), float(np.median(targets)))
        by_webcam: dict[int, list[float]] = defaultdict(list)
        for row, value in zip(train, targets, strict=True):
            by_webcam[row.webcam_id].append(float(value))
        if any(row.webcam_id in by_webcam for row in test):
            found["per-webcam rate" if binary else "per-webcam mean"] = np.array(
                [float(np.mean(by_webcam.get(row.webcam_id, [mean]))) for row in test]
            )
        return found

    def threshold_policy(self, head: str, scale: Scale) -> dict[str, Any]:
        """Regression: 4 stars, written on the model's scale. Binary: probability 0.5."""
        self._check_head(head)
        if head == "binary":
            return thresholds.fixed_policy(GOOD_PROBABILITY, "p_good", thresholds.PROBABILITY_SCALE)
        threshold = round(float(scale.from_raw(LABEL_SCALE.to_raw(GOOD_FROM))), 6)
        return thresholds.fixed_policy(threshold, thresholds.SCALED_OUTPUT, (scale.low, scale.high))

    def disagreement(self, label: BaseModel, prediction: BaseModel) -> float:
        """`|rating - predicted| / 5`, or `|is_good - p_good|` where the model answers only yes or no.

        The prediction is taken from `raw_score`, so that a model on another scale than 0..5 is compared fairly.
        """
        if not isinstance(label, RatingLabel) or not isinstance(prediction, RatingPrediction):
            raise JudgementError(
                f"a rating's disagreement needs a RatingLabel and a RatingPrediction, not "
                f"{type(label).__name__} and {type(prediction).__name__}"
            )
        if prediction.ai_rating is None and prediction.p_good is not None:
            return abs(prediction.p_good - float(self.is_good(label.rating)))
        predicted = float(LABEL_SCALE.from_raw(prediction.raw_score))
        return abs(predicted - label.rating) / (LABEL_SCALE.high - LABEL_SCALE.low)


def _target_of(row: ManifestRow) -> float:
    if row.target_label is None:
        raise JudgementError(f"snapshot {row.snapshot_id} has no target; export the dataset again")
    return row.target_label


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
