"""Nothing is overwritten: one changed byte of a bundle or a manifest is noticed by whoever reads it, and by the doctor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from api.active_models import ActiveModels
from db.engine import session_scope
from db.queries import evaluations, images, jobs, labels, models
from db.tables import Dataset, ModelVersion
from ml.bundle import BundleError
from ml.export_dataset import Gates
from ml.images.decode import sha256_of
from ml.images.store import FileStore, StoreError, directory_sha256, image_key
from ml.manifest import ManifestError, manifest_sha256
from tests.builders import make_snapshot
from tests.conftest import client_of
from tests.tiny_model import BRIGHT, activate, picture, register_bundle
from tests.worker.cli.conftest import Afterglow, afterglow  # noqa: F401  a fixture
from worker import verified
from worker.jobs import run_job
from worker.queue import submit
from worker.stages.export_dataset import export_now

BUNDLE_FILES = ("model.onnx", "bundle.json", "golden/checkerboard.png")
MANIFESTS = ("full", "train", "val", "test")


@contextmanager
def flipped(path: Path) -> Iterator[None]:
    """One bit in the middle of a stored file is another for the duration."""
    before, mode = path.read_bytes(), path.stat().st_mode
    middle = len(before) // 2
    path.chmod(0o644)
    path.write_bytes(before[:middle] + bytes([before[middle] ^ 1]) + before[middle + 1 :])
    try:
        yield
    finally:
        path.write_bytes(before)
        path.chmod(mode)


@pytest.fixture(scope="module")
def version(database: str, store: FileStore) -> ModelVersion:
    with session_scope() as session:
        version = register_bundle(session, store, BRIGHT)
        activate(session, version)
        return version


@pytest.fixture(scope="module")
def dataset(database: str, store: FileStore) -> Dataset:
    with session_scope() as session:
        for number in range(40):  # so many webcams that some are held out for test
            sha256 = store.put_image(picture(5 * number))
            images.add_image(session, sha256, "image/png", 40, 40, 100)
            snapshot = make_snapshot(session, image_key=f"sha256:{sha256}", image_sha256=sha256)
            labels.rate_snapshot(session, snapshot_id=snapshot.id, rater="ann", rating=1 + number % 5, is_sunset=True,
                                 label_source="test")  # type: ignore[arg-type]  # fmt: skip
    return export_now("rating", "regression", Gates())


def stored(store: FileStore, key: str) -> Path:
    return Path(store.url) / key


@pytest.mark.parametrize("file", BUNDLE_FILES)
def test_a_flipped_byte_of_a_bundle_is_refused_by_the_server_and_in_evaluation_and_named_by_the_doctor(
    version: ModelVersion,
    dataset: Dataset,
    store: FileStore,
    tmp_path: Path,
    afterglow: Afterglow,  # noqa: F811
    file: str,
) -> None:
    with flipped(stored(store, version.bundle_key) / file):
        active = ActiveModels(store, tmp_path / "cache")
        active.refresh()
        assert active.served("rating") is None
        assert "not the one that was registered" in active.errors()[0]

        with session_scope() as session:
            job, _ = submit(session, "evaluate", {"model_version": version.model_version, "fresh": True})
        assert job.id is not None
        assert run_job(job.id, "test") == "failed"
        with session_scope() as session:
            assert "not the one that was registered" in str(jobs.get_job(session, job.id).reason)

        said = afterglow("doctor", "--no-torch", "--json")
        assert said.code == 1
        found = [each for each in said.json["findings"] if each["about"] == "bundles"]
        assert [each["health"] for each in found] == ["problem"]
        assert version.model_version in found[0]["says"]
    active = ActiveModels(store, tmp_path / "other")
    active.refresh()
    assert active.served_versions() == {"rating": version.model_version}
    said = afterglow("doctor", "--no-torch", "--json")
    found = [each for each in said.json["findings"] if each["about"] in ("bundles", "datasets", "manifests")]
    assert {each["health"] for each in found} == {"ok"}, found


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_flipped_byte_of_a_datasets_manifest_is_refused_and_named_by_the_doctor(
    dataset: Dataset, store: FileStore, server: str, api_key: Callable[..., str],
    afterglow: Afterglow, name: str,  # noqa: F811
) -> None:  # fmt: skip
    url = f"/v1/datasets/{dataset.id}/manifests/{name}.csv"
    with flipped(stored(store, dataset.artifact_key) / f"manifest_{name}.csv"):
        with pytest.raises(ManifestError, match="has changed since it was frozen"):
            verified.check_dataset(store, dataset)
        with client_of(server, api_key()) as client:
            assert client.get(url).status_code == 503
        said = afterglow("doctor", "--no-torch", "--json")
        (found,) = [each for each in said.json["findings"] if each["about"] == "datasets"]
        assert (found["health"], f"dataset {dataset.id}" in found["says"]) == ("problem", True)
    verified.check_dataset(store, dataset)
    with client_of(server, api_key()) as client:
        assert client.get(url).status_code == 200


def test_a_flipped_byte_of_an_active_manifest_is_refused_and_named_by_the_doctor(
    dataset: Dataset,
    store: FileStore,
    tmp_path: Path,
    afterglow: Afterglow,  # noqa: F811
) -> None:
    data = verified.read_dataset_file(store, dataset)
    (tmp_path / "manifest.csv").write_bytes(data)
    key = verified.manifest_key(dataset.manifest_sha256)
    store.put_file(tmp_path / "manifest.csv", key)
    with session_scope() as session:
        run = models.add_run(session, model_version="flipped_manifest", kind="rating", status="failed",
                             manifest_sha256=dataset.manifest_sha256)  # fmt: skip
    with flipped(stored(store, key)):
        with pytest.raises(ManifestError, match="has changed since it was frozen"):
            verified.read_active_manifest(store, dataset.manifest_sha256)
        said = afterglow("doctor", "--no-torch", "--json")
        (found,) = [each for each in said.json["findings"] if each["about"] == "manifests"]
        assert (found["health"], f"run {run.id}" in found["says"]) == ("problem", True)
    assert verified.read_active_manifest(store, dataset.manifest_sha256) == data


def test_a_flipped_byte_of_what_a_run_wrote_is_refused_and_named_by_the_doctor(
    database: str,
    store: FileStore,
    tmp_path: Path,
    afterglow: Afterglow,  # noqa: F811
) -> None:
    (tmp_path / "weights").write_bytes(b"weights of a run")
    store.put_directory(tmp_path, "runs/job-0/attempt-1")
    with session_scope() as session:
        run = models.add_run(session, model_version="flipped_run", kind="rating", status="trained",
                             artifact_path="runs/job-0/attempt-1", artifact_sha256=directory_sha256(tmp_path))  # fmt: skip
    with flipped(stored(store, "runs/job-0/attempt-1") / "weights"):
        with pytest.raises(StoreError, match="not those that"):
            verified.fetch_run(store, run, tmp_path / "fetched")
        (found,) = [
            each for each in afterglow("doctor", "--no-torch", "--json").json["findings"] if each["about"] == "runs"
        ]
        assert (found["health"], f"run {run.id}" in found["says"]) == ("problem", True)
    assert verified.fetch_run(store, run, tmp_path / "fetched").is_dir()


@pytest.mark.parametrize("name", ["report.html", "report.json", "predictions.csv"])
def test_a_flipped_byte_of_an_evaluations_files_is_refused_and_named_by_the_doctor(
    version: ModelVersion, dataset: Dataset, store: FileStore, server: str, api_key: Callable[..., str], tmp_path: Path,
    afterglow: Afterglow, name: str,  # noqa: F811
) -> None:  # fmt: skip
    contents = {each: f"{name}: {each}".encode() for each in ("report.html", "report.json", "predictions.csv")}
    for each, content in contents.items():
        (tmp_path / each).write_bytes(content)
    key = f"reports/{name}"
    store.put_directory(tmp_path, key)
    with session_scope() as session:
        evaluation = evaluations.add_evaluation(
            session, model_version=version.model_version, kind="rating", dataset_id=dataset.id, method="test",
            manifest_sha256=dataset.manifest_sha256, report={}, artifact_key=key,
            files_sha256={each: sha256_of(content) for each, content in contents.items()},
        )  # fmt: skip
    assert verified.read_evaluation_file(store, evaluation, "suspects.csv") is None
    with flipped(stored(store, key) / name):
        with pytest.raises(StoreError, match=f"{name} of evaluation {evaluation.id} is not what was written"):
            verified.read_evaluation_file(store, evaluation, name)
        said = afterglow("doctor", "--no-torch", "--json")
        (found,) = [each for each in said.json["findings"] if each["about"] == "evaluations"]
        assert (found["health"], f"evaluation {evaluation.id}" in found["says"]) == ("problem", True)
        if name.startswith("report"):
            with client_of(server, api_key()) as client:
                assert client.get(f"/v1/evaluations/{evaluation.id}/{name}").status_code == 503
    assert verified.read_evaluation_file(store, evaluation, name) == contents[name]


def test_a_flipped_byte_of_a_frame_is_named_by_the_doctor(
    dataset: Dataset,
    store: FileStore,
    afterglow: Afterglow,  # noqa: F811
) -> None:
    row = verified.dataset_rows(store, dataset)[-1]
    with flipped(stored(store, image_key(str(row.image_sha256)))):
        said = afterglow("doctor", "--no-torch", "--files", "--json")
        (found,) = [each for each in said.json["findings"] if each["about"] == "images"]
        assert (found["health"], str(row.image_sha256) in found["says"]) == ("problem", True)


def test_a_file_that_came_later_makes_another_bundle(version: ModelVersion, store: FileStore, tmp_path: Path) -> None:
    extra = stored(store, version.bundle_key) / "notes.txt"
    extra.write_text("later")
    try:
        with pytest.raises(BundleError, match="not the one that was registered"):
            verified.fetch_bundle(store, version, tmp_path)
    finally:
        extra.unlink()


def test_a_label_that_changes_after_an_export_leaves_the_export_as_it_was(dataset: Dataset, store: FileStore) -> None:
    before = [verified.read_dataset_file(store, dataset, name) for name in MANIFESTS]
    rows = verified.dataset_rows(store, dataset)
    first = next(row for row in rows if row.label_value != 5)
    with session_scope() as session:
        labels.rate_snapshot(session, snapshot_id=first.snapshot_id, rater="ann", rating=5, is_sunset=True,
                             label_source="test")  # fmt: skip
    later = export_now("rating", "regression", Gates())
    assert later.manifest_sha256 != dataset.manifest_sha256
    (changed,) = [row for row in verified.dataset_rows(store, later) if row.snapshot_id == first.snapshot_id]
    assert changed.label_value == 5
    assert [verified.read_dataset_file(store, dataset, name) for name in MANIFESTS] == before
    assert manifest_sha256(verified.dataset_rows(store, dataset)) == dataset.manifest_sha256
    with session_scope() as session:
        assert models.get_dataset(session, dataset.id).manifest_sha256 == dataset.manifest_sha256  # type: ignore[arg-type]
