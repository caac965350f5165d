"""The training loop: batches, loss, validation, the best epoch. The same numbers in, the same weights out.

Legend: N rows, `outputs` are head outputs before calibration. Reproducible on one machine with the same libraries and
the same number of threads, also across a resume; another number of threads rounds differently.
"""

from __future__ import annotations

import math
import random

import numpy as np
import torch
from torch import nn

from ml.events import Progress
from ml.training.checkpoints import UNUSABLE
from ml.training.fit_state import FitState
from ml.training.heads import ImageModel
from ml.training.learner import Fit, Learner, NonFiniteLossError, epoch_message, validate
from ml.training.recipe import Recipe
from ml.training.solver import solve


def make_deterministic(seed: int, threads: int) -> None:
    """Set this process's seeds and threads, and refuse operations whose result varies."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)


def fit(
    learner: Learner,
    train_rows: np.ndarray,
    val_rows: np.ndarray,
    progress: Progress,
    name: str = "",
    epochs: int | None = None,
) -> Fit:
    """Train one model. With the solver `lbfgs` on frozen features an epoch is a penalty, see `solver`.

    Keeps the epoch with the best primary metric on validation rows (their loss when they are few), and stops when it
    has not improved for `patience` epochs. Without validation rows it trains for all `epochs` and keeps the last.
    Goes on from the fit's checkpoint where there is one; heads on frozen features take seconds and have none.

    Args:
        learner: rows, inputs, recipe and checkpoints.
        train_rows: indices of rows, at least one.
        val_rows: indices of rows, may be empty.
        progress: of this training.
        name: of a fold, said before each message, another one for each fit of a run; empty for the final model.
        epochs: at most this many; the recipe's number by default.

    Raises:
        NonFiniteLossError: before the update that it would have ruined.
    """
    recipe, checkpoints = learner.recipe, learner.checkpoints
    if learner.is_frozen and recipe.solver == "lbfgs":
        return solve(learner, train_rows, val_rows, progress, name, epochs)
    with torch.random.fork_rng(devices=[]):
        state = _begin(learner, train_rows, epochs or recipe.epochs, progress, name)
        while not state.finished:
            if len(val_rows):
                state.keep_best()
            epoch = state.epoch + 1
            train_loss = _train_epoch(learner, state.model, state.optimizer, train_rows, state.generator, epoch)
            state.schedule.step()
            val, key = validate(learner, state.model, val_rows)
            state.epochs.append({"epoch": epoch, "attempt": checkpoints.attempt, "train_loss": train_loss, "val": val})
            if key > state.best_key or not len(val_rows):
                state.best_key, state.best_epoch, state.val_metrics = key, epoch, val
            state.finished = epoch == state.num_epochs or epoch - state.best_epoch >= recipe.patience
            # Only the final model's epochs are events; a fold's are progress.
            event = {} if name else state.epochs[-1]
            message = epoch_message(name, epoch, state.num_epochs, train_loss, val)
            progress.report(epoch / state.num_epochs, message, **event)
            if not learner.is_frozen and (state.finished or checkpoints.is_due()):
                checkpoints.write(name, epoch, state.finished, state.facts(), state.tensors())
    return state.end()


def _begin(learner: Learner, train_rows: np.ndarray, epochs: int, progress: Progress, name: str) -> FitState:
    """The state before the first epoch, or that of the fit's checkpoint."""
    checkpoints = learner.checkpoints
    saved = None if learner.is_frozen else checkpoints.read(name, progress)
    if saved is not None:
        state = _new_state(learner, train_rows, epochs, standardise=False)
        try:
            state.restore(saved)
        except UNUSABLE as error:
            checkpoints.refuse(name, error, progress)
        else:
            checkpoints.accept(name, saved)
            told = "is trained already" if saved.finished else f"goes on after epoch {saved.epoch}/{epochs}"
            progress.report(1.0 if saved.finished else saved.epoch / epochs, f"{name}{told}")
            return state
    return _new_state(learner, train_rows, epochs)


def _new_state(learner: Learner, train_rows: np.ndarray, epochs: int, *, standardise: bool = True) -> FitState:
    recipe = learner.recipe
    model = learner.new_model(train_rows, standardise=standardise)
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    optimizer = _optimizer(model, recipe)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    return FitState(model, optimizer, schedule, generator, epochs)


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
