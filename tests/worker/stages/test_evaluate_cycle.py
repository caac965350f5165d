"""An evaluation cycle: who takes part, on which rows, and what is written."""

from __future__ import annotations

import io
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image
from sqlmodel import Session

from db.engine import session_scope
from db.queries import disagreements, evaluations, images, jobs, models, webcams
from db.tables import Evaluation, ModelVersion, ScoringEvent
from ml.export_dataset import Gates
from ml.images.store import FileStore, image_key
from ml.manifest import ManifestRow
from tests.builders import make_version, make_webcam
from tests.ml.brightness import image
from tests.tiny_model import BRIGHT, DARK, activate, register_bundle
from tests.worker.conftest import write_generated_labels
from worker.importers.snapshots import import_snapshots
from worker.jobs import run_job
from worker.queue import submit
from worker.stages.export_dataset import export_now
from worker.stages.fresh_rows import LEARNED_FROM, NEAR_LEARNED
from worker.verified import dataset_rows


@pytest.fixture(scope="module")
def labelled(database: str, store: FileStore, tmp_path_factory: pytest.TempPathFactory) -> FileStore:
    """As few generated frames with one rating each as have test rows to spare."""
    folder = tmp_path_factory.mktemp("frames")
    import_snapshots(write_generated_labels(folder, num_webcams=8, num_days=4), folder, store)
    return store


def _serve(session: Session, name: str) -> None:
    models.add_activation(session, kind="rating", model_version=name, action="promote", verdict={}, activated_by="test")


def _roles(session: Session) -> dict[str, str]:
    return {role: version.model_version for role, version in evaluations.cycle_versions(session, "rating").items()}


def test_a_cycle_is_about_what_serves_what_served_before_and_the_newest_that_never_did(session: Session) -> None:
    assert _roles(session) == {}
    old, first, second = (make_version(session).model_version for _ in range(3))
    _serve(session, first)
    assert _roles(session) == {"active": first, "candidate": second}
    third = make_version(session).model_version
    _serve(session, second)
    assert _roles(session) == {"active": second, "previous": first, "candidate": third}
    _serve(session, third)
    _serve(session, second)  # rolled back: what was tried in between is the one before it, and no candidate
    assert _roles(session) == {"active": second, "previous": third}
    assert old not in _roles(session).values()


def _learn(session: Session, version: ModelVersion, snapshot_id: int, sha256: str) -> None:
    row = {"training_run_id": version.training_run_id, "snapshot_id": snapshot_id, "label_source": "calculated_rating",
           "label_value": 3.0, "split": "train", "image_sha256": sha256}  # fmt: skip
    models.add_provenance(session, [row], [])


def _keep(session: Session, store: FileStore, webcam_id: int, captured_at: datetime, data: bytes) -> tuple[int, str]:
    """A snapshot with this picture."""
    sha256 = store.put_image(data)
    images.add_image(session, sha256, "image/jpeg", 32, 24, len(data))
    snapshot, _ = webcams.add_snapshot(
        session, webcam_id=webcam_id, phase="sunset", captured_at=captured_at, image_key=f"sha256:{sha256}",
        image_sha256=sha256, image_state="present", image_known_at=webcams.database_time(session),
    )  # fmt: skip
    assert snapshot.id is not None
    return snapshot.id, sha256


