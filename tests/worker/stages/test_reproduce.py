"""A registered version is proved by its provenance: the same rows, and on the same machine the same weights."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from db.engine import session_scope
from db.errors import Conflict, NotFound
from db.queries import jobs, models
from ml.images.store import FileStore
from tests.conftest import environment
from tests.tiny_model import BRIGHT, register_bundle
from tests.worker.conftest import debug_recipe, write_generated_labels
from worker.importers.snapshots import import_snapshots
from worker.jobs import run_job
from worker.places import file_store, weights_key
from worker.queue import check_reproducible, submit, submit_training
from worker.stages.reproduce import rebuild_manifest, verdict

BLOCKER = """
import socket

_connect = socket.socket.connect

def connect(self, address):
    if self.family != socket.AF_UNIX and str(address[0]) not in ("127.0.0.1", "::1", "localhost"):
        with open({log!r}, "a") as opened:
            opened.write(repr(address) + "\\n")
        raise OSError(101, "the network is off")
    return _connect(self, address)

socket.socket.connect = connect
"""


@pytest.fixture(scope="module")
def labelled(database: str, store: FileStore, tmp_path_factory: pytest.TempPathFactory) -> FileStore:
    """Generated frames with ratings; one of them is only an address that nobody answers."""
    folder = tmp_path_factory.mktemp("frames")
    path = write_generated_labels(folder, num_webcams=8, num_days=4)
    lines = path.read_text().splitlines()
    dead = lines[-1].split(",")
    dead[0] = "http://127.0.0.1:9/gone.jpg"
    path.write_text("\n".join([*lines[:-1], ",".join(dead)]) + "\n")
    with environment(AFTERGLOW_FETCH_ALLOW_HOSTS="127.0.0.1:9", **_kept()):
        import_snapshots(path, folder, store)
    return store


def _kept() -> dict[str, str]:
    return {name: os.environ[name] for name in ("DATABASE_URL", "AFTERGLOW_DATA_DIR")}


@pytest.fixture
def without_network(tmp_path: Path) -> Iterator[Path]:
    """Every process that is started refuses to leave this machine, and writes down that it was asked to."""
    log = tmp_path / "attempts.txt"
    (tmp_path / "sitecustomize.py").write_text(BLOCKER.format(log=str(log)))
    paths = [str(tmp_path), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(each for each in paths if each))
        yield log


def _run(job_id: int | None) -> Any:
    assert job_id is not None
    state = run_job(job_id, f"test-{job_id}")
    with session_scope() as session:
        job = jobs.get_job(session, job_id)
    assert state == "succeeded", job.reason
    return job.result


def _train(**keys: Any) -> str:
    """Train and export, as the queue would; returns the version."""
    recipe = debug_recipe(**{"image_size": 32, "folds": 2, "threads": 1, **keys})
    with session_scope() as session:
        run, job = submit_training(session, "rating", recipe)
    _run(job.id)
    with session_scope() as session:
        (export,) = jobs.follow_up_jobs(session, job.id)  # type: ignore[arg-type]
    _run(export.id)
    return run.model_version


def _reproduce(model_version: str) -> Any:
    with session_scope() as session:
        job, _ = submit(session, "reproduce", {"model_version": model_version})
    return _run(job.id)


@pytest.fixture(scope="module")
def trained(labelled: FileStore, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A version from weights that torchvision found in its own folder, which is gone since."""
    import torch
    import torchvision

    home = tmp_path_factory.mktemp("torch")
    file = home / "hub" / "checkpoints" / "mobilenet_v3_small-047dcff4.pth"  # where torchvision looks first
    file.parent.mkdir(parents=True)
    torch.manual_seed(3)
    torch.save(torchvision.models.mobilenet_v3_small(weights=None).state_dict(), file)
    with environment(TORCH_HOME=str(home), **_kept()):
        version = _train(backbone="mobilenet_v3_small", weights="imagenet")
    file.unlink()
    return version


def test_what_was_trained_here_is_identical_without_a_network(trained: str, without_network: Path) -> None:
    with session_scope() as session:
        before = len(models.list_versions(session)), len(models.list_runs(session))
        run = models.find_run(session, trained)
        assert run is not None
    source = run.params_json["training"]["weights_source"]
    assert source["kind"] == "imagenet"
    assert file_store().has_file(weights_key(source["sha256"], ".pth"))  # kept when it was downloaded
    result = _reproduce(trained)
    assert (result["promise"], result["holds"], result["warnings"]) == ("identical", True, [])
    assert all(
        result[name]["identical"]
        for name in ("manifest", "weights", "graph", "threshold", "out_of_fold", "predictions")
    )
    assert result["weights"]["recorded"] == run.params_json["training"]["weights_sha256"]
    assert (result["predictions"]["n_golden"], result["predictions"]["n_images"]) == (11, 31)
    assert result["manifest"]["rows"] == 32
    assert not without_network.exists(), without_network.read_text()
    with session_scope() as session:
        assert (len(models.list_versions(session)), len(models.list_runs(session))) == before


