"""A fifth kind of judgement, "gloom": how far a frame is from a perfect rating. It reuses the rating labels.

It stands for any kind that somebody adds: everything it is lies in this file, and it is registered by an entry point.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, Field

from ml.calibration import FITS, Calibration
from ml.judgements.base import Judgement, JudgementError, MetricSpec, ReviewSpec, Scale
from ml.manifest import ManifestRow
from ml.thresholds import fixed_policy

if TYPE_CHECKING:
    import torch

WORST = 5.0


class GloomLabel(BaseModel):
    """How gloomy a person finds a frame, 0..5."""

    kind: Literal["gloom"] = "gloom"
    gloom: float = Field(ge=0, le=WORST)


class GloomPrediction(BaseModel):
    """How gloomy a model finds a frame, 0..1."""

    kind: Literal["gloom"] = "gloom"
    raw_score: float = Field(ge=0, le=1)


class Gloom(Judgement):
    """Gloom is 5 less the rating."""

    name: ClassVar[str] = "gloom"
    version: ClassVar[int] = 1
    version_prefix: ClassVar[str] = "gloom"
    Label: ClassVar[type[BaseModel]] = GloomLabel
    Prediction: ClassVar[type[BaseModel]] = GloomPrediction
    images_per_item: ClassVar[tuple[int, int]] = (1, 1)
    label_sources: ClassVar[tuple[str, ...]] = ("calculated_rating", "manual_seed")
    heads: ClassVar[tuple[str, ...]] = ("level",)
    scale: ClassVar[Scale] = Scale(0.0, WORST)
    scores_snapshots: ClassVar[bool] = False
    review: ClassVar[ReviewSpec] = ReviewSpec(widget="slider", keys={"g": "gloomy", "b": "bright"})
    recipe_defaults: ClassVar[dict[str, Any]] = {"head": "level", "image_size": 32, "epochs": 20}

    def label_of(self, label_value: float) -> GloomLabel:
        """5 less the rating."""
        return GloomLabel(gloom=WORST - label_value)

    def target(self, label_value: float, head: str) -> float:
        """5 less the rating."""
        return WORST - label_value

    def is_good(self, label_value: float) -> bool | None:
        """Gloom knows no good or bad."""
        return None

    def check_targets(self, targets: np.ndarray, head: str) -> None:
        """Two different targets are needed."""
        if len(np.unique(targets)) < 2:
            raise JudgementError("gloom needs frames of different gloom: rate some more")

    def encode(self, targets: np.ndarray, head: str) -> np.ndarray:
        """To [0, 1]."""
        return (np.asarray(targets) / WORST).astype(np.float32)

    def build_head(self, num_features: int, head: str, dropout: float) -> torch.nn.Module:
        """One linear layer."""
        from torch import nn

        return nn.Sequential(nn.Dropout(dropout), nn.Linear(num_features, 1))

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, head: str) -> torch.Tensor:
        """Weighted squared error."""
        return (weights * (outputs[:, 0] - targets) ** 2).sum() / weights.sum()

    def graph_outputs(
        self, outputs: torch.Tensor, calibration: Calibration, scale: Scale, head: str
    ) -> dict[str, torch.Tensor]:
        """One output: a straight line, clamped."""
        (x0, x1), (y0, y1) = calibration.knots_x, calibration.knots_y
        line = y0 + (outputs[:, 0] - x0) * ((y1 - y0) / (x1 - x0))
        return {"raw_score": line.clamp(min(y0, y1), max(y0, y1)).clamp(0.0, 1.0)}

    def fit_calibration(self, outputs: np.ndarray, targets: np.ndarray, head: str, method: str) -> Calibration:
        """Always a straight line."""
        return FITS["linear"](outputs, targets)

    def outputs_from_head(
        self, outputs: np.ndarray, calibration: Calibration, scale: Scale, head: str
    ) -> dict[str, np.ndarray]:
        """As the graph does it."""
        return {"raw_score": calibration.apply(outputs)}

    def decode(self, outputs: dict[str, np.ndarray], scale: Scale, head: str) -> list[BaseModel]:
        """One prediction an item."""
        return [GloomPrediction(raw_score=float(value)) for value in outputs["raw_score"]]

    def from_raw_score(
        self, raw_score: float, scale: Scale, head: str, calibration: Calibration
    ) -> tuple[BaseModel, dict[str, float]]:
        """A known raw score as a prediction."""
        return GloomPrediction(raw_score=raw_score), {"raw_score": raw_score}

    def scores(self, outputs: dict[str, np.ndarray], head: str) -> np.ndarray:
        """Gloom, 0..5."""
        return np.asarray(outputs["raw_score"], dtype=np.float64) * WORST

    def metrics(self, head: str) -> tuple[MetricSpec, ...]:
        """One metric."""
        return (MetricSpec("mae", False, 0.0, WORST, "Mean distance from people's gloom."),)

    def measure(self, scores: np.ndarray, targets: np.ndarray, head: str) -> dict[str, float]:
        """The metric."""
        return {"mae": float(np.mean(np.abs(np.asarray(scores) - np.asarray(targets))))}

    def baselines(self, train: Sequence[ManifestRow], test: Sequence[ManifestRow], head: str) -> dict[str, np.ndarray]:
        """The mean of the training rows."""
        mean = float(np.mean([row.target_label for row in train if row.target_label is not None]))
        return {"predict the mean": np.full(len(test), mean)}

    def threshold_policy(self, head: str, scale: Scale) -> dict[str, Any]:
        """Gloomy from one half."""
        return fixed_policy(0.5, "raw_score", (0.0, 1.0))

    def disagreement(self, label: BaseModel, prediction: BaseModel) -> float:
        """Distance in [0, 1]."""
        assert isinstance(label, GloomLabel)
        assert isinstance(prediction, GloomPrediction)
        return abs(label.gloom / WORST - prediction.raw_score)
