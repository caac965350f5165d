"""Lineage and exclusions by command and over HTTP: a wrong import and a vandal are found, shut out, and let in again."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from db.engine import session_scope
from db.queries import exclusions, labels, models, webcams
from ml.export_dataset import Gates
from ml.images.store import FileStore
from tests.tiny_model import BRIGHT, activate, register_bundle
from tests.worker.cli.conftest import Afterglow
from tests.worker.conftest import write_generated_labels
from worker.importers.snapshots import import_snapshots
from worker.stages.export_dataset import export_now
from worker.stages.train import _write_provenance  # the very rows that a training writes
from worker.verified import dataset_rows


@pytest.fixture(scope="module")
def world(database: str, store: FileStore, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Sixty imported frames rated by ann, some by mallory too, and a version that used them all."""
    folder = tmp_path_factory.mktemp("frames")
    report = import_snapshots(write_generated_labels(folder), folder, store)
    with session_scope() as session:
        shots = webcams.list_snapshots(session, limit=100)
        for each in shots[:15]:
            labels.rate_snapshot(session, snapshot_id=each.id, rater="mallory", rating=1, is_sunset=True,
                                 label_source="human")  # type: ignore[arg-type]  # fmt: skip
    dataset = export_now("rating", "regression", Gates())
    rows = [row for row in dataset_rows(store, dataset) if row.split is not None]
    with session_scope() as session:
        version = register_bundle(session, store, BRIGHT)
        activate(session, version)
        _write_provenance(session, version.training_run_id, rows, dataset.as_of)
    return {"import": report.import_id, "version": version.model_version, "run": version.training_run_id,
            "shot": shots[0], "dataset": dataset, "num_rows": len(rows)}  # fmt: skip


def test_lineage_of_a_run_a_snapshot_a_rater_and_an_import(world: dict, afterglow: Afterglow) -> None:  # type: ignore[type-arg]
    shot, version = world["shot"], world["version"]
    said = afterglow("lineage", "run", version, "--limit", "1000", "--json").json
    assert (len(said["rows"]), sum(said["splits"].values())) == (world["num_rows"], world["num_rows"])
    first = next(row for row in said["rows"] if row["snapshot_id"] == shot.id)
    assert first["image_sha256"] == shot.image_sha256
    assert [one["user_session_id"] for one in first["ratings"]] == ["ann", "mallory"]
    assert [one["import_id"] for one in first["ratings"]] == [world["import"], None]
    assert afterglow("lineage", "run", str(world["run"]), "--limit", "1000", "--json").json == said
    text = afterglow("lineage", "run", version, "--rater", "mallory")
    assert "ann" in text.out and "mallory 1" in text.out
    assert len(afterglow("lineage", "run", version, "--rater", "mallory", "--json").json["rows"]) == 15
    paged = afterglow("lineage", "run", version, "--limit", "3")
    assert "there may be more: afterglow lineage run" in paged.err
    for name in (str(shot.id), shot.image_sha256):
        (use,) = afterglow("lineage", "snapshot", name, "--json").json
        assert (use["model_version"], use["active"]) == (version, True)
    (use,) = afterglow("lineage", "rater", "mallory", "--json").json
    assert (use["rows"], use["num_rows"], use["active"]) == (15, world["num_rows"], True)
    (use,) = afterglow("lineage", "import", str(world["import"]), "--json").json
    assert (use["rows"], use["share"]) == (world["num_rows"], 1.0)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("lineage", "run", "nothing"), 4, "no training run nothing"),
        (("lineage", "snapshot", "x"), 2, "neither the number"),
        (("lineage", "snapshot", "999999"), 4, "no snapshot 999999"),
        (("lineage", "import", "999999"), 4, "no import 999999"),
        (("lineage", "run", "1", "--split", "tset"), 2, "train, val, test"),
        (("exclude", "rater", "nobody", "--reason", "x"), 4, "Raters here: ann, mallory"),
        (("exclude", "rater", "ann", "--reason", " "), 2, "say why"),
        (("exclude", "lift", "rater", "ann", "--reason", "x"), 3, "nothing to lift"),
    ],
)
def test_what_cannot_be_done_is_said_plainly(
    world: dict, afterglow: Afterglow, words: tuple[str, ...], code: int, message: str  # type: ignore[type-arg]
) -> None:  # fmt: skip
    said = afterglow(*words)
    assert (said.code, message in said.err) == (code, True), said.err


