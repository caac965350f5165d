"""Labels to a served model and back, on real Postgres, Redis, Celery and fresh training processes."""

from __future__ import annotations

import csv
import io
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from api.main import create_app
from api.settings import ApiSettings
from db.engine import session_scope
from db.errors import Conflict
from db.queries import evaluations, jobs, labels, models, webcams
from db.tables import DatasetRow, ModelTrainingSnapshotRating, SnapshotAiInference
from ml.bundle import load_bundle
from ml.export_dataset import Gates
from ml.images.decode import sha256_of
from ml.judgements import judgement
from ml.manifest import parse_manifest
from tests.builders import make_snapshot, make_webcam
from tests.conftest import client_of, environment, serving
from tests.tiny_model import BRIGHT, DARK, picture
from tests.worker.conftest import Running, debug_recipe, write_generated_labels
from worker.importers.snapshots import import_snapshots
from worker.places import bundle_cache
from worker.queue import submit, submit_training
from worker.stages import promote as promotion
from worker.stages import score
from worker.stages.cache_images import cache_images
from worker.stages.export_dataset import export_now
from worker.stages.served import load_served
from worker.verified import dataset_rows


@pytest.fixture(scope="module")
def labelled(running: Running) -> Running:
    """Sixty generated frames with ratings, imported."""
    report = import_snapshots(write_generated_labels(running.folder), running.folder, running.store)
    assert report.refused == []
    return running


def _train(running: Running, kind: str, **keys: Any) -> tuple[str, list[Any]]:
    with session_scope() as session:
        run, job = submit_training(session, kind, debug_recipe(**keys))
    done = running.wait(job.id)
    for one in done:
        assert one.state == "succeeded", f"{one.kind}: {one.reason}"
    return run.model_version, done


@pytest.fixture(scope="module")
def trained(labelled: Running) -> tuple[str, list[Any]]:
    """A rating model: its version, and the jobs that made it."""
    return _train(labelled, "rating")


def _predictions(running: Running, version: str) -> list[dict[str, str]]:
    with session_scope() as session:
        evaluation = evaluations.latest_evaluation(session, version)
    assert evaluation is not None
    data = running.store.read_file(f"{evaluation.artifact_key}/predictions.csv")
    return list(csv.DictReader(io.StringIO(data.decode())))


def test_training_runs_export_and_evaluation_as_jobs_on_a_celery_worker(trained: tuple[str, list[Any]]) -> None:
    _, done = trained
    assert [job.kind for job in done] == ["train", "export_onnx", "evaluate"]
    with session_scope() as session:
        for job in done:
            (started,) = [e for e in jobs.job_events(session, job.id) if e.event == "started"]
            assert str(started.worker).startswith("celery:"), started.worker


def test_provenance_is_exactly_the_rows_of_the_active_manifest(
    labelled: Running, trained: tuple[str, list[Any]]
) -> None:
    with session_scope() as session:
        run = models.find_run(session, trained[0])
        assert run is not None
        assert run.id is not None
        rows = models.provenance(session, run.id)
        raw = session.exec(
            select(ModelTrainingSnapshotRating).where(col(ModelTrainingSnapshotRating.training_run_id) == run.id)
        ).all()
    manifest = parse_manifest(labelled.store.read_file(f"manifests/{run.manifest_sha256}.csv"))
    kept = {row.snapshot_id: row for row in manifest if row.split is not None}
    assert len(kept) == 60
    assert {(r.snapshot_id, r.label_value, r.split, r.image_sha256) for r in rows} == {
        (row.snapshot_id, row.label_value, row.split, row.image_sha256) for row in kept.values()
    }
    assert {one.snapshot_id for one in raw} == set(kept)
    assert run.status == "registered"


def test_a_report_has_the_model_beside_its_baselines_with_n_and_intervals(trained: tuple[str, list[Any]]) -> None:
    with session_scope() as session:
        evaluation = evaluations.latest_evaluation(session, trained[0])
    assert evaluation is not None
    subset = evaluation.report["subsets"][evaluation.report["headline"]]
    assert subset["n"] > 0
    assert {"model", "baseline"} <= {row["role"] for row in subset["rows"]}
    slices = evaluation.report["slices"]
    assert set(slices) == {"phase", "local_hour", "region", "source"}
    assert {each["value"] for each in slices["source"]} == {"windy"}
    assert "unknown" not in {each["value"] for each in slices["local_hour"]}
    assert sum(each["n"] for each in slices["phase"]) == subset["n"]
    for row in subset["rows"]:
        assert row["intervals"]["mae"][0] <= row["metrics"]["mae"] <= row["intervals"]["mae"][1]


