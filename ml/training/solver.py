"""The exact solver of a head on frozen features: L-BFGS for a few penalties, of which validation rows choose one."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from ml.events import Progress
from ml.training.learner import Fit, Learner, NonFiniteLossError, epoch_message, validate

PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
"""Penalties on the sum of squared weights of a head on standardised features, from strong to weak."""
MAX_SOLVER_STEPS = 300


def solve(
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
        val, key = validate(learner, model, val_rows)
        attempt = learner.checkpoints.attempt
        result.epochs.append(
            {"epoch": number, "attempt": attempt, "penalty": penalty, "train_loss": train_loss, "val": val}
        )
        if key > best_key or not len(val_rows):
            best_key, result.best_epoch, result.val_metrics = key, number, val
            best_state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        event = {} if name else result.epochs[-1]
        progress.report(
            number / last, epoch_message(f"{name}penalty {penalty:g}, ", number, last, train_loss, val), **event
        )
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
