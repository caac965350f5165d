"""From manifest rows to arrays: the pixels or the cached features that a model is trained on.

Legend: N items, D features, H x W pixels. Pixels are uint8 `(N, H, W, 3)`, RGB in sRGB, from the same decoder and
resize as serving. Cached features lie under CACHE/<encoder key>/<sha256[:2]>/<sha256>.npy, float32 (D,).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F

from ml.events import Progress
from ml.features.backbones import LoadedBackbone
from ml.images.cached_arrays import read_ahead, read_array, write_array
from ml.images.decode import PREPROCESSING_VERSION, ImageError, Pixels, to_model_input
from ml.images.store import FileStore, StoreError
from ml.judgements.base import Judgement
from ml.manifest import ManifestError, ManifestRow
from ml.training.surroundings import libraries

# Every batch through a frozen backbone has this size, padded: with another size the CPU kernels round differently, and
# a run that found half of its features cached would end with other weights.
FEATURE_BATCH = 32
MAX_PIXELS_IN_MEMORY = 2 << 30


@dataclass(frozen=True)
class Items:
    """The rows that are trained, validated and tested on, in order of snapshot."""

    snapshot_ids: np.ndarray
    """int64 (N,)."""
    image_sha256: tuple[str, ...]
    targets: np.ndarray
    """float64 (N,), on the label's scale: what metrics, calibration and thresholds compare with."""
    encoded: np.ndarray
    """float32 (N,), the same encoded."""
    learned: np.ndarray
    """float64 (N,): what is learned, on the label's scale; `targets` where nothing is known of the raters' noise."""
    taught: np.ndarray
    """float32 (N,), the same encoded: what the loss compares with."""
    weights: np.ndarray
    """float32 (N,), of each row in the loss."""
    group_ids: tuple[str, ...]
    fold_groups: tuple[str, ...]
    """What never straddles two folds: groups, or several of them that hold near-duplicates of each other."""
    splits: np.ndarray
    """str (N,): train, val or test."""

    def __len__(self) -> int:
        return len(self.image_sha256)

    def rows(self, *splits: str) -> np.ndarray:
        """Indices of the rows in these splits, int64, in order."""
        return np.flatnonzero(np.isin(self.splits, splits))

    def num_groups(self, rows: np.ndarray) -> int:
        """How many groups these rows are from."""
        return len({self.group_ids[row] for row in rows})


def load_items(rows: Sequence[ManifestRow], kind: Judgement, head: str) -> Items:
    """The rows of a manifest that are in a split.

    Raises:
        ManifestError: A row in a split has no image or no target.
    """
    kept = sorted((row for row in rows if row.split is not None), key=lambda row: row.snapshot_id)
    for row in kept:
        if not row.image_sha256 or row.target_label is None:
            lack = "an image sha256" if not row.image_sha256 else "a target"
            raise ManifestError(f"snapshot {row.snapshot_id} is in split {row.split!r} but has not {lack}")
    targets = np.array([row.target_label for row in kept], dtype=np.float64)
    encoded = np.asarray(kind.encode(targets, head), dtype=np.float32)
    return Items(
        snapshot_ids=np.array([row.snapshot_id for row in kept], dtype=np.int64),
        image_sha256=tuple(str(row.image_sha256) for row in kept),
        targets=targets,
        encoded=encoded,
        learned=targets,
        taught=encoded,
        weights=np.ones(len(kept), dtype=np.float32),
        group_ids=tuple(row.group_id for row in kept),
        fold_groups=tuple(row.group_id for row in kept),
        splits=np.array([row.split for row in kept], dtype=np.str_),
    )


class Inputs(Protocol):
    """What a model reads, by row."""

    def batch(self, rows: np.ndarray, generator: torch.Generator | None) -> torch.Tensor:
        """Inputs of these rows; augmented at random by `generator` where one is given."""
        ...


class FeatureInputs:
    """Features of a frozen backbone, float32 (N, D); never augmented."""

    def __init__(self, features: torch.Tensor) -> None:
        self.features = features

    def batch(self, rows: np.ndarray, generator: torch.Generator | None) -> torch.Tensor:
        """Features of these rows, float32 (len(rows), D)."""
        return self.features[torch.from_numpy(rows)]


class ImageReader:
    """Images of a store at a model's size, by one version of the preprocessing."""

    def __init__(
        self,
        store: FileStore,
        image_size: int,
        version: int = PREPROCESSING_VERSION,
        owners: Mapping[str, int] | None = None,
        readers: int = 2,
    ) -> None:
        self.store = store
        self.image_size = image_size
        self.version = version
        self.owners = owners or {}
        """Image sha256 -> snapshot, to say whose image cannot be used."""
        self.readers = readers
        """Images that are read at once; 0 for one after the other in the caller's thread."""

    def read(self, sha256: str) -> Pixels:
        """Pixels of one image, uint8 (H, W, 3).

        Raises:
            ManifestError: The image is not in the store or cannot be decoded.
        """
        try:
            return to_model_input(self.store.image(sha256), self.image_size, self.image_size, self.version)
        except (StoreError, ImageError) as error:
            owner = self.owners.get(sha256)
            which = "an image of the manifest" if owner is None else f"the image of snapshot {owner}"
            raise ManifestError(f"{which} cannot be used: {error}; export the dataset again") from error

    def read_many(self, hashes: Sequence[str]) -> Iterator[Pixels]:
        """Pixels in order, decoded a little ahead by its readers."""
        return read_ahead(self.read, hashes, self.readers, 4 * FEATURE_BATCH)