def test_an_import_that_brought_nothing_is_not_offered_to_be_excluded(
    world: dict, afterglow: Afterglow, tmp_path: Path  # type: ignore[type-arg]
) -> None:  # fmt: skip
    row = "nope.jpg,b,sunset,2026-02-12T17:03:00Z,9,ann"
    (tmp_path / "bad.csv").write_text(f"image,webcam,phase,captured_at,rating,rater\n{row}\n")
    said = afterglow("import", "snapshots", str(tmp_path / "bad.csv"), "--images", str(tmp_path))
    assert (said.code, "1 refused" in said.out, "exclude import" in said.out) == (1, True, False), said.out


def test_an_exclusion_names_the_tainted_models_and_a_list_marks_them_until_it_is_lifted(
    world: dict, afterglow: Afterglow, client: httpx.Client  # type: ignore[type-arg]
) -> None:  # fmt: skip
    version, num_rows = world["version"], world["num_rows"]
    assert afterglow("models", "--json").json[0]["tainted"] is None
    before = export_now("rating", "regression", Gates(), world["dataset"].as_of)
    said = afterglow("exclude", "rater", "mallory", "--reason", "rated everything 1")
    assert said.code == 0
    assert all(
        word in said.out for word in ("mallory is excluded", version, "active", " 15 ", f"{1500 / num_rows:.1f} %")
    )
    assert f"tainted: 15 of {num_rows} rows" in afterglow("models").out
    (model,) = client.get("/v1/models").json()["items"]
    assert (model["tainted"]["rows"], model["tainted"]["active"]) == (15, True)
    assert client.get(f"/v1/models/{version}").json()["tainted"]["num_rows"] == num_rows
    assert "mallory 15 (excluded now)" in afterglow("lineage", "run", version).out
    assert "yes" in afterglow("exclude", "list").out
    # Nothing frozen moves: the same as-of gives the same bytes, and now gives the labels without mallory.
    assert export_now("rating", "regression", Gates(), before.as_of).manifest_sha256 == before.manifest_sha256
    assert export_now("rating", "regression", Gates()).manifest_sha256 != before.manifest_sha256
    assert afterglow("exclude", "lift", "rater", "mallory", "--reason", "a misunderstanding").code == 0
    assert client.get(f"/v1/models/{version}").json()["tainted"] is None
    assert export_now("rating", "regression", Gates()).manifest_sha256 == before.manifest_sha256


def test_an_import_is_listed_excluded_and_lifted_over_http(
    world: dict, afterglow: Afterglow, client: httpx.Client  # type: ignore[type-arg]
) -> None:  # fmt: skip
    subject = {"import_id": world["import"], "reason": "the columns were swapped"}
    answer = client.post("/v1/exclusions", json=subject)
    assert answer.status_code == 201, answer.text
    (use,) = answer.json()["tainted"]
    assert (use["model_version"], use["rows"], use["share"]) == (world["version"], world["num_rows"], 1.0)
    assert (answer.json()["excluded_by"], answer.json()["unknown"]) == ("key:test-admin", [])
    assert client.post("/v1/exclusions", json=subject).status_code == 409
    shown = client.get(f"/v1/snapshots/{world['shot'].id}").json()
    assert (shown["calculated_rating"], shown["rating_count"]) == (1.0, 1)  # mallory's alone
    assert "excluded" in afterglow("import", "list").out
    assert client.post("/v1/exclusions/lift", json=subject).status_code == 200
    with session_scope() as session:
        assert exclusions.excluded_now(session) == {}
        assert models.active_versions(session) == {"rating": world["version"]}


@pytest.mark.parametrize("body", [{"reason": "x"}, {"rater": "ann", "import_id": 1, "reason": "x"}, {"rater": "ann"}])
def test_an_exclusion_names_one_subject_and_its_reason(client: httpx.Client, world: dict, body: dict) -> None:  # type: ignore[type-arg]
    assert client.post("/v1/exclusions", json=body).status_code == 422