def test_the_gate_refuses_what_is_worse_and_records_force_as_such(
    labelled: Running, trained: tuple[str, list[Any]]
) -> None:
    version = trained[0]
    with session_scope() as session:
        verdict = promotion.judge_promotion(session, version)
    checks = {each["name"]: each for each in verdict.facts["checks"]}
    assert checks["parity"]["passed"]
    assert checks["latency"]["passed"]
    assert checks["latency"]["model_ms"] > 0
    assert verdict.allowed == all(each["passed"] for each in checks.values() if each["required"])
    if not verdict.allowed:
        with session_scope() as session, pytest.raises(promotion.PromotionRefused, match="is refused on"):
            promotion.promote(session, version, force=False, by="test")
    with session_scope() as session:
        row = promotion.promote(session, version, force=True, by="test")
        assert row.forced == (not verdict.allowed)
        assert row.verdict == verdict.to_json()
    with session_scope() as session:
        assert models.active_versions(session)["rating"] == version
    with session_scope() as session, pytest.raises(Conflict, match="active rating model already"):
        promotion.promote(session, version, force=True, by="test")

    # A second model that has learned nothing: worse than the active one on the same rows, so it is refused without force.
    second, _ = _train(labelled, "rating", solver="adamw", epochs=1, learning_rate=1e-9, seed=9)
    with session_scope() as session:
        evaluation = evaluations.latest_evaluation(session, second)
        assert evaluation is not None
        assert evaluation.compared_with == version
    with session_scope() as session, pytest.raises(promotion.PromotionRefused, match="is not better") as refused:
        promotion.promote(session, second, force=False, by="test")
    facts = {each["name"]: each for each in refused.value.verdict.facts["checks"]}
    assert not facts["active"]["passed"]
    assert facts["active"]["probability_better"] < 0.5
    assert facts["latency"]["ratio"] > 0
    assert facts["decisions"]["n"] == facts["slices"]["n"] == facts["active"]["n"]
    assert len(facts["slices"]["checked"]) + len(facts["slices"]["too_small"]) >= 5
    with session_scope() as session:
        assert models.active_versions(session)["rating"] == version
    with session_scope() as session:
        promotion.promote(session, second, force=True, by="test")
    with session_scope() as session:
        assert promotion.roll_back(session, "rating", by="test").model_version == version
    with session_scope() as session:
        assert models.active_versions(session)["rating"] == version


def test_served_scores_equal_the_evaluations(labelled: Running, trained: tuple[str, list[Any]]) -> None:
    version = trained[0]
    with session_scope() as session:
        served = load_served(models.get_version(session, version), labelled.store, bundle_cache())
    compared = 0
    for row in _predictions(labelled, version):
        if row["score"]:
            answer = score.score_pixels(served, labelled.store.image(row["image_sha256"]))
            assert answer.ai_rating == pytest.approx(float(row["ai_rating"]), abs=1e-3)
            compared += 1
    assert compared > 0


def test_scores_over_http_equal_the_evaluations_predictions(
    labelled: Running, trained: tuple[str, list[Any]], api_key: Callable[..., str]
) -> None:
    version = trained[0]
    with session_scope() as session:
        if models.active_versions(session).get("rating") != version:
            promotion.promote(session, version, force=True, by="test")
    rows = [row for row in _predictions(labelled, version) if row["score"]]
    assert len(rows) >= 8
    with serving(create_app(ApiSettings())) as address, client_of(address, api_key("score")) as client:
        for row in rows:
            answer = client.post("/v1/score?kind=rating", content=labelled.store.image(row["image_sha256"])).json()
            assert (answer["modelVersion"], answer["pathTaken"]) == (version, "onnx")
            assert answer["aiRating"] == pytest.approx(float(row["ai_rating"]), abs=1e-3)
            assert answer["rawScore"] == pytest.approx(float(row["raw_score"]), abs=1e-3)


