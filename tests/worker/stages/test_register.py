"""The job that registers a model from elsewhere: a bad bundle fails it for good and leaves nothing behind."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from db.engine import session_scope
from db.errors import NotFound
from db.queries import jobs, models
from db.tables import Job
from ml.bundle import bundle_sha256
from ml.images.store import FileStore
from tests.ml.test_bundle_archive import FILES, zipped
from tests.tiny_model import BRIGHT
from worker.jobs import run_job
from worker.places import bundle_key
from worker.queue import submit


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    return tmp_path / "upload.zip"


def register(store: FileStore, upload: Path, version: str) -> Job:
    key = f"uploads/{uuid.uuid4().hex}.zip"
    store.put_file(upload, key)
    with session_scope() as session:
        run = models.add_run(session, model_version=version, kind="rating", status="trained")
        job, _ = submit(session, "register", {"upload": key}, run_id=run.id)
    assert job.id is not None
    run_job(job.id, f"test-{uuid.uuid4().hex}")
    with session_scope() as session:
        return jobs.get_job(session, job.id)


def stored(store: FileStore) -> set[str]:
    return {path.name for path in (Path(store.url) / "bundles").rglob("*") if path.is_file()}


def _replaced(name: str, data: bytes) -> bytes:
    """A zip of the bundle with one file's content replaced."""
    return zipped({}, files=FILES | {name: data})


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (b"no zip", "the zip is not a zip file"),
        (zipped({"golden/../../x": b""}), "leaves the bundle"),
        (zipped({"notes.txt": b""}), "no part of a bundle"),
        (_replaced("model.onnx", b"\x80\x04cos"), "has changed since its export"),
        (_replaced("bundle.json", b'{"format": NaN}'), "NaN is not a number"),
        (_replaced("golden/gradient.png", FILES["golden/odd_size.png"]), "self-test failed"),
    ],
    ids=["text", "traversal", "extra", "graph", "description", "golden"],
)
def test_a_bad_bundle_fails_the_job_for_good_and_leaves_nothing_in_the_store(
    database: str, store: FileStore, upload: Path, archive: bytes, words: str
) -> None:
    upload.write_bytes(archive)
    before = stored(store)
    version = f"bad_{uuid.uuid4().hex[:8]}"
    job = register(store, upload, version)
    assert (job.state, job.attempt) == ("failed", 1)
    assert "bad_model" in str(job.reason)
    assert words in str(job.reason)
    assert stored(store) == before
    with pytest.raises(NotFound), session_scope() as session:
        models.get_version(session, version)


def test_a_good_bundle_becomes_a_version(database: str, store: FileStore, upload: Path) -> None:
    upload.write_bytes(zipped({}))
    job = register(store, upload, "tiny_bright")
    assert (job.state, job.reason) == ("succeeded", None)
    with session_scope() as session:
        assert models.get_version(session, "tiny_bright").bundle_key == bundle_key(bundle_sha256(BRIGHT))
