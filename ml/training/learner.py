"""What stays the same between the trainings of one run, and what each of them ends with.

Legend: N rows, `outputs` are head outputs before calibration.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from ml.calibration import Calibration
from ml.events import VerbError
from ml.features.backbones import LoadedBackbone
from ml.judgements.base import Judgement, Scale
from ml.training.checkpoints import Checkpoints
from ml.training.dataset import Inputs, Items
from ml.training.heads import ImageModel, build_head
from ml.training.recipe import Recipe

# With fewer validation rows the metric jumps from epoch to epoch, and the loss is the steadier guide.
MIN_ROWS_FOR_METRIC = 10
PREDICT_BATCH = 64


class NonFiniteLossError(VerbError):
    """The loss became infinite or not a number; the weights were not updated by it."""

    code = "non_finite_loss"


@dataclass
class Fit:
    """A trained model and how it got there."""

    model: nn.Module
    """At its best epoch, in eval mode: a StandardisedHead (frozen backbone) or an ImageModel."""
    best_epoch: int
    """Counted from 1."""
    val_metrics: dict[str, float]
    """At the best epoch; empty without validation rows."""
    epochs: list[dict[str, Any]] = field(default_factory=list)
    """The log: of each epoch its number, the attempt that trained it, the loss and the metrics on validation rows."""


@dataclass(frozen=True)
class Learner:
    """Everything that stays the same between the trainings of one run: rows, inputs, recipe."""

    kind: Judgement
    recipe: Recipe
    scale: Scale
    items: Items
    inputs: Inputs
    backbone: LoadedBackbone
    checkpoints: Checkpoints = field(default_factory=Checkpoints)

    @property
    def is_frozen(self) -> bool:
        """Whether only the head is trained, on features."""
        return self.recipe.trainable == "head"

    def identity(self) -> Calibration:
        """The calibration before any is fitted."""
        nothing = np.zeros(0)
        return self.kind.fit_calibration(nothing, nothing, self.recipe.head, "none")

    def new_model(self, train_rows: np.ndarray, *, standardise: bool = True) -> nn.Module:
        """A model to start from: pretrained or random backbone (when it is trained), random head.

        `standardise` is off where the statistics of the features come from a checkpoint.
        """
        head = build_head(self.kind, self.recipe, self.backbone.num_features, self.recipe.seed)
        if self.is_frozen:
            head.standardise_by(self.inputs.batch(train_rows, None))
            return head
        encoder = copy.deepcopy(self.backbone.encoder)
        encoder.set_trainable(self.recipe.trainable)
        if standardise and self.backbone.source.kind != "none":
            # A random backbone's features change completely in the first steps, so their statistics mean nothing.
            head.standardise_by(self._run(encoder, train_rows))
        return ImageModel(encoder, head)

    def predict(self, model: nn.Module, rows: np.ndarray) -> np.ndarray:
        """Head outputs, float64 (len(rows),), in eval mode."""
        model.eval()
        return self._run(model, rows)[:, 0].double().numpy() if len(rows) else np.zeros(0)

    def scores(self, outputs: np.ndarray, calibration: Calibration) -> np.ndarray:
        """Scores on the target's scale, float64 (N,), of head outputs (N,)."""
        return np.asarray(self.kind.scores(self.named(outputs, calibration), self.recipe.head), dtype=np.float64)

    def named(self, outputs: np.ndarray, calibration: Calibration) -> dict[str, np.ndarray]:
        """Named outputs as the bundle will give them, each float64 (N,), of head outputs (N,)."""
        return self.kind.outputs_from_head(outputs, calibration, self.scale, self.recipe.head)

    def loss_of(self, outputs: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
        """Weighted mean loss of head outputs (len(rows), 1) against what is learned."""
        targets = torch.from_numpy(self.items.taught[rows])
        weights = torch.from_numpy(self.items.weights[rows])
        return self.kind.loss(outputs, targets, weights, self.recipe.head)

    def plain_loss_of(self, outputs: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
        """Mean loss of head outputs (len(rows), 1) against the plain labels: what validation goes by."""
        targets = torch.from_numpy(self.items.encoded[rows])
        return self.kind.loss(outputs, targets, torch.ones(len(rows)), self.recipe.head)

    @torch.no_grad()
    def _run(self, model: nn.Module, rows: np.ndarray) -> torch.Tensor:
        size = 4096 if self.is_frozen else PREDICT_BATCH
        parts = [model(self.inputs.batch(rows[start : start + size], None)) for start in range(0, len(rows), size)]
        return torch.cat(parts)


def validate(learner: Learner, model: nn.Module, rows: np.ndarray) -> tuple[dict[str, float], tuple[float, float]]:
    """Metrics on validation rows, and a key that is larger for a better epoch: the primary metric, then the loss."""
    if not len(rows):
        return {}, (-math.inf, -math.inf)
    outputs = learner.predict(model, rows)
    with torch.inference_mode():
        loss = float(learner.plain_loss_of(torch.from_numpy(outputs).float()[:, None], rows))
    head = learner.recipe.head
    measured = learner.kind.measure(learner.scores(outputs, learner.identity()), learner.items.targets[rows], head)
    primary = learner.kind.metrics(head)[0]
    value = measured.get(primary.name, math.nan)
    if len(rows) < MIN_ROWS_FOR_METRIC or not math.isfinite(value):
        value = 0.0
    order = value if primary.higher_is_better else -value
    return {primary.name: measured.get(primary.name, math.nan), "loss": loss, **measured}, (order, -loss)


def epoch_message(name: str, epoch: int, epochs: int, train_loss: float, val: dict[str, float]) -> str:
    """What a progress message says of an epoch; `name` is of the fit."""
    shown = ", ".join(f"val {key} {value:.3f}" for key, value in list(val.items())[:2])
    return f"{name}epoch {epoch}/{epochs}, {shown or f'loss {train_loss:.3f}'}"
