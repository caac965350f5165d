"""A diff of two runs, by command, over HTTP and as a page: on labels that changed between two exports."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from db.engine import session_scope
from db.queries import evaluations, images, labels, models
from db.tables import Dataset, ModelVersion
from ml import report as reports
from ml.evaluated import Evaluated, write_predictions
from ml.export_dataset import Gates
from ml.images.store import FileStore
from ml.inference import Scorer
from tests.builders import make_snapshot
from tests.tiny_model import BRIGHT, DARK, picture, register_bundle
from tests.worker.cli.conftest import Afterglow
from worker.stages.export_dataset import export_now
from worker.stages.train import _write_provenance  # the very rows that a training writes
from worker.verified import dataset_rows


def _rated(store: FileStore, level: int, stars: int) -> int:
    with session_scope() as session:
        sha256 = store.put_image(picture(level))
        images.add_image(session, sha256, "image/png", 40, 40, 100)
        snapshot = make_snapshot(session, image_key=f"sha256:{sha256}", image_sha256=sha256)
        assert snapshot.id is not None
        labels.rate_snapshot(session, snapshot_id=snapshot.id, rater="ann", rating=stars, is_sunset=True,
                             label_source="test")  # fmt: skip
        return snapshot.id


def _made(store: FileStore, bundle: Path, dataset: Dataset, folder: Path) -> ModelVersion:
    """A version that used a dataset, with the predictions that its evaluation keeps: of test rows, by its own bundle."""
    rows = [row for row in dataset_rows(store, dataset) if row.split is not None]
    tested = [row for row in rows if row.split == "test"]
    scorer = Scorer.load(bundle)
    outputs = scorer.score_images(store.image(str(row.image_sha256)) for row in tested)
    entry = reports.Scores("tiny", reports.MODEL, scorer.judgement.scores(dict(outputs), scorer.bundle.head))
    out = folder / bundle.name
    out.mkdir()
    write_predictions(out / "predictions.csv", scorer.bundle.outputs, Evaluated(tested, [entry], dict(outputs)), None)
    store.put_directory(out, f"reports/{bundle.name}")
    with session_scope() as session:
        version = register_bundle(session, store, bundle)
        _write_provenance(session, version.training_run_id, rows, dataset.as_of)
        evaluations.add_evaluation(
            session, model_version=version.model_version, kind="rating", dataset_id=dataset.id, method="test",
            manifest_sha256=dataset.manifest_sha256, report={}, artifact_key=f"reports/{bundle.name}",
        )  # fmt: skip
        return version


@pytest.fixture(scope="module")
def world(database: str, store: FileStore, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Sixty webcams with a frame each; between the two runs one label changed, one rating went and one frame came."""
    folder = tmp_path_factory.mktemp("reports")
    ids = [_rated(store, 4 * number, 1 + number % 5) for number in range(60)]
    before = _made(store, BRIGHT, export_now("rating", "regression", Gates()), folder)
    with session_scope() as session:
        labels.rate_snapshot(session, snapshot_id=ids[0], rater="ann", rating=5, is_sunset=True, label_source="test")
        assert labels.retract_rating(session, snapshot_id=ids[1], rater="ann")
    new = _rated(store, 250, 5)
    after = _made(store, DARK, export_now("rating", "regression", Gates()), folder)
    return {"before": before, "after": after, "changed": ids[0], "gone": ids[1], "new": new}


def test_a_diff_names_what_came_went_changed_moved_and_flipped(
    world: dict, afterglow: Afterglow, client: httpx.Client, tmp_path: Path  # type: ignore[type-arg]
) -> None:  # fmt: skip
    before, after = world["before"], world["after"]
    page = tmp_path / "diff.html"
    found = afterglow("diff", before.model_version, str(after.training_run_id), "--out", str(page), "--json").json
    assert [row["snapshot_id"] for row in found["added"]] == [world["new"]]
    assert [row["snapshot_id"] for row in found["removed"]] == [world["gone"]]
    (changed,) = found["changed"]
    assert changed["snapshot_id"] == world["changed"]
    assert changed["changes"] == {"label_value": [1.0, 5.0], "ratings": [{"ann": 1}, {"ann": 5}]}
    # The dark model says the opposite of the bright one, so each score moves by 5 - 2 * score.
    moves = found["predictions"]
    assert moves["n"] == len(found["moved"]) > 3
    for row in found["moved"]:
        assert row["difference"] == pytest.approx(5 - 2 * row["before"], abs=0.05)
    assert found["verdicts"]["n"] == moves["n"]
    assert found["verdicts"]["flipped"] == len(found["flipped"]) > 0
    for row in found["flipped"]:
        assert row["before"] != row["after"]
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") >= moves["n"]
    assert before.model_version in text
    said = afterglow("diff", before.model_version, after.model_version)
    assert f"verdicts: {len(found['flipped'])} of {moves['n']} flipped" in said.out
    url = f"/v1/training-runs/{before.training_run_id}/diff/{after.training_run_id}"
    answer = client.get(url, params={"limit": 2})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["rows"], answer.json()["moved"]) == (found["rows"], found["moved"][:2])


@pytest.mark.parametrize("word", ["itself", "kind"])
def test_a_run_is_not_compared_with_itself_nor_with_one_of_another_kind(
    world: dict, afterglow: Afterglow, client: httpx.Client, word: str  # type: ignore[type-arg]
) -> None:  # fmt: skip
    with session_scope() as session:
        run = models.add_run(session, model_version=f"other_{word}", kind="gloom", status="failed")
    other = world["before"].model_version if word == "itself" else run.model_version
    said = afterglow("diff", world["before"].model_version, other)
    assert (said.code, "itself" in said.err or "gloom model" in said.err) == (3, True)
    first = world["before"].training_run_id
    second = first if word == "itself" else run.id
    assert client.get(f"/v1/training-runs/{first}/diff/{second}").status_code == 422


def test_a_diff_of_a_run_that_is_not_there_says_so(world: dict, afterglow: Afterglow) -> None:  # type: ignore[type-arg]
    said = afterglow("diff", world["before"].model_version, "nothing")
    assert (said.code, "no training run nothing" in said.err) == (4, True)
