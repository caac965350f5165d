"""The training loop: batches, loss, validation, the best epoch. The same numbers in, the same weights out.

Legend: N rows, `outputs` are head outputs before calibration. Reproducible on one machine with the same libraries and
the same number of threads; another number of threads rounds differently.
"""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from ml.calibration import Calibration
from ml.events import Progress, VerbError
from ml.features.backbones import LoadedBackbone
from ml.judgements.base import Judgement, Scale
from ml.training.dataset import Inputs, Items
from ml.training.heads import ImageModel, build_head
from ml.training.recipe import Recipe

# With fewer validation rows the metric jumps from epoch to epoch, and the loss is the steadier guide.
MIN_ROWS_FOR_METRIC = 10
PREDICT_BATCH = 64
PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
"""Penalties on the sum of squared weights of a head on standardised features, from strong to weak."""
MAX_SOLVER_STEPS = 300
SECONDS_BETWEEN_CHECKPOINTS = 10.0


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


def make_deterministic(seed: int, threads: int) -> None:
    """Set this process's seeds and threads, and refuse operations whose result varies."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)


@dataclass(frozen=True)
class Learner:
    """Everything that stays the same between the trainings of one run: rows, inputs, recipe."""

    kind: Judgement
    recipe: Recipe
    scale: Scale
    items: Items
    inputs: Inputs
    backbone: LoadedBackbone

    @property
    def is_frozen(self) -> bool:
        """Whether only the head is trained, on features."""
        return self.recipe.trainable == "head"

    def identity(self) -> Calibration:
        """The calibration before any is fitted."""
        nothing = np.zeros(0)
        return self.kind.fit_calibration(nothing, nothing, self.recipe.head, "none")

    def new_model(self, train_rows: np.ndarray) -> nn.Module:
        """A model to start from: pretrained or random backbone (when it is trained), random head."""
        head = build_head(self.kind, self.recipe, self.backbone.num_features, self.recipe.seed)
        if self.is_frozen:
            head.standardise_by(self.inputs.batch(train_rows, None))
            return head
        encoder = copy.deepcopy(self.backbone.encoder)
        encoder.set_trainable(self.recipe.trainable)
        if self.backbone.source.kind != "none":
            # A random backbone's features change completely in the first steps, so their statistics mean nothing.
            head.standardise_by(self._run(encoder, train_rows))
        return ImageModel(encoder, head)

    def predict(self, model: nn.Module, rows: np.ndarray) -> np.ndarray:
        """Head outputs, float64 (len(rows),), in eval mode."""
        model.eval()
        return self._run(model, rows)[:, 0].double().numpy() if len(rows) else np.zeros(0)

    def scores(self, outputs: np.ndarray, calibration: Calibration) -> np.ndarray:
        """Scores on the target's scale, float64 (N,), of head outputs (N,)."""
        named = self.kind.outputs_from_head(outputs, calibration, self.scale, self.recipe.head)
        return np.asarray(self.kind.scores(named, self.recipe.head), dtype=np.float64)

    def loss_of(self, outputs: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
        """Weighted mean loss of head outputs (len(rows), 1)."""
        targets = torch.from_numpy(self.items.encoded[rows])
        weights = torch.from_numpy(self.items.weights[rows])
        return self.kind.loss(outputs, targets, weights, self.recipe.head)

    @torch.no_grad()
    def _run(self, model: nn.Module, rows: np.ndarray) -> torch.Tensor:
        size = 4096 if self.is_frozen else PREDICT_BATCH
        parts = [model(self.inputs.batch(rows[start : start + size], None)) for start in range(0, len(rows), size)]
        return torch.cat(parts)


def fit(
    learner: Learner,
    train_rows: np.ndarray,
    val_rows: np.ndarray,
    progress: Progress,
    name: str = "",
    epochs: int | None = None,
    on_best: Callable[[nn.Module], None] | None = None,
) -> Fit:
    """Train one model. With the solver `lbfgs` on frozen features an epoch is a penalty, see `_solve`.

    Keeps the epoch with the best primary metric on validation rows (their loss when they are few), and stops when it
    has not improved for `patience` epochs. Without validation rows it trains for all `epochs` and keeps the last.

    Args:
        learner: rows, inputs and recipe.
        train_rows: indices of rows, at least one.
        val_rows: indices of rows, may be empty.
        progress: of this training.
        name: of a fold, said before each message; empty for the final model.
        epochs: at most this many; the recipe's number by default.
        on_best: called with the model now and then, when it is the best so far.

    Raises:
        NonFiniteLossError: before the update that it would have ruined.
    """
    recipe = learner.recipe
    if learner.is_frozen and recipe.solver == "lbfgs":
        return _solve(learner, train_rows, val_rows, progress, name, epochs)
    epochs = epochs or recipe.epochs
    result = Fit(learner.new_model(train_rows), 0, {})
    best_state: dict[str, torch.Tensor] = {}
    best_key = (-math.inf, -math.inf)
    last_checkpoint = -math.inf
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        generator = torch.Generator().manual_seed(recipe.seed)
        optimizer = _optimizer(result.model, recipe)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        for epoch in range(1, epochs + 1):
            train_loss = _train_epoch(learner, result.model, optimizer, train_rows, generator, epoch)
            schedule.step()
            val, key = _validate(learner, result.model, val_rows)
            result.epochs.append({"epoch": epoch, "train_loss": train_loss, "val": val})
            if key > best_key or not len(val_rows):
                best_key, result.best_epoch, result.val_metrics = key, epoch, val
                best_state = {name: tensor.clone() for name, tensor in result.model.state_dict().items()}
                if on_best is not None and time.monotonic() - last_checkpoint > SECONDS_BETWEEN_CHECKPOINTS:
                    on_best(result.model)
                    last_checkpoint = time.monotonic()
            # Only the final model's epochs are events; a fold's are progress.
            event = {} if name else result.epochs[-1]
            progress.report(epoch / epochs, _message(name, epoch, epochs, train_loss, val), **event)
            if epoch - result.best_epoch >= recipe.patience:
                break
    result.model.load_state_dict(best_state)
    result.model.eval()
    return result


def _solve(
    learner: Learner, train_rows: np.ndarray, val_rows: np.ndarray, progress: Progress, name: str, epochs: int | None
) -> Fit:
    """Fit the head exactly for each penalty, from strong to weak, each from the solution before it.

    On a few thousand frozen features the loss of a linear head is convex: L-BFGS finds its minimum in a fraction of a
    second, and only the penalty on the weights is left to choose, by the validation metric. Without validation rows
    the penalty is that of `epochs` (a median over folds), else the middle one. Dropout is off.

    Raises:
        NonFiniteLossError: The loss became infinite or not a number.
    """
    result = Fit(learner.new_model(train_rows), 0, {})
    model = result.model.eval()
    last = len(PENALTIES)
    if not len(val_rows):
        last = min(epochs, last) if epochs is not None and epochs <= last else (last + 1) // 2
    features = learner.inputs.batch(train_rows, None)
    best_state: dict[str, torch.Tensor] = {}
    best_key = (-math.inf, -math.inf)
    for number, penalty in enumerate(PENALTIES[:last], start=1):
        train_loss = _minimise(learner, model, features, train_rows, penalty)
        val, key = _validate(learner, model, val_rows)
        result.epochs.append({"epoch": number, "penalty": penalty, "train_loss": train_loss, "val": val})
        if key > best_key or not len(val_rows):
            best_key, result.best_epoch, result.val_metrics = key, number, val
            best_state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        event = {} if name else result.epochs[-1]
        progress.report(number / last, _message(f"{name}penalty {penalty:g}, ", number, last, train_loss, val), **event)
    model.load_state_dict(best_state)
    return result


def _minimise(learner: Learner, model: nn.Module, features: torch.Tensor, rows: np.ndarray, penalty: float) -> float:
    """Minimise loss + penalty * sum of squared weights (biases are free) from where the model is; returns the loss."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    weights = [parameter for parameter in parameters if parameter.ndim > 1]
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=MAX_SOLVER_STEPS, tolerance_grad=1e-7, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        objective = learner.loss_of(model(features), rows)
        for weight in weights:
            objective = objective + penalty * weight.square().sum()
        objective.backward()  # type: ignore[no-untyped-call]
        return objective

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        loss = float(learner.loss_of(model(features), rows))
    if not math.isfinite(loss):
        raise NonFiniteLossError(f"the loss became {loss} with penalty {penalty}; try solver=adamw")
    return loss


def _message(name: str, epoch: int, epochs: int, train_loss: float, val: dict[str, float]) -> str:
    shown = ", ".join(f"val {key} {value:.3f}" for key, value in list(val.items())[:2])
    return f"{name}epoch {epoch}/{epochs}, {shown or f'loss {train_loss:.3f}'}"


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    if isinstance(model, ImageModel):
        backbone = [parameter for parameter in model.encoder.parameters() if parameter.requires_grad]
        groups = [
            {"params": list(model.head.parameters()), "lr": recipe.learning_rate},
            {"params": backbone, "lr": recipe.backbone_learning_rate},
        ]
    else:
        groups = [{"params": list(model.parameters()), "lr": recipe.learning_rate}]
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)


def _train_epoch(
    learner: Learner,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rows: np.ndarray,
    generator: torch.Generator,
    epoch: int,
) -> float:
    model.train()
    if isinstance(model, ImageModel):
        model.encoder.set_training(learner.recipe.trainable)
    shuffled = rows[torch.randperm(len(rows), generator=generator).numpy()]
    # Batches of equal size, and never of one row, for which batch norm has no variance.
    num_batches = min(math.ceil(len(rows) / learner.recipe.batch_size), max(1, len(rows) // 2))
    total = 0.0
    for batch in np.array_split(shuffled, num_batches):
        loss = learner.loss_of(model(learner.inputs.batch(batch, generator)), batch)
        if not torch.isfinite(loss):
            raise NonFiniteLossError(
                f"the loss became {loss.item()} in epoch {epoch}; lower learning_rate "
                f"({learner.recipe.learning_rate}) or backbone_learning_rate ({learner.recipe.backbone_learning_rate})"
            )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.item() * len(batch)
    return total / len(rows)


def _validate(learner: Learner, model: nn.Module, rows: np.ndarray) -> tuple[dict[str, float], tuple[float, float]]:
    """Metrics on validation rows, and a key that is larger for a better epoch: the primary metric, then the loss."""
    if not len(rows):
        return {}, (-math.inf, -math.inf)
    outputs = learner.predict(model, rows)
    with torch.inference_mode():
        loss = float(learner.loss_of(torch.from_numpy(outputs).float()[:, None], rows))
    head = learner.recipe.head
    measured = learner.kind.measure(learner.scores(outputs, learner.identity()), learner.items.targets[rows], head)
    primary = learner.kind.metrics(head)[0]
    value = measured.get(primary.name, math.nan)
    if len(rows) < MIN_ROWS_FOR_METRIC or not math.isfinite(value):
        value = 0.0
    order = value if primary.higher_is_better else -value
    return {primary.name: measured.get(primary.name, math.nan), "loss": loss, **measured}, (order, -loss)
