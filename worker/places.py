"""Where files of this machine and of the store are. One place names them all."""

from __future__ import annotations

import shutil
from pathlib import Path

from db.settings import state_settings
from ml.images.store import FileStore
from worker.settings import worker_settings


def file_store() -> FileStore:
    """The store of images and artifacts."""
    return FileStore(state_settings().resolved_store_url)


def work_directory(job_id: int, attempt: int) -> Path:
    """A fresh directory of one attempt of a job, on this machine's disk."""
    directory = state_settings().resolved_data_dir / "work" / f"job-{job_id}" / f"attempt-{attempt}"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def sweep_work_directory(job_id: int) -> None:
    """Remove what all attempts of a finished job left on this machine's disk; its results are in the store."""
    shutil.rmtree(state_settings().resolved_data_dir / "work" / f"job-{job_id}", ignore_errors=True)


def feature_cache() -> Path:
    """Where features of frozen backbones are kept, by encoder and image."""
    directory = state_settings().resolved_data_dir / "features"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def bundle_cache() -> Path:
    """Where bundles from a remote store are kept."""
    directory = state_settings().resolved_data_dir / "bundles"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def report_cache() -> Path:
    """Where reports from a remote store are kept."""
    directory = state_settings().resolved_data_dir / "reports"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def dataset_key(manifest_sha256: str) -> str:
    """Store key of a dataset's files."""
    return f"datasets/{manifest_sha256}"


def run_key(job_id: int, attempt: int) -> str:
    """Store key of what one attempt of a training wrote."""
    return f"runs/job-{job_id}/attempt-{attempt}"


ALL_CHECKPOINTS = "checkpoints"
"""Store key under which all runs keep their checkpoints."""


def checkpoints_prefix(run_id: int) -> str:
    """Store key under which every attempt of every job of a run keeps its checkpoints."""
    return f"{ALL_CHECKPOINTS}/run-{run_id}"


def checkpoint_key(run_id: int, job_id: int, attempt: int) -> str:
    """Store key of the checkpoints that one attempt of a training wrote."""
    return f"{checkpoints_prefix(run_id)}/job-{job_id}/attempt-{attempt}"


def bundle_key(bundle_sha256: str) -> str:
    """Store key of a bundle, by its content."""
    return f"bundles/{bundle_sha256}"


def report_key(job_id: int, attempt: int) -> str:
    """Store key of what one evaluation wrote."""
    return f"reports/job-{job_id}/attempt-{attempt}"


def weights_key(sha256: str, suffix: str) -> str:
    """Store key of a file of pretrained weights."""
    return f"weights/{sha256}{suffix}"


UPLOADS = "uploads"
"""Store key under which bundles from elsewhere wait for their registration."""


def upload_key(sha256: str) -> str:
    """Store key of an uploaded archive, by its content."""
    return f"{UPLOADS}/{sha256}.zip"


def check_photo_directory(directory: str) -> Path:
    """A directory of photos that a job may read: below one that AFTERGLOW_PHOTO_ROOTS names, links followed.

    Raises:
        ValueError: It is not, or is no absolute path; the message says what to do.
    """
    roots = [Path(root).resolve() for root in worker_settings().photo_root_list]
    path = Path(directory)
    if not path.is_absolute() or "\0" in directory:
        raise ValueError(f"{directory!r} is not an absolute path")
    resolved = path.resolve()
    if not any(resolved.is_relative_to(root) for root in roots):
        named = ", ".join(map(str, roots)) or "none"
        raise ValueError(
            f"{directory} is not below a directory that AFTERGLOW_PHOTO_ROOTS names ({named}): set it where the server and "
            "its workers run, or use `afterglow scan` there"
        )
    return resolved
