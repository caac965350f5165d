"""Features of a manifest's images by backbones that nobody trains: what baselines are fitted on, and heads read.

The same function, batches and cache as a training's, so that the numbers are a training's to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from ml.events import Progress
from ml.features.backbones import load_backbone
from ml.images.store import FileStore
from ml.manifest import ManifestError, ManifestRow
from ml.training.dataset import ImageReader, cached_features
from ml.training.heads import TrainedRun
from ml.training.loop import make_deterministic
from ml.training.recipe import Recipe


def frozen_features(
    recipe: Recipe, store: FileStore, rows: Sequence[ManifestRow], cache: Path | None, progress: Progress
) -> dict[str, np.ndarray]:
    """Features of these rows' images by the recipe's backbone as it is before any training, by sha256.

    Args:
        recipe: names backbone, weights, size and threads.
        store: has the images.
        rows: with an image each.
        cache: directory of cached features; None computes them anew.
        progress: of this part.

    Returns:
        Image sha256 -> float32 (D,).

    Raises:
        ManifestError: A row has no image, or one that cannot be used; names the snapshot.
        WeightsError: The weights cannot be had or do not fit.
    """
    for row in rows:
        if row.image_sha256 is None:
            raise ManifestError(f"snapshot {row.snapshot_id} has no image sha256; cache the images first")
    owners = {str(row.image_sha256): row.snapshot_id for row in rows}
    return image_features(recipe, store, owners, cache, progress)


def image_features(
    recipe: Recipe, store: FileStore, owners: Mapping[str, int], cache: Path | None, progress: Progress
) -> dict[str, np.ndarray]:
    """As `frozen_features`, of images by their sha256 that `owners` has with the snapshot that each is of."""
    make_deterministic(recipe.seed, recipe.threads)
    backbone = load_backbone(recipe.backbone, recipe.weights, recipe.seed)
    reader = ImageReader(store, recipe.image_size, owners=owners, readers=recipe.threads)
    found = cached_features(backbone, reader, list(owners), cache, recipe.threads, progress).numpy()
    return dict(zip(owners, found, strict=True))


def head_outputs(run: TrainedRun, features: np.ndarray) -> dict[str, np.ndarray]:
    """Named outputs of a trained head on features that are known already, as its bundle will give them.

    Args:
        run: trained on a frozen backbone, whose features these are.
        features: float32 (N, D).

    Returns:
        Output name -> float64 (N,).
    """
    with torch.inference_mode():
        outputs = run.model.head(torch.from_numpy(np.ascontiguousarray(features)))[:, 0].double().numpy()
    return run.judgement.outputs_from_head(outputs, run.calibration, run.scale, run.recipe.head)