def _encoded_again(session: Session, store: FileStore, row: ManifestRow) -> tuple[int, str]:
    """A snapshot a minute later whose picture is the same frame in other bytes."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(store.image(str(row.image_sha256)))).save(buffer, "JPEG", quality=80)
    return _keep(session, store, row.webcam_id, row.captured_at + timedelta(minutes=1), buffer.getvalue())


@pytest.fixture(scope="module")
def cycle(labelled: FileStore) -> tuple[int, ManifestRow, ManifestRow]:
    """A cycle of a previous and an active one; two of its test rows are known to one of them each."""
    known, alike, *_ = [
        row for row in dataset_rows(labelled, export_now("rating", "regression", Gates())) if row.split == "test"
    ]
    with session_scope() as session:
        _score(session, labelled, "tiny_bright")
        before, now = (register_bundle(session, labelled, each) for each in (DARK, BRIGHT))
        activate(session, before)
        activate(session, now)
        _learn(session, before, known.snapshot_id, str(known.image_sha256))
        _learn(session, now, *_encoded_again(session, labelled, alike))
        job, _ = submit(session, "evaluate_cycle", {"kind": "rating", "by": "test"})
    assert job.id is not None
    assert run_job(job.id, "test") == "succeeded"
    with session_scope() as session:
        return int(jobs.get_job(session, job.id).result["cycle_id"]), known, alike  # type: ignore[index]


def _score(session: Session, store: FileStore, name: str) -> None:
    """Five days of scores before the last week and five within it, half as bright then, with a frame of each day that was
    kept; and attempts that failed.
    """
    webcam = make_webcam(session)
    assert webcam.id is not None
    today = webcams.database_time(session)
    for days_ago in (*range(1, 6), *range(10, 15)):
        brightness = 0.8 if days_ago > 7 else 0.4
        _keep(session, store, webcam.id, today - timedelta(days=days_ago), image(brightness, days_ago))
        for number in range(6):
            session.add(
                ScoringEvent(
                    kind="rating", webcam_id=webcam.id, scored_at=today - timedelta(days=days_ago, minutes=number),
                    model_version=name, path_taken="onnx", raw_score=brightness + 0.01 * number,
                )
            )  # fmt: skip
    _, lost = _keep(session, store, webcam.id, today - timedelta(hours=2), image(0.4, 20))
    store.delete_image(lost)
    _, damaged = _keep(session, store, webcam.id, today - timedelta(hours=3), image(0.4, 21))
    path = Path(store.url) / image_key(damaged)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-9])
    for number in range(10):
        at = today - timedelta(hours=1, minutes=number)
        session.add(
            ScoringEvent(kind="rating", webcam_id=webcam.id, scored_at=at, path_taken="unscored", reason="timeout")
        )
    session.flush()


def test_a_cycle_tells_drift_of_scores_and_frames_and_coverage_in_its_summary_and_on_every_page(
    cycle: tuple[int, ManifestRow, ManifestRow], labelled: FileStore
) -> None:
    with session_scope() as session:
        summary = evaluations.get_cycle(session, cycle[0]).summary
    drift, covered = summary["score_drift"], summary["coverage"]
    assert (drift["known"], drift["n_reference"], drift["n_current"], drift["n_webcams"]) == (True, 30, 30, 1)
    assert (drift["drift"], drift["p_value"] < 0.02) == (True, True)
    frames = summary["input_drift"]
    assert (frames["known"], frames["n_reference"], frames["n_current"], frames["n_webcams"]) == (True, 5, 5, 1)
    assert frames["unreadable"] == 2  # they judge nothing, so the cycle goes on without them
    assert 0.0 < frames["p_value"] <= 1.0
    assert frames["value"] == frames["features"][0]["value"] == 1.0
    assert [(row["outcome"], row["n"]) for row in covered["outcomes"]] == [("onnx", 30), ("unscored: timeout", 10)]
    for each in _by_role(cycle[0]).values():
        page = labelled.read_file(f"{each.artifact_key}/report.html").decode()
        assert "Drift beyond chance" in page
        assert "Drift of the frames" in page
        assert 'href="#cycle"' in page
        assert "unscored: timeout" in page
        assert f"This version is the {each.role} one" in page


def _by_role(cycle_id: int) -> dict[str, Evaluation]:
    with session_scope() as session:
        return {str(row.role): row for row in evaluations.list_evaluations(session, cycle_id=cycle_id)}


def test_all_versions_of_a_cycle_are_measured_on_the_same_rows(cycle: tuple[int, ManifestRow, ManifestRow]) -> None:
    found = _by_role(cycle[0])
    assert {role: row.model_version for role, row in found.items()} == {
        "active": "tiny_bright", "previous": "tiny_dark",
    }  # fmt: skip
    with session_scope() as session:
        row = evaluations.get_cycle(session, cycle[0])
    assert {each.manifest_sha256 for each in found.values()} == {row.manifest_sha256}
    assert {each.dataset_id for each in found.values()} == {row.dataset_id}
    assert {each.report["subsets"]["test"]["n"] for each in found.values()} == {row.summary["rows"]["judging"]}
    assert [found[role].compared_with for role in ("active", "previous")] == [None, "tiny_bright"]
    assert {role: each.report["cycle"]["role"] for role, each in found.items()} == {role: role for role in found}
    assert row.summary["disagreement"] == {role: each.report["disagreement"]["overall"] for role, each in found.items()}


def test_what_one_of_them_learned_from_or_what_resembles_it_judges_none(
    cycle: tuple[int, ManifestRow, ManifestRow], labelled: FileStore
) -> None:
    cycle_id, known, alike = cycle
    for each in _by_role(cycle_id).values():
        excluded = {row["reason"]: row["n"] for row in each.report["data_card"]["exclusions"]}
        assert (excluded[LEARNED_FROM], excluded[NEAR_LEARNED]) == (1, 1)
        judged = labelled.read_file(f"{each.artifact_key}/predictions.csv").decode()
        asked = {int(line.split(",")[0]) for line in judged.splitlines()[1:]}
        assert not asked & {known.snapshot_id, alike.snapshot_id}


def test_without_a_version_that_serves_a_cycle_says_what_to_do(database: str) -> None:
    with session_scope() as session:
        job, _ = submit(session, "evaluate_cycle", {"kind": "gloom", "by": "test"})
    assert job.id is not None
    assert run_job(job.id, "test") == "failed"
    with session_scope() as session:
        assert "promote one first" in str(jobs.get_job(session, job.id).reason)


def test_the_review_set_of_the_active_version_follows_from_the_cycle(
    cycle: tuple[int, ManifestRow, ManifestRow],
) -> None:
    with session_scope() as session:
        made = evaluations.get_cycle(session, cycle[0])
        (job,) = jobs.follow_up_jobs(session, made.job_id)
    assert (job.kind, job.params["cycle_id"]) == ("find_disagreements", cycle[0])
    assert run_job(int(job.id or 0), "test") == "succeeded"
    with session_scope() as session:
        (found,) = disagreements.list_review_sets(session)
        known = {each.snapshot_id for each in disagreements.stored_frames(session, "tiny_bright") if each.learned}
        rows = disagreements.list_disagreements(session, review_set_id=found.id, limit=1000)
    assert (found.cycle_id, found.seed, found.model_version) == (cycle[0], cycle[0], "tiny_bright")
    certain = {row.snapshot_id for row, _, _ in rows if row.inclusion_probability == 1 and "flip" in row.reasons}
    assert certain
    assert not certain & known