def test_scoring_a_kept_frame_of_a_webcam_writes_event_inference_and_webcam(
    labelled: Running, trained: tuple[str, list[Any]]
) -> None:
    with session_scope() as session:
        version = models.get_version(session, trained[0])
        snapshot = webcams.list_snapshots(session, limit=1)[0]
    served = load_served(version, labelled.store, bundle_cache())
    data = labelled.store.image(str(snapshot.image_sha256))
    frame = score.Frame(snapshot.webcam_id, snapshot.phase, snapshot.captured_at)
    answer = score.score_pixels(served, data)
    with session_scope() as session:
        score.record_score(session, answer, frame, kind="rating", store=labelled.store, data=data,
                           exploration_share=0.0, writes_snapshots=True)  # fmt: skip
    assert answer.capture.reason == "known"
    with session_scope() as session:
        inference = session.exec(
            select(SnapshotAiInference).where(col(SnapshotAiInference.snapshot_id) == snapshot.id)
        ).one()
        webcam = webcams.get_webcam(session, snapshot.webcam_id)
        again = score.unchanged(session, served, frame, data)
    assert inference.raw_score == pytest.approx(answer.raw_score)
    assert (webcam.ai_model_version, webcam.last_image_hash) == (trained[0], snapshot.image_sha256)
    assert again is not None
    assert (again.path_taken, again.raw_score) == ("cache-hit", pytest.approx(answer.raw_score))


def test_a_toy_kind_goes_through_the_whole_lifecycle(labelled: Running, api_key: Callable[..., str]) -> None:
    version, _ = _train(labelled, "gloom", head="level")
    assert version.startswith("gloom_")
    with session_scope() as session:
        promotion.promote(session, version, force=True, by="test")
        active = models.active_version(session, "gloom")
        assert active is not None
        served = load_served(active, labelled.store, bundle_cache())
        snapshot = webcams.list_snapshots(session, rated=True, limit=1)[0]
    data = labelled.store.image(str(snapshot.image_sha256))
    answer = score.score_pixels(served, data)
    assert answer.path_taken == "onnx"
    prediction = answer.prediction
    assert type(prediction) is judgement("gloom").Prediction
    with session_scope() as session:
        before = webcams.get_webcam(session, snapshot.webcam_id).ai_model_version
        score.record_score(
            session, answer, score.Frame(snapshot.webcam_id, snapshot.phase, snapshot.captured_at), kind="gloom",
            store=labelled.store, data=data, exploration_share=0.0,
            writes_snapshots=judgement("gloom").scores_snapshots,
        )  # fmt: skip
        # The score columns of a webcam belong to the web app's ratings; another kind leaves them alone.
        assert webcams.get_webcam(session, snapshot.webcam_id).ai_model_version == before
    assert answer.event_id is not None
    with serving(create_app(ApiSettings())) as address, client_of(address, api_key("score")) as client:
        served_over_http = client.post("/v1/score?kind=gloom", content=data).json()
        unknown = client.post("/v1/score?kind=glom", content=data)
    assert (served_over_http["modelVersion"], served_over_http["pathTaken"]) == (version, "onnx")
    assert served_over_http["prediction"] == {"kind": "gloom", "raw_score": pytest.approx(answer.raw_score, abs=1e-6)}
    assert unknown.status_code == 422
    assert "gloom" in unknown.text


def test_the_same_as_of_gives_the_same_bytes(labelled: Running) -> None:
    first = export_now("rating", "regression", Gates())
    with session_scope() as session:
        snapshot = make_snapshot(session)
        labels.rate_snapshot(
            session, snapshot_id=snapshot.id, rater="late", rating=5, is_sunset=True, label_source="test"  # type: ignore[arg-type]
        )  # fmt: skip
    again = export_now("rating", "regression", Gates(), first.as_of)
    later = export_now("rating", "regression", Gates())
    assert again.manifest_sha256 == first.manifest_sha256
    assert later.manifest_sha256 != first.manifest_sha256


def test_labels_of_the_future_are_not_exported(labelled: Running) -> None:
    with pytest.raises(Conflict, match="not settled yet"):
        export_now("rating", "regression", Gates(), datetime.now(UTC) + timedelta(hours=1))


def _splits(dataset_id: int | None) -> dict[int, str | None]:
    with session_scope() as session:
        rows = session.exec(select(DatasetRow).where(col(DatasetRow.dataset_id) == dataset_id)).all()
    return {row.snapshot_id: row.split for row in rows}


