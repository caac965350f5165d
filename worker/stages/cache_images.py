"""Bring the images of a dataset into the store: download what only has a URL, and say why when that fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from db.engine import session_scope
from db.queries import images, webcams
from ml.images.decode import ImageError, inspect
from ml.images.fetch import FetchError, fetch_image
from ml.images.store import FileStore
from ml.manifest import ManifestRow
from worker.settings import worker_settings

DOWNLOADS_AT_ONCE = 8


def store_image(store: FileStore, snapshot_id: int, data: bytes) -> str:
    """Check an image and keep it as that of a snapshot; returns the content that is the snapshot's.

    The bytes go to the store after the rows and before their commit, as wherever a frame is kept.

    Raises:
        ImageError: These bytes are not an image that Afterglow reads.
    """
    info = inspect(data)
    with session_scope() as session:
        images.add_image(session, info.sha256, info.media_type, info.width, info.height, info.byte_size)
        known = webcams.record_image(session, snapshot_id, info.sha256)
        store.put_image(data)
    return known


def cache_images(
    store: FileStore, rows: Sequence[ManifestRow], progress: Callable[[float, str], None]
) -> tuple[dict[int, str], dict[int, str]]:
    """Fetch the images that are not in the store yet, of the rows that are kept.

    Returns:
        (snapshot id -> sha256 of every image that is there, snapshot id -> reason of every one that is not).
    """
    kept = [row for row in rows if row.split is not None]
    there = {row.snapshot_id: row.image_sha256 for row in kept if row.image_sha256 is not None}
    with session_scope() as session:
        known = webcams.snapshot_images(session, [row.snapshot_id for row in kept if row.snapshot_id not in there])
    there.update({snapshot_id: sha256 for snapshot_id, sha256 in known.items() if sha256 is not None})
    failed: dict[int, str] = {}
    missing = [row for row in kept if row.snapshot_id not in there]

    def fetch(row: ManifestRow) -> tuple[int, str | None, str | None]:
        try:
            data = fetch_image(row.image_path_or_url, allow_hosts=worker_settings().allowed_hosts)
            return row.snapshot_id, store_image(store, row.snapshot_id, data), None
        except FetchError as error:
            return row.snapshot_id, None, "unreadable" if error.reason in ("not_an_image", "compressed") else "dead-url"
        except ImageError:
            return row.snapshot_id, None, "unreadable"

    hashes: dict[int, str] = {key: value for key, value in there.items() if value is not None}
    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        for done, (snapshot_id, sha256, state) in enumerate(pool.map(fetch, missing), start=1):
            if sha256 is not None:
                hashes[snapshot_id] = sha256
            elif state is not None:
                failed[snapshot_id] = f"image-{state}"
                with session_scope() as session:
                    webcams.record_image_failure(session, snapshot_id, state)
            progress(done / len(missing), f"fetched {done} of {len(missing)} images, {len(failed)} failed")
    for row in kept:
        sha256 = hashes.get(row.snapshot_id)
        if sha256 is not None and not store.has_image(sha256):
            failed[row.snapshot_id] = "image-missing-from-store"
            hashes.pop(row.snapshot_id)
    return hashes, failed
