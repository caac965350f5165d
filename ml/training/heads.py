"""The model that is trained: a backbone, a standardising layer, and the head that the judgement builds.

Legend: N items, D features, H x W pixels. A run's directory holds `weights.safetensors`, and last `training.json`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from ml.calibration import Calibration
from ml.events import VerbError
from ml.features.backbones import Encoder, build_encoder, tensors_sha256
from ml.features.handmade import DEFINITIONS_SHA256
from ml.judgements import judgement
from ml.judgements.base import Judgement, Scale
from ml.training.recipe import Recipe, make_recipe

WEIGHTS_FILE, TRAINING_FILE, EPOCHS_FILE, OOF_FILE = "weights.safetensors", "training.json", "epochs.jsonl", "oof.csv"


class RunError(VerbError):
    """A run's directory is incomplete or damaged; train again."""

    code = "bad_manifest"


class StandardisedHead(nn.Module):
    """Features (N, D) to head outputs (N, 1): each feature minus its mean over the training rows, over its spread.

    Both are buffers, so they travel with the weights and into the graph.
    """

    feature_mean: torch.Tensor
    feature_std: torch.Tensor

    def __init__(self, inner: nn.Module, num_features: int) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("feature_mean", torch.zeros(num_features))
        self.register_buffer("feature_std", torch.ones(num_features))

    def standardise_by(self, features: torch.Tensor) -> None:
        """Take mean and spread from training rows (N, D); a feature that hardly varies keeps its scale."""
        self.feature_mean.copy_(features.mean(dim=0))
        std = features.std(dim=0, unbiased=False)
        floor = 1e-3 * float(std.mean())
        self.feature_std.copy_(torch.where(std > max(floor, 1e-12), std, torch.ones_like(std)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Standardise and judge."""
        outputs: torch.Tensor = self.inner((features - self.feature_mean) / self.feature_std)
        return outputs


class ImageModel(nn.Module):
    """Pixels `(N, H, W, 3)` to head outputs (N, 1)."""

    def __init__(self, encoder: Encoder, head: StandardisedHead) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode and judge."""
        outputs: torch.Tensor = self.head(self.encoder(pixels))
        return outputs


@dataclass(frozen=True)
class TrainedRun:
    """What a finished run left behind."""

    facts: dict[str, Any]
    """training.json."""
    judgement: Judgement
    recipe: Recipe
    scale: Scale
    calibration: Calibration
    model: ImageModel
    """In eval mode."""


def build_head(kind: Judgement, recipe: Recipe, num_features: int, seed: int) -> StandardisedHead:
    """The judgement's head with seeded random weights; leaves torch's random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inner = kind.build_head(num_features, recipe.head, recipe.dropout)
    return StandardisedHead(inner, num_features)


def write_weights(model: ImageModel, path: Path) -> str:
    """Write all tensors of the model as safetensors; returns their content's sha256."""
    state = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    part = path.with_name(path.name + ".part")
    part.write_bytes(safetensors.torch.save(state))
    part.replace(path)
    return tensors_sha256(state)


def read_run(directory: Path) -> TrainedRun:
    """Read a finished run back.

    Raises:
        RunError: A file is missing, or the weights are not those that the run recorded.
    """
    try:
        facts = json.loads((directory / TRAINING_FILE).read_text(encoding="utf-8"))
        state = safetensors.torch.load((directory / WEIGHTS_FILE).read_bytes())
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise RunError(f"{directory} is not a finished training run: {error}") from error
    if tensors_sha256(state) != facts["weights_sha256"]:
        raise RunError(f"the weights in {directory} have changed since the training; train again")
    recipe, source = make_recipe(facts["recipe"]), facts["weights_source"]
    if source["kind"] == "definitions" and source["sha256"] != DEFINITIONS_SHA256:
        raise RunError(f"{directory} was trained on another version of the hand-made features; train again")
    kind = judgement(facts["kind"])
    encoder = build_encoder(recipe.backbone, batch_norm_folded=source["batch_norm_folded"])
    model = ImageModel(encoder, build_head(kind, recipe, encoder.num_features, seed=0))
    model.load_state_dict(state)
    model.eval()
    calibration = Calibration.from_json(facts["calibration"])
    return TrainedRun(facts, kind, recipe, Scale(*facts["scale"]), calibration, model)
