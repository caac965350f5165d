"""Numbers that are computed from images once and then kept, one file an image: FOLDER/<sha256[:2]>/<sha256>.npy."""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

_AHEAD = 64


def cached_arrays(
    compute: Callable[[str], np.ndarray],
    hashes: Sequence[str],
    folder: Path | None,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    threads: int = 2,
) -> Iterator[np.ndarray]:
    """The array of each image, in order; each is computed once and then read from the folder.

    Args:
        compute: from an image's sha256 to its array, of this shape and dtype; called in threads.
        hashes: the images, by sha256.
        folder: of the cache, which names everything that the arrays depend on apart from the image; None keeps nothing.
        shape: of one array.
        dtype: of one array.
        threads: that compute, a little ahead.

    Raises:
        Exception: Whatever `compute` raises, at the place of its image.
    """

    def one(sha256: str) -> np.ndarray:
        path = None if folder is None else folder / sha256[:2] / f"{sha256}.npy"
        known = None if path is None else _read(path, shape, np.dtype(dtype))
        if known is not None:
            return known
        values = compute(sha256)
        if path is not None:
            _write(path, values)
        return values

    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(hashes), _AHEAD):
            yield from pool.map(one, hashes[start : start + _AHEAD])


def _read(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray | None:
    """The cached array; None where it is missing or damaged, so that it is computed again."""
    try:
        values = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if not isinstance(values, np.ndarray) or values.dtype != dtype or values.shape != shape:
        return None
    return values if np.isfinite(values).all() else None


def _write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part-{uuid.uuid4().hex}")
    with part.open("wb") as opened:
        np.save(opened, values, allow_pickle=False)
    os.replace(part, path)