class ImageInputs:
    """Images as float32 `(N, H, W, 3)` in 0..255, cropped, mirrored and jittered at random when training."""

    def __init__(
        self, reader: ImageReader, hashes: Sequence[str], crop: float, flip: bool, color_jitter: float
    ) -> None:
        self.reader, self.hashes = reader, hashes
        self.crop, self.flip, self.color_jitter = crop, flip, color_jitter
        self._pixels: Pixels | None = None

    def load(self, rows: np.ndarray, progress: Progress) -> None:
        """Decode the images of these rows into one array, where it fits into 2 GB; otherwise they are read anew."""
        size = self.reader.image_size
        if len(self.hashes) * size * size * 3 > MAX_PIXELS_IN_MEMORY:
            return
        self._pixels = np.zeros((len(self.hashes), size, size, 3), dtype=np.uint8)
        images = self.reader.read_many([self.hashes[row] for row in rows])
        for done, (row, pixels) in enumerate(zip(rows, images, strict=True), start=1):
            self._pixels[row] = pixels
            progress.report(done / len(rows), f"image {done}/{len(rows)} read")

    def batch(self, rows: np.ndarray, generator: torch.Generator | None) -> torch.Tensor:
        """Images of these rows."""
        if self._pixels is not None:
            pixels = self._pixels[rows]
        else:
            pixels = np.stack(list(self.reader.read_many([self.hashes[row] for row in rows])))
        images = torch.from_numpy(pixels).float()
        return images if generator is None else augment(images, self.crop, self.flip, self.color_jitter, generator)


def augment(
    images: torch.Tensor, crop: float, flip: bool, color_jitter: float, generator: torch.Generator
) -> torch.Tensor:
    """Cut away up to a share `crop` of both sides, mirror half of the images, change colours by up to `color_jitter`.

    Args:
        images: float32 `(N, H, W, 3)` in 0..255.
        crop: largest share of a side, resized back to the same size.
        flip: whether to mirror left and right.
        color_jitter: largest relative change of brightness, contrast and saturation; 0 leaves colours alone.
        generator: of all random numbers.

    Returns:
        float32 `(N, H, W, 3)` in 0..255.
    """
    n = len(images)
    draws = torch.rand(5 if color_jitter == 0 else 8, n, generator=generator)
    kept = 1.0 - crop * draws[0]
    mirror = torch.where(draws[1] < 0.5, -1.0, 1.0) if flip else torch.ones(n)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = kept * mirror, kept
    theta[:, 0, 2], theta[:, 1, 2] = (1 - kept) * (2 * draws[2] - 1), (1 - kept) * (2 * draws[3] - 1)
    planes = images.permute(0, 3, 1, 2)
    if crop > 0 or flip:
        grid = F.affine_grid(theta, list(planes.shape), align_corners=False)
        planes = F.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if color_jitter > 0:
        brightness, contrast, saturation = 1.0 + color_jitter * (2.0 * draws[5:8].view(3, n, 1, 1, 1) - 1.0)
        planes = planes * brightness
        mean = planes.mean(dim=(1, 2, 3), keepdim=True)
        planes = mean + contrast * (planes - mean)
        grey = planes.mean(dim=1, keepdim=True)
        planes = (grey + saturation * (planes - grey)).clamp(0.0, 255.0)
    return planes.permute(0, 2, 3, 1)


def encoder_key(backbone: LoadedBackbone, image_size: int, threads: int) -> str:
    """Name of the cache's folder: everything that a feature depends on, apart from the image.

    The number of threads and the libraries too: they decide the last digits, and what another run has left in the
    cache must be what this one would compute.
    """
    parts = (backbone.encoder.name, backbone.content_sha256, PREPROCESSING_VERSION, image_size, threads, libraries())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def cached_features(
    backbone: LoadedBackbone,
    reader: ImageReader,
    hashes: Sequence[str],
    cache: Path | None,
    threads: int,
    progress: Progress,
) -> torch.Tensor:
    """Features of images by a frozen backbone, float32 (N, D); each image is encoded once and then kept in the cache.

    Without a cache they are computed every time.
    """
    folder = None if cache is None else cache / encoder_key(backbone, reader.image_size, threads)
    found = {
        sha256: None if folder is None else read_array(folder, sha256, (backbone.num_features,), np.float32)
        for sha256 in set(hashes)
    }
    missing = [sha256 for sha256 in dict.fromkeys(hashes) if found[sha256] is None]
    images = reader.read_many(missing)
    size = reader.image_size
    for start in range(0, len(missing), FEATURE_BATCH):
        part = missing[start : start + FEATURE_BATCH]
        pixels = np.zeros((FEATURE_BATCH, size, size, 3), dtype=np.uint8)
        for place in range(len(part)):
            pixels[place] = next(images)
        with torch.inference_mode():
            features = backbone.encoder(torch.from_numpy(pixels)).numpy()
        for sha256, values in zip(part, features, strict=False):
            found[sha256] = values
            if folder is not None:
                write_array(folder, sha256, values)
        done = start + len(part)
        progress.report(done / len(missing), f"features of image {done}/{len(missing)}")
    return torch.from_numpy(np.stack([np.asarray(found[sha256]) for sha256 in hashes]))