def test_growing_the_table_tenfold_moves_no_row_to_another_split(labelled: Running) -> None:
    before = _splits(export_now("rating", "regression", Gates()).id)
    with session_scope() as session:
        for _ in range(9 * len(before) // 10):
            webcam = make_webcam(session)
            for _ in range(10):
                snapshot = make_snapshot(session, webcam)
                labels.rate_snapshot(
                    session, snapshot_id=snapshot.id, rater="ann", rating=3, is_sunset=True, label_source="test"  # type: ignore[arg-type]
                )  # fmt: skip
    after = _splits(export_now("rating", "regression", Gates()).id)
    assert len(after) >= 9 * len(before)
    assert {key: after[key] for key in before} == before


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"min_rating_count": 50}, "rating-count-below-minimum: "),  # every gate's drops are named
        ({"weights": "sha256:" + "0" * 64}, "give the file once more"),
    ],
)
def test_what_cannot_be_trained_fails_with_its_reason_and_registers_nothing(
    labelled: Running, keys: dict[str, Any], words: str
) -> None:
    with session_scope() as session:
        num_versions = len(models.list_versions(session))
        run, job = submit_training(session, "rating", debug_recipe(**keys))
    (done,) = labelled.wait(job.id)
    assert done.state == "failed"
    assert words in str(done.reason)
    with session_scope() as session:
        assert models.get_run(session, run.id).status == "failed"  # type: ignore[arg-type]
        assert len(models.list_versions(session)) == num_versions


def test_images_that_cannot_be_had_leave_the_active_manifest_with_their_reason(running: Running) -> None:
    with session_scope() as session:
        snapshot = make_snapshot(
            session, image_key="url:http://127.0.0.1:9/a.jpg", image_sha256=None, image_known_at=None,
            image_state="unfetched", firebase_path=None, firebase_url="http://127.0.0.1:9/a.jpg",
        )  # fmt: skip
        labels.rate_snapshot(
            session, snapshot_id=snapshot.id, rater="ann", rating=3, is_sunset=True, label_source="test"  # type: ignore[arg-type]
        )  # fmt: skip
    dataset = export_now("rating", "regression", Gates())
    rows = [row for row in dataset_rows(running.store, dataset) if row.snapshot_id == snapshot.id]
    hashes, failed = cache_images(running.store, rows, lambda part, text: None)
    assert hashes == {}
    assert failed == {snapshot.id: "image-dead-url"}
    with session_scope() as session:
        assert webcams.get_snapshot(session, snapshot.id).image_state == "dead-url"  # type: ignore[arg-type]


def test_a_cancelled_training_stops_its_process_and_says_so(labelled: Running) -> None:
    with session_scope() as session:
        run, job = submit_training(session, "rating", debug_recipe(epochs=10_000, patience=10_000, trainable="all"))
    assert job.id is not None
    _until_running(job.id)
    with session_scope() as session:
        jobs.cancel_job(session, job.id)
    (done,) = labelled.wait(job.id, 60)
    assert done.state == "cancelled"
    with session_scope() as session:
        assert models.get_run(session, run.id).status == "cancelled"  # type: ignore[arg-type]
    assert not _processes(f"job-{job.id}/")


def _until_running(job_id: int) -> None:
    import time

    for _ in range(600):
        if _processes(f"job-{job_id}/"):
            return
        time.sleep(0.1)
    raise AssertionError("the training process never started")


