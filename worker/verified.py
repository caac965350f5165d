"""Reading what never changes: a bundle, a run, a manifest, an evaluation's files. The bytes' sha256 is compared with what
was recorded.

A local store gives its files as they lie on the disk, so whoever uses one of these sees a changed byte here, before it
is learned from, served or shown.
"""

from __future__ import annotations

from pathlib import Path

from db.tables import Dataset, Evaluation, ModelTrainingRun, ModelVersion
from ml.bundle import BundleError, bundle_sha256
from ml.images.decode import sha256_of
from ml.images.store import FileStore, StoreError, directory_sha256
from ml.manifest import SPLITS, ManifestError, ManifestRow, check_manifest, manifest_bytes, parse_manifest

FULL = "full"


def fetch_bundle(store: FileStore, version: ModelVersion, target: Path) -> Path:
    """A local directory with the bundle of a version, every file as it was registered.

    Args:
        store: Where the bundle is.
        version: The registered version.
        target: Directory for the files of a remote store.

    Raises:
        BundleError: A file differs, is missing, or came later.
        StoreError: The store has no such bundle or cannot be read.
    """
    directory = store.fetch_directory(version.bundle_key, target)
    if bundle_sha256(directory) != version.bundle_sha256:
        raise BundleError(
            f"the bundle of {version.model_version} is not the one that was registered: files changed in "
            f"{directory}; put them back from a backup, their sha256 together is {version.bundle_sha256}"
        )
    return directory


def fetch_run(store: FileStore, training: ModelTrainingRun, target: Path) -> Path:
    """A local directory with what a run wrote, every file as it was written.

    Raises:
        StoreError: `changed`, or the store has no such run or cannot be read.
    """
    assert training.artifact_path is not None
    directory = store.fetch_directory(training.artifact_path, target)
    if directory_sha256(directory) != training.artifact_sha256:
        raise StoreError("changed", f"the files of run {training.id} are not those that it wrote: see {directory}")
    return directory


def manifest_key(sha256: str) -> str:
    """Store key of the active manifest of a run."""
    return f"manifests/{sha256}.csv"


def read_active_manifest(store: FileStore, sha256: str) -> bytes:
    """The active manifest of a run, as it was when the run began.

    Raises:
        ManifestError: Its bytes have changed since.
        StoreError: It is missing or cannot be read.
    """
    data = store.read_file(manifest_key(sha256))
    check_manifest(data, sha256, manifest_key(sha256))
    return data


def read_dataset_file(store: FileStore, dataset: Dataset, name: str = FULL) -> bytes:
    """One of a dataset's manifests (`full`, `train`, `val`, `test`), byte for byte as it was frozen.

    Raises:
        ManifestError: Its bytes have changed since.
        StoreError: It is missing or cannot be read.
    """
    key = f"{dataset.artifact_key}/manifest_{{}}.csv"
    data = store.read_file(key.format(FULL))
    check_manifest(data, dataset.manifest_sha256, key.format(FULL))
    if name == FULL:
        return data
    part = store.read_file(key.format(name))
    if part != manifest_bytes(row for row in parse_manifest(data) if row.split == name):
        raise ManifestError(f"{key.format(name)} has changed since it was frozen: it is no part of manifest_full.csv")
    return part


def dataset_rows(store: FileStore, dataset: Dataset) -> list[ManifestRow]:
    """All rows of a dataset, from its frozen manifest.

    Raises:
        ManifestError: The manifest has changed since it was frozen.
        StoreError: It is missing or cannot be read.
    """
    return parse_manifest(read_dataset_file(store, dataset))


def check_dataset(store: FileStore, dataset: Dataset) -> None:
    """Read every manifest of a dataset.

    Raises:
        ManifestError: One has changed since it was frozen.
        StoreError: One is missing or cannot be read.
    """
    for name in SPLITS:
        read_dataset_file(store, dataset, name)


def read_evaluation_file(store: FileStore, evaluation: Evaluation, name: str) -> bytes | None:
    """One of an evaluation's files, byte for byte as it was written; None where the evaluation is older than that file.

    Evaluations from before these hashes were recorded are read as they lie.

    Raises:
        StoreError: `changed`, or the file is missing or cannot be read.
    """
    key, recorded = f"{evaluation.artifact_key}/{name}", evaluation.files_sha256
    if recorded is None:
        return store.read_file(key) if store.has_file(key) else None
    if name not in recorded:
        return None
    data = store.read_file(key)
    if sha256_of(data) != recorded[name]:
        raise StoreError(
            "changed",
            f"{name} of evaluation {evaluation.id} is not what was written: see {key} in the store; put it back from a "
            "backup, or evaluate again",
        )
    return data


def check_evaluation(store: FileStore, evaluation: Evaluation) -> None:
    """Read every file of an evaluation whose sha256 was recorded.

    Raises:
        StoreError: One has changed, is missing or cannot be read.
    """
    for name in evaluation.files_sha256 or ():
        read_evaluation_file(store, evaluation, name)
