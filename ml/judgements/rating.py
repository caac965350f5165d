"""Rating: how good is this webcam snapshot, 0 (not a sunset) to 5 (spectacular and rare).

Beside this file: `rating_labels.py` (what people and models say), `rating_metrics.py`, and `graph.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import BaseModel

from ml import calibration as calibrations
from ml import metrics, thresholds
from ml.calibration import Calibration
from ml.judgements import graph
from ml.judgements.base import Judgement, JudgementError, MetricSpec, ReviewSpec, Scale, VotedTargets
from ml.judgements.rating_labels import GOOD_FROM, LABEL_SCALE, RatingLabel, RatingPrediction
from ml.judgements.rating_metrics import BINARY, GOOD_PROBABILITY, REGRESSION, measure_good, measure_stars
from ml.manifest import ManifestRow
from ml.noise import Labels, Noise, probability_good

if TYPE_CHECKING:
    import torch

HUBER_DELTA = 0.2
"""One star on the raw scale: beyond it the loss grows linearly, so that one careless rating does not steer a fit."""


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

    def label_of(self, label_value: float) -> RatingLabel:
        """A mean of 0 stars is what "not a sunset" means."""
        return RatingLabel(rating=label_value, is_sunset=label_value > 0)

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
        """`raw_score` with `ai_rating`, and `p_good` where its curve is known; or `raw_score` and `p_good` alike."""
        self._check_head(head)
        raw = graph.curve(calibration, outputs)
        if head == "binary":
            return {"raw_score": raw.flatten(), "p_good": raw.flatten().clone()}
        named = {"raw_score": raw.flatten(), "ai_rating": (scale.low + (scale.high - scale.low) * raw).flatten()}
        if calibration.good is not None:
            named["p_good"] = graph.curve(calibration.good, raw).flatten()
        return named

    # -- numpy -------------------------------------------------------------------------------------------------------

    def fit_calibration(self, outputs: np.ndarray, targets: np.ndarray, head: str, method: str) -> Calibration:
        """Regression: `auto` is linear, from 300 rows on isotonic; and a curve from the score to the chance of good.

        Binary: `auto` is platt, `none` the sigmoid.
        """
        self._check_head(head)
        known = ("auto", "none", "platt", "isotonic") if head == "binary" else ("auto", *calibrations.METHODS)
        if method not in known:
            raise JudgementError(f"the {head} head cannot be calibrated by {method!r}; use one of: {', '.join(known)}")
        if method == "auto":
            enough = len(np.ravel(outputs)) >= calibrations.ISOTONIC_MIN_ROWS
            method = "platt" if head == "binary" else "isotonic" if enough else "linear"
        if head == "binary":  # a logit must become a probability in any case
            return calibrations.FITS[method](outputs, targets) if method != "none" else Calibration("platt")
        score = calibrations.FITS[method](outputs, targets) if method != "none" else Calibration("none")
        stars = LABEL_SCALE.from_raw(np.asarray(targets, dtype=np.float64))
        is_good = stars >= GOOD_FROM - 1e-5  # encoded labels are float32
        good, why = calibrations.fit_good(score.apply(np.ravel(outputs)), is_good)
        return replace(score, good=good, good_missing=why)

    def outputs_from_head(
        self, outputs: np.ndarray, calibration: Calibration, scale: Scale, head: str
    ) -> dict[str, np.ndarray]:
        """The graph's outputs, computed with numpy."""
        return self._named(calibration.apply(np.ravel(outputs)), calibration, scale, head)

    def _named(self, raw: np.ndarray, calibration: Calibration, scale: Scale, head: str) -> dict[str, np.ndarray]:
        """All named outputs, which all follow from `raw_score` (N,)."""
        self._check_head(head)
        if head == "binary":
            return {"raw_score": raw, "p_good": raw.copy()}
        named = {"raw_score": raw, "ai_rating": np.asarray(scale.from_raw(raw))}
        return named if calibration.good is None else {**named, "p_good": calibration.good.apply(raw)}

    def decode(self, outputs: dict[str, np.ndarray], scale: Scale, head: str) -> list[BaseModel]:
        """One RatingPrediction per item."""
        self._check_head(head)
        given = {name: np.ravel(outputs[name]) for name in RatingPrediction.model_fields if name in outputs}
        return [
            RatingPrediction.model_validate({name: float(values[place]) for name, values in given.items()})
            for place in range(len(given["raw_score"]))
        ]

    def from_raw_score(
        self, raw_score: float, scale: Scale, head: str, calibration: Calibration
    ) -> tuple[BaseModel, dict[str, float]]:
        """The prediction and the named outputs that belong to a `raw_score` in [0, 1]."""
        named = self._named(np.array([raw_score]), calibration, scale, head)
        return self.decode(named, scale, head)[0], {name: float(values[0]) for name, values in named.items()}

    def scores(self, outputs: dict[str, np.ndarray], head: str) -> np.ndarray:
        """Stars on the label's scale 0..5 (whatever the model's scale), or the probability of good."""
        self._check_head(head)
        raw = np.asarray(outputs["raw_score"], dtype=np.float64).ravel()
        return np.asarray(LABEL_SCALE.from_raw(raw) if head == "regression" else raw)

    def metrics(self, head: str) -> tuple[MetricSpec, ...]:
        """Regression: MAE first. Binary: AUC first."""
        self._check_head(head)
        return REGRESSION if head == "regression" else BINARY

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
        return measure_stars(s, t, weights) if head == "regression" else measure_good(s, t, weights)

    def targets_from_votes(self, noise: Noise, labels: Labels, head: str) -> VotedTargets | None:
        """Regression: means less the biases of those who rated, weighted. Binary: P(true rating >= 4 | votes)."""
        self._check_head(head)
        if head == "regression":
            return VotedTargets(labels.corrected, True, "as means freed of the raters' biases, weighted by precision")
        return VotedTargets(
            probability_good(noise, labels, GOOD_FROM), False, f"as the probability of {GOOD_FROM:g} stars or more"
        )

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