def test_a_model_on_hand_made_features_has_no_weights_to_look_for(labelled: FileStore) -> None:
    version = _train(backbone="handmade", image_size=128)
    with session_scope() as session:
        run = models.find_run(session, version)
    assert run is not None
    frozen = run.params_json["active_manifest"]["ratings_sha256"]
    assert run.params_json["training"]["label_noise"]["ratings_sha256"] == frozen
    result = _reproduce(version)
    assert (result["promise"], result["holds"], result["warnings"]) == ("identical", True, [])


def test_the_manifest_is_rebuilt_from_rows_with_every_exclusion(trained: str) -> None:
    with session_scope() as session:
        run = models.find_run(session, trained)
        assert run is not None
        rows = rebuild_manifest(session, run)
    assert [row.exclusion_reason for row in rows if row.split is None] == ["image-dead-url"]


def test_what_differs_is_named_and_no_promise_holds(trained: str) -> None:
    """Another row than was recorded, another recipe, another release of a library, other code."""
    with session_scope() as session:
        run = models.find_run(session, trained)
        assert run is not None
        row = models.provenance(session, run.id)[4]  # type: ignore[arg-type]
        (before,) = session.execute(text("SELECT phase FROM webcam_snapshots WHERE id = :id"), {"id": row.snapshot_id})
        now = "sunset" if before.phase == "sunrise" else "sunrise"
        session.execute(
            text("UPDATE webcam_snapshots SET phase = :now WHERE id = :id"), {"now": now, "id": row.snapshot_id}
        )
        params = copy.deepcopy(run.params_json)
        params["recipe"]["image_size"] = 40
        params["training"]["libraries"]["pillow"] = "12.9.9"
        params["training"]["code"] = {"source_sha256": "0" * 64, "commit": None, "version": "0.0.9"}
        run.params_json = params
        session.add(run)
    result = _reproduce(trained)
    assert (result["promise"], result["holds"]) == ("not-reproduced", False)
    assert result["manifest"]["differences"] == [f"snapshot {row.snapshot_id}: phase {before.phase} -> {now}"]
    assert result["weights"]["max_abs_difference"] > 0
    assert result["predictions"]["max_abs_difference"] > 1e-3
    assert result["predictions"]["image"] in result["sentence"]
    assert any(line.startswith("pillow: 12.9.9 then, ") for line in result["warnings"])
    assert any(line.startswith("source of ml: 000000000000 (release 0.0.9) then") for line in result["warnings"])


SAME = {"identical": True, "max_abs_difference": 0.0, "differences": []}
COMPARED = {
    "manifest": SAME, "weights": SAME, "graph": SAME, "out_of_fold": SAME, "threshold": SAME,
    "predictions": {**SAME, "n_golden": 11, "n_images": 64},
}  # fmt: skip


def _compared(**changes: dict[str, Any]) -> dict[str, Any]:
    return {**COMPARED, **{name: {**COMPARED[name], "identical": False, **each} for name, each in changes.items()}}


@pytest.mark.parametrize(
    ("changes", "promise", "words"),
    [
        ({}, "identical", "11 golden and 64 other"),
        ({"weights": {"max_abs_difference": 1e-7, "tensor": "head.bias"}, "predictions": {"max_abs_difference": 9e-4}},
         "same-predictions", "1e-07 (in head.bias)"),
        ({"predictions": {"max_abs_difference": 1.1e-3}}, "not-reproduced", "0.0011"),
        ({"predictions": {"max_abs_difference": None}}, "not-reproduced", "other names"),
        ({"threshold": {}}, "same-predictions", "thresholds differ"),
        ({"out_of_fold": {}}, "same-predictions", "out-of-fold scores differ"),
        ({"manifest": {"differences": ["snapshot 3: split val -> test"]}}, "not-reproduced", "snapshot 3"),
    ],
)  # fmt: skip
def test_the_verdict_names_the_promise_that_holds(changes: dict[str, Any], promise: str, words: str) -> None:
    where = {"output": "ai_rating", "image": "golden/lines.png"}
    if "predictions" in changes:
        changes = {**changes, "predictions": {**where, **changes["predictions"]}}
    found = verdict(_compared(**changes))
    assert (found["promise"], found["holds"]) == (promise, promise != "not-reproduced")
    assert words in found["sentence"]


def test_a_model_from_elsewhere_and_one_that_is_not_there_are_refused(labelled: FileStore) -> None:
    with session_scope() as session:
        version = register_bundle(session, labelled, BRIGHT).model_version
    with session_scope() as session, pytest.raises(Conflict, match="trained elsewhere"):
        check_reproducible(session, version)
    with session_scope() as session, pytest.raises(NotFound):
        check_reproducible(session, "nobody")
