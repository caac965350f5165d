"""Whether an image can be read, asked before it takes part in anything that it need not take part in."""

from __future__ import annotations

from ml.images.decode import ImageError
from ml.images.fingerprints import fingerprints_of
from ml.images.store import FileStore, StoreError
from worker.places import feature_cache


def is_readable(store: FileStore, sha256: str) -> bool:
    """Whether the bytes of an image are there, are its own, and can be decoded; leaves its fingerprint in the cache."""
    try:
        data = store.image(sha256)
        fingerprints_of(lambda _: data, [sha256], feature_cache(), threads=0)  # decodes it, once ever
    except (StoreError, ImageError):
        return False
    return True
