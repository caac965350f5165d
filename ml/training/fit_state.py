"""All that changes from epoch to epoch of a fit, and how it is put into a checkpoint and taken out again.

Exact: weights, optimizer, learning rates, the order of the rows and every random state come back bit by bit, so that
the epochs after a resume are those that would have been.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from ml.training.checkpoints import Saved
from ml.training.learner import Fit

_MODEL, _BEST, _OPTIMIZER, _RANDOM = "model/", "best/", "optimizer/", "random/"


@dataclass
class FitState:
    """One fit after some of its epochs."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    generator: torch.Generator
    """Of the order of the rows and of augmentation."""
    num_epochs: int
    """Epochs at most."""
    epochs: list[dict[str, Any]] = field(default_factory=list)
    """The log, one entry for each epoch that is done."""
    best_epoch: int = 0
    best_key: tuple[float, float] = (-math.inf, -math.inf)
    """Larger is better."""
    val_metrics: dict[str, float] = field(default_factory=dict)
    finished: bool = False
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    """Weights of the best epoch; stale while that is the last one, whose weights the model itself has."""

    @property
    def epoch(self) -> int:
        """The last epoch that is done."""
        return len(self.epochs)

    def keep_best(self) -> None:
        """Keep the best epoch's weights apart before the model moves on; the same memory is used each time."""
        if self.best_epoch != self.epoch or not self.epoch:
            return
        state = self.model.state_dict()
        if not self.best:
            self.best = {name: tensor.clone() for name, tensor in state.items()}
            return
        for name, tensor in state.items():
            self.best[name].copy_(tensor)

    def end(self) -> Fit:
        """The fit at its best epoch, in eval mode."""
        if self.best and self.best_epoch != self.epoch:
            self.model.load_state_dict(self.best)
        self.best = {}
        return Fit(self.model.eval(), self.best_epoch, self.val_metrics, self.epochs)

    def facts(self) -> dict[str, Any]:
        """The part of the state that JSON can say."""
        known: dict[str, Any] = {
            "num_epochs": self.num_epochs,
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "best_key": list(self.best_key),
            "val_metrics": self.val_metrics,
        }
        if not self.finished:
            known["param_groups"] = self.optimizer.state_dict()["param_groups"]
            known["schedule"] = self.schedule.state_dict()
        _, _, position, has_gauss, gauss = _numpy_random()
        version, _, next_gauss = random.getstate()
        known["numpy_random"] = [int(position), int(has_gauss), float(gauss)]
        known["python_random"] = [version, next_gauss]
        return known

    def tensors(self) -> dict[str, torch.Tensor]:
        """The part of the state that is tensors. Of a fit that is finished only the best weights are of use."""
        current = {name: tensor.detach().contiguous() for name, tensor in self.model.state_dict().items()}
        best_is_last = self.best_epoch == self.epoch
        if self.finished:
            chosen = current if best_is_last else self.best
            known = {_MODEL + name: tensor for name, tensor in chosen.items()}
        else:
            known = {_MODEL + name: tensor for name, tensor in current.items()}
            if not best_is_last:
                known |= {_BEST + name: tensor for name, tensor in self.best.items()}
            for number, values in self.optimizer.state_dict()["state"].items():
                known |= {f"{_OPTIMIZER}{number}/{name}": tensor.contiguous() for name, tensor in values.items()}
            known[f"{_RANDOM}torch"] = torch.get_rng_state()
            known[f"{_RANDOM}order"] = self.generator.get_state()
        known[f"{_RANDOM}numpy"] = torch.from_numpy(_numpy_random()[1].astype(np.int64))
        known[f"{_RANDOM}python"] = torch.tensor(random.getstate()[1], dtype=torch.int64)
        return known

    def restore(self, saved: Saved) -> None:
        """Take over a checkpoint, and torch's, numpy's and Python's random states with it.

        Raises:
            KeyError, TypeError, ValueError, RuntimeError: It does not fit; this state is then of no use any more.
        """
        facts, tensors = saved.facts, saved.tensors
        if facts["num_epochs"] != self.num_epochs or len(facts["epochs"]) != saved.epoch:
            raise ValueError(f"it is of a training of {facts['num_epochs']} epochs, not {self.num_epochs}")
        self.epochs, self.val_metrics = facts["epochs"], facts["val_metrics"]
        self.best_epoch, self.finished = int(facts["best_epoch"]), saved.finished
        first, second = facts["best_key"]
        self.best_key = (float(first), float(second))
        self.model.load_state_dict(_take(tensors, _MODEL))
        if not saved.finished:  # else the model is at its best epoch and nothing more is needed
            self.best = _take(tensors, _BEST)
            optimizer: dict[Any, dict[str, torch.Tensor]] = {}
            for name, tensor in _take(tensors, _OPTIMIZER).items():
                number, _, key = name.partition("/")
                optimizer.setdefault(int(number), {})[key] = tensor
            merged: dict[str, Any] = {"state": optimizer, "param_groups": facts["param_groups"]}
            self.optimizer.load_state_dict(merged)
            self.schedule.load_state_dict(facts["schedule"])
            self.generator.set_state(tensors[f"{_RANDOM}order"])
            torch.set_rng_state(tensors[f"{_RANDOM}torch"])
        position, has_gauss, gauss = facts["numpy_random"]
        keys = tensors[f"{_RANDOM}numpy"].numpy().astype(np.uint32)
        np.random.set_state(("MT19937", keys, position, has_gauss, gauss))
        version, next_gauss = facts["python_random"]
        random.setstate((version, tuple(tensors[f"{_RANDOM}python"].tolist()), next_gauss))


def _numpy_random() -> tuple[str, np.ndarray, int, int, float]:
    found = np.random.get_state(legacy=True)
    assert isinstance(found, tuple)
    return found


def _take(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors of one part, without its prefix; they leave the dictionary, so that none is held twice."""
    names = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors.pop(name) for name in names}
