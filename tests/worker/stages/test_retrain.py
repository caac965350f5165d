"""A retrain cycle for real: reviewed rows come in, old test rows stay, two versions are judged on the same rows."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from db.engine import session_scope
from db.queries import evaluations, jobs, labels, models
from db.tables import DatasetRow, Evaluation, Job, ModelTrainingRun
from ml.images.store import FileStore
from tests.worker.cli.conftest import Afterglow, afterglow
from tests.worker.conftest import debug_recipe, write_generated_labels
from worker.importers.snapshots import import_snapshots
from worker.jobs import run_job
from worker.retraining import STEPS, RetrainCycle, RetrainRequest, cycle_of, submit_retraining
from worker.stages.train import run_manifest

__all__ = ["afterglow"]
NUM_FIRST = 48
"""Of sixty frames; the others come between the two cycles."""

NOTHING_LEARNED = {"solver": "adamw", "epochs": 1, "learning_rate": 1e-9, "seed": 9}
AS_WORDS = ("--set=solver=adamw", "--set=epochs=1", "--set=learning_rate=1.0e-9", "--set=seed=9")


def _run(job_id: int | None) -> Job:
    assert job_id is not None
    run_job(job_id, f"test-{job_id}")
    with session_scope() as session:
        return jobs.get_job(session, job_id)


def _retrain(request: RetrainRequest) -> RetrainCycle:
    """Run a cycle to its end, job by job as workers would. Its key is its notes."""
    with session_scope() as session:
        first, _ = submit_retraining(session, request, by="test", idempotency_key=request.notes)
    waiting = [first.id]
    while waiting:
        job = _run(waiting.pop())
        assert job.state == "succeeded", f"{job.kind}: {job.reason}"
        with session_scope() as session:
            waiting += [each.id for each in jobs.follow_up_jobs(session, job.id)]  # type: ignore[arg-type]
    with session_scope() as session:
        return cycle_of(session, first.id)  # type: ignore[arg-type]


def _rows(dataset_id: int | None) -> dict[int, DatasetRow]:
    with session_scope() as session:
        return {
            row.snapshot_id: row
            for row in session.exec(select(DatasetRow).where(col(DatasetRow.dataset_id) == dataset_id)).all()
        }


def _import(path: Path, lines: list[str], store: FileStore) -> None:
    path.write_text("".join(lines))
    assert import_snapshots(path, path.parent, store).refused == []


class Two:
    """Two cycles: the first on most frames, the second after a review and with the rest."""

    first: RetrainCycle
    again: RetrainCycle
    """Asked for right after the first."""
    second: RetrainCycle
    reviewed: int
    """A train row of the first that is rated again before the second."""


@pytest.fixture(scope="module")
def two(database: str, store: FileStore, tmp_path_factory: pytest.TempPathFactory) -> Two:
    folder = tmp_path_factory.mktemp("frames")
    head, *lines = write_generated_labels(folder).read_text().splitlines(keepends=True)
    lines = [line for number in range(5) for line in lines[number::5]]  # so that the later ones are of all webcams
    _import(folder / "first.csv", [head, *lines[:NUM_FIRST]], store)
    two = Two()
    recipe = debug_recipe().model_dump(mode="json", exclude_unset=True)
    two.first = _retrain(RetrainRequest("rating", recipe, force=True, notes="first"))
    two.again = _retrain(RetrainRequest("rating", {}, notes="again"))
    rows = _rows(two.first.dataset_id)
    two.reviewed = next(key for key, row in sorted(rows.items()) if row.split == "train" and row.label_value != 1.0)
    with session_scope() as session:
        labels.rate_snapshot(session, snapshot_id=two.reviewed, rater="bob", rating=1, is_sunset=True, label_source="t")
    _import(folder / "second.csv", [head, *lines[NUM_FIRST:]], store)
    # One that has learned nothing: the gate refuses it beside the first.
    two.second = _retrain(RetrainRequest("rating", NOTHING_LEARNED, notes="second"))
    return two


def _facts(cycle: RetrainCycle) -> tuple[ModelTrainingRun, Evaluation]:
    with session_scope() as session:
        run = models.find_run(session, str(cycle.model_version))
        evaluation = evaluations.latest_evaluation(session, str(cycle.model_version))
    assert run is not None and evaluation is not None
    return run, evaluation


def test_a_cycle_is_one_chain_from_export_to_promotion(two: Two) -> None:
    assert [job.kind for job in two.first.jobs] == list(STEPS)
    assert (two.first.state, two.first.progress) == ("promoted", 1.0)
    run, _ = _facts(two.first)
    assert (run.status, run.notes, run.dataset_id) == ("registered", "first", two.first.dataset_id)
    with session_scope() as session:
        activation = models.activations(session, "rating")[-1]
    assert (activation.model_version, activation.activated_by) == (two.first.model_version, "test")
    assert activation.verdict == two.first.verdict


def test_the_same_rows_and_recipe_are_not_trained_a_second_time_and_the_reason_says_so(
    two: Two, afterglow: Afterglow
) -> None:
    assert [job.kind for job in two.again.jobs] == [STEPS[0]]
    assert (two.again.state, two.again.progress, two.again.model_version) == ("nothing-new", 1.0, None)
    assert f"the very rows that {two.first.model_version} was trained on" in str(two.again.reason)
    said = afterglow("retrain", "--no-wait", "--key", "again", "--notes", "again")
    assert (said.code, "nothing new to learn" in said.err) == (3, True)


def test_what_is_no_better_is_not_promoted_and_the_verdict_says_so_in_numbers(two: Two) -> None:
    assert two.second.state == "not-promoted"
    assert str(two.second.reason).startswith(f"{two.second.model_version} is refused on ")
    assert two.second.verdict is not None
    checks = {each["name"]: each for each in two.second.verdict["checks"]}
    assert not checks["active"]["passed"]
    assert checks["active"]["probability_better"] < 0.95
    with session_scope() as session:
        assert models.active_versions(session)["rating"] == two.first.model_version


def test_reviewed_rows_and_new_frames_are_in_the_new_dataset(two: Two) -> None:
    before, after = _rows(two.first.dataset_id), _rows(two.second.dataset_id)
    assert (len(before), len(after)) == (NUM_FIRST, 60)
    assert after[two.reviewed].label_value != before[two.reviewed].label_value
    assert after[two.reviewed].rating_count == 2
    with session_scope() as session:
        run, _ = _facts(two.second)
        (learned,) = [r for r in models.provenance(session, run.id) if r.snapshot_id == two.reviewed]  # type: ignore[arg-type]
    assert learned.label_value == after[two.reviewed].label_value


def test_no_row_changes_its_split_and_old_test_rows_are_untouched(two: Two) -> None:
    before, after = _rows(two.first.dataset_id), _rows(two.second.dataset_id)
    assert {key: after[key].split for key in before} == {key: row.split for key, row in before.items()}

    def test_rows(rows: dict[int, DatasetRow]) -> dict[int, tuple[Any, ...]]:
        return {
            key: (row.label_value, row.target_label, row.image_sha256, row.group_id, row.seen)
            for key, row in rows.items()
            if row.split == "test" and key in before
        }

    assert test_rows(before)
    assert test_rows(after) == test_rows(before)


def test_both_versions_are_judged_on_the_same_frozen_rows_that_neither_learned_from(two: Two, store: FileStore) -> None:
    run, evaluation = _facts(two.second)
    assert evaluation.compared_with == two.first.model_version
    assert evaluation.manifest_sha256 == run.manifest_sha256
    judged = {row.snapshot_id for row in run_manifest(store, run) if row.split == "test"}
    against = evaluation.report["gate"]["against_active"]
    assert (against["version"], against["n"]) == (two.first.model_version, len(judged))
    data = store.read_file(f"{evaluation.artifact_key}/predictions.csv").decode()
    scored = {int(row["snapshot_id"]) for row in csv.DictReader(data.splitlines())}
    assert judged <= scored
    for cycle in (two.first, two.second):
        with session_scope() as session:
            provenance = models.provenance(session, _facts(cycle)[0].id)  # type: ignore[arg-type]
        assert not judged & {row.snapshot_id for row in provenance if row.split != "test"}
    old = {row.snapshot_id for row in run_manifest(store, _facts(two.first)[0]) if row.split == "test"}
    assert old <= judged


def test_the_same_command_with_its_key_finds_the_cycle_and_ends_as_the_gate_does(
    two: Two, afterglow: Afterglow
) -> None:
    words = ["retrain", *AS_WORDS, "--no-wait"]
    said = afterglow(*words, "--key", "second", "--notes", "second")
    assert (said.code, said.err.count("is refused on")) == (3, 1)
    assert "probability" in said.out or "is not better" in said.out
    assert "kept 60 of 60" in said.out
    facts = afterglow(*words, "--key", "second", "--notes", "second", "--json")
    assert (facts.code, facts.json["state"], facts.json["job_id"]) == (3, "not-promoted", two.second.job_id)
    assert facts.json["verdict"] == two.second.verdict
    other = afterglow(*words, "--key", "second", "--json")
    assert (other.code, "another body" in other.error["message"]) == (3, True)
