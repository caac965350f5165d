"""Numbers that are computed from images once and then kept, one file an image: FOLDER/<sha256[:2]>/<sha256>.npy."""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

_AHEAD = 64
T = TypeVar("T")


def read_ahead(read: Callable[[str], T], hashes: Sequence[str], readers: int, ahead: int = _AHEAD) -> Iterator[T]:
    """What `read` says of each image, in order; whatever `readers`, the same.

    Args:
        read: from an image's sha256 to what is wanted of it.
        hashes: the images, by sha256.
        readers: images that are read at once, in threads; 0 reads one after the other, in the caller's thread.
        ahead: images that may be read before the first of them is taken.

    Raises:
        Exception: Whatever `read` raises, at the place of its image.
    """
    if readers == 0:
        yield from map(read, hashes)
        return
    with ThreadPoolExecutor(readers) as pool:
        for start in range(0, len(hashes), ahead):
            yield from pool.map(read, hashes[start : start + ahead])


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
        threads: that compute, a little ahead; 0 for the caller's.

    Raises:
        Exception: Whatever `compute` raises, at the place of its image.
    """

    def one(sha256: str) -> np.ndarray:
        known = None if folder is None else read_array(folder, sha256, shape, dtype)
        if known is not None:
            return known
        values = compute(sha256)
        if folder is not None:
            write_array(folder, sha256, values)
        return values

    yield from read_ahead(one, hashes, threads)


def read_array(folder: Path, sha256: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.ndarray | None:
    """The cached array of one image; None where it is missing or damaged, so that it is computed again."""
    try:
        values = np.load(io.BytesIO(_path(folder, sha256).read_bytes()), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if not isinstance(values, np.ndarray) or values.dtype != np.dtype(dtype) or values.shape != shape:
        return None
    return values if np.isfinite(values).all() else None


def write_array(folder: Path, sha256: str, values: np.ndarray) -> None:
    """Keep the array of one image; the file appears whole or not at all."""
    path = _path(folder, sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part-{uuid.uuid4().hex}")
    with part.open("wb") as opened:
        np.save(opened, values, allow_pickle=False)
    os.replace(part, path)


def _path(folder: Path, sha256: str) -> Path:
    return folder / sha256[:2] / f"{sha256}.npy"