def _processes(part: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if part in path.read_text() and "ml.train" in path.read_text():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_a_snapshots_image_is_pinned_when_first_fetched(running: Running) -> None:
    """People rated what the URL showed then; what it shows later is another picture."""
    shown = [picture(100)]

    class Changing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(shown[-1])

        def log_message(self, *words: object) -> None:
            pass

    with (
        HTTPServer(("127.0.0.1", 0), Changing) as server,
        environment(AFTERGLOW_FETCH_ALLOW_HOSTS=f"127.0.0.1:{server.server_port}"),
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/a.png"
        with session_scope() as session:
            snapshot = make_snapshot(session, image_key=f"url:{url}", image_sha256=None, image_known_at=None,
                                     image_state="unfetched", firebase_path=None, firebase_url=url)  # fmt: skip
            labels.rate_snapshot(
                session, snapshot_id=snapshot.id, rater="ann", rating=3, is_sunset=True, label_source="test"  # type: ignore[arg-type]
            )  # fmt: skip
        dataset = export_now("rating", "regression", Gates())
        rows = [row for row in dataset_rows(running.store, dataset) if row.snapshot_id == snapshot.id]
        rows = [replace(row, split="train", exclusion_reason=None) for row in rows]
        first, _ = cache_images(running.store, rows, lambda part, text: None)
        known_at = _known_at(snapshot.id)
        shown.append(picture(200))
        second, _ = cache_images(running.store, rows, lambda part, text: None)
        server.shutdown()
    assert first == second == {snapshot.id: sha256_of(shown[0])}
    assert _known_at(snapshot.id) == known_at


def _known_at(snapshot_id: int | None) -> datetime | None:
    with session_scope() as session:
        return webcams.get_snapshot(session, snapshot_id).image_known_at  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("keys", "words"),
    [({"head": "binary"}, "not for rating with head 'binary'"), ({"min_rating_count": 3}, "new export")],
)
def test_a_dataset_that_does_not_fit_the_recipe_is_refused(labelled: Running, keys: dict[str, Any], words: str) -> None:
    dataset = export_now("rating", "regression", Gates())
    with session_scope() as session, pytest.raises(Conflict, match=words):
        submit_training(session, "rating", debug_recipe(**keys), dataset_id=dataset.id)


def test_cancelling_a_queued_training_cancels_its_run(database: str) -> None:
    with session_scope() as session:
        run, job = submit_training(session, "rating", debug_recipe())
        jobs.cancel_job(session, job.id)  # type: ignore[arg-type]
    with session_scope() as session:
        assert models.get_run(session, run.id).status == "cancelled"  # type: ignore[arg-type]


def test_one_key_makes_one_run_however_many_ask_at_once(database: str) -> None:
    def ask(_: int) -> tuple[int | None, int | None, int | None]:
        with session_scope() as session:
            run, job = submit_training(session, "rating", debug_recipe(), idempotency_key="once")
            return run.id, job.id, job.run_id

    with ThreadPoolExecutor(6) as pool:
        answers = set(pool.map(ask, range(12)))
    ((run_id, job_id, of_run),) = answers
    assert run_id == of_run
    with session_scope() as session:
        jobs.cancel_job(session, job_id)  # type: ignore[arg-type]


def test_an_unknown_job_kind_is_refused_with_the_known_ones(database: str) -> None:
    with session_scope() as session, pytest.raises(LookupError, match="evaluate"):
        submit(session, "trian", {})


def _register(running: Running, directory: Path, version: str, **extra_files: bytes) -> Any:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                archive.write(path, f"bundle/{path.relative_to(directory)}")
        for name, data in extra_files.items():
            archive.writestr(name.replace("__", "/").replace("UP", ".."), data)
    upload = running.folder / f"{version}.zip"
    upload.write_bytes(buffer.getvalue())
    running.store.put_file(upload, f"uploads/{version}.zip")
    with session_scope() as session:
        run = models.add_run(session, model_version=version, kind="rating", status="trained")
        job, _ = submit(session, "register", {"upload": f"uploads/{version}.zip"}, run_id=run.id)
    return running.wait(job.id)


def test_a_model_trained_elsewhere_is_registered_and_evaluated_on_current_labels(labelled: Running) -> None:
    version = load_bundle(BRIGHT).model_version
    done = _register(labelled, BRIGHT, version)
    assert [(job.kind, job.state, job.reason) for job in done] == [
        ("register", "succeeded", None), ("evaluate", "succeeded", None)
    ]  # fmt: skip
    with session_scope() as session:
        registered = models.get_version(session, version)
        evaluation = evaluations.latest_evaluation(session, version)
    assert load_served(registered, labelled.store, bundle_cache()).model_version == version
    assert evaluation is not None
    assert evaluation.method == "test"
    assert evaluation.report["subsets"][evaluation.report["headline"]]["n"] > 0


def test_an_upload_that_names_places_outside_the_bundle_is_refused(labelled: Running) -> None:
    outside = labelled.folder.parent / "escaped"
    (done,) = _register(labelled, DARK, load_bundle(DARK).model_version, bundle__UP__UP__escaped=b"x")
    assert done.state == "failed"
    assert "leaves the bundle" in str(done.reason)
    assert not outside.exists()


def test_a_bundle_of_another_version_is_refused(labelled: Running) -> None:
    (done,) = _register(labelled, DARK, "sunset_elsewhere")
    assert done.state == "failed"
    assert "was registered as rating sunset_elsewhere" in str(done.reason)
