"""Datasets, training runs, model versions and jobs over HTTP. Jobs are submitted here, and run elsewhere."""

from __future__ import annotations

import io
import json
import stat
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlmodel import Session, select

from db.engine import session_scope
from db.queries import evaluations, jobs
from db.tables import Job, ModelTrainingRun, ModelVersion
from ml.export_dataset import Gates
from ml.images.decode import sha256_of
from ml.images.store import FileStore
from tests.tiny_model import BRIGHT, DARK, YES, foreign_bundle, picture, register_bundle
from worker.stages.export_dataset import export_dataset


def add_snapshot(client: httpx.Client) -> dict[str, Any]:
    webcam = client.post("/v1/webcams", json={"external_id": uuid.uuid4().hex}).json()
    params = {"webcam_id": webcam["id"], "phase": "sunset", "captured_at": "2026-02-14T17:00:00Z"}
    snapshot: dict[str, Any] = client.post("/v1/snapshots", content=picture(60), params=params).json()
    return snapshot


def count(session: Session, table: type) -> int:
    session.rollback()
    return len(session.exec(select(table)).all())


class TestDatasets:
    def test_an_export_is_a_job(self, client: httpx.Client, session: Session) -> None:
        answer = client.post("/v1/datasets", json={"kind": "rating", "min_rating_count": 2})
        assert answer.status_code == 202, answer.text
        job = jobs.get_job(session, answer.json()["id"])
        assert (job.kind, job.state) == ("export_dataset", "queued")
        assert job.params == {"kind": "rating", "head": "regression", "min_rating_count": 2, "as_of": None}

    def test_a_repeated_key_is_the_same_job(self, client: httpx.Client) -> None:
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        first, second = (client.post("/v1/datasets", json={}, headers=headers).json()["id"] for _ in range(2))
        assert first == second

    @pytest.mark.parametrize(
        ("body", "word"),
        [
            ({"kind": "raiting"}, "Did you mean 'rating'"),
            ({"head": "regresion"}, "regression, binary"),
            ({"min_rating_count": 0}, "min_rating_count"),
            ({"as_of": "yesterday"}, "ISO 8601"),
            ({"minimum": 2}, "minimum"),
        ],
    )
    def test_a_bad_export_is_refused_and_submits_nothing(
        self, client: httpx.Client, session: Session, body: dict[str, Any], word: str
    ) -> None:
        before = count(session, Job)
        answer = client.post("/v1/datasets", json=body)
        assert answer.status_code == 422
        assert word in answer.json()["detail"]
        assert count(session, Job) == before

    def test_manifests_come_byte_for_byte(self, client: httpx.Client, session: Session, store: FileStore) -> None:
        for rating in (2, 5):
            snapshot = add_snapshot(client)
            client.post(f"/v1/snapshots/{snapshot['id']}/ratings", json={"rater": "ana", "rating": rating})
        dataset = export_dataset(session, store, "rating", "regression", Gates(min_rating_count=1))
        session.commit()
        body = client.get(f"/v1/datasets/{dataset.id}").json()
        assert body["manifest_sha256"] == dataset.manifest_sha256
        assert body["id"] in [each["id"] for each in client.get("/v1/datasets", params={"kind": "rating"}).json()]
        for name in ("full", "train", "val", "test"):
            answer = client.get(f"/v1/datasets/{dataset.id}/manifests/{name}.csv")
            assert answer.headers["content-type"].startswith("text/csv")
            assert answer.content == store.read_file(f"{dataset.artifact_key}/manifest_{name}.csv")
        full = client.get(f"/v1/datasets/{dataset.id}/manifests/full.csv").text
        assert full.startswith("snapshot_id,webcam_id,")
        assert full.count("\n") == 3
        assert client.get(f"/v1/datasets/{dataset.id}/manifests/..%2F..%2Fx.csv").status_code in (404, 422)
        assert client.get(f"/v1/datasets/{dataset.id}/manifests/all.csv").status_code == 422
        assert client.get("/v1/datasets/999999").status_code == 404
        assert client.get("/v1/datasets/999999/manifests/full.csv").status_code == 404


class TestTraining:
    def test_a_training_is_a_run_and_its_job(self, client: httpx.Client, session: Session) -> None:
        recipe = {"backbone": "resnet18", "weights": f"sha256:{'a' * 64}", "head": "binary"}
        answer = client.post("/v1/training-runs", json={"kind": "rating", "recipe": recipe, "notes": "try"})
        assert answer.status_code == 202, answer.text
        run, job = answer.json()["run"], answer.json()["job"]
        assert (run["status"], run["notes"], job["kind"], job["run_id"]) == ("queued", "try", "train", run["id"])
        assert run["params_json"]["recipe"]["backbone"] == "resnet18"
        assert client.get(f"/v1/training-runs/{run['id']}").json() == run
        assert client.get("/v1/training-runs").json()[0] == run

    def test_a_repeated_key_is_the_same_run(self, client: httpx.Client, session: Session) -> None:
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        first = client.post("/v1/training-runs", json={}, headers=headers).json()
        before = count(session, ModelTrainingRun)
        assert client.post("/v1/training-runs", json={}, headers=headers).json() == first
        assert count(session, ModelTrainingRun) == before

    @pytest.mark.parametrize(
        ("body", "status", "word"),
        [
            ({"recipe": {"epoch": 3}}, 422, "did you mean 'epochs'"),
            ({"recipe": {"epochs": 0}}, 422, "epochs"),
            ({"recipe": {"head": "ranking"}}, 422, "regression, binary"),
            ({"recipe": {"weights": "/etc/passwd"}}, 422, "command line"),
            ({"recipe": {"weights": "../w.pt"}}, 422, "sha256:"),
            ({"recipe": {"weights": "sha256:abc"}}, 422, "sha256:"),
            ({"kind": "mood"}, 422, "Known: "),
            ({"dataset_id": 999999}, 404, "dataset"),
            ({"notes": "a\0b"}, 422, "notes"),
            ({"recipe": {"a": "\0"}}, 422, "recipe"),
            ({"recipe": []}, 422, "recipe"),
        ],
    )
    def test_a_bad_training_is_refused_and_leaves_nothing(
        self, client: httpx.Client, session: Session, body: dict[str, Any], status: int, word: str
    ) -> None:
        before = count(session, ModelTrainingRun), count(session, Job)
        answer = client.post("/v1/training-runs", json=body)
        assert answer.status_code == status, answer.text
        assert word in answer.json()["detail"]
        assert (count(session, ModelTrainingRun), count(session, Job)) == before


def zipped(directory: Path, prefix: str = "") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                archive.write(path, prefix + path.relative_to(directory).as_posix())
    return buffer.getvalue()


def zip_of(files: dict[str, bytes], *, link: str | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        if link is not None:
            entry = zipfile.ZipInfo(link)
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, "/etc/passwd")
    return buffer.getvalue()


class TestRegistration:
    def register(self, client: httpx.Client, run: Any, bundle: bytes | None) -> httpx.Response:
        files = {"bundle": ("b.zip", bundle)} if bundle is not None else {"other": ("b.zip", b"x")}
        return client.post("/v1/training-runs/register", data={"run": json.dumps(run)}, files=files)

    def a_run(self, snapshot: dict[str, Any], **changes: Any) -> dict[str, Any]:
        label = {
            "snapshot_id": snapshot["id"],
            "label_source": "calculated_rating",
            "label_value": 4.5,
            "split": "train",
        }
        return {
            "model_version": f"foreign_{uuid.uuid4().hex[:8]}", "kind": "rating", "trained_at": "2026-02-12T08:00:00Z",
            "params": {"epochs": 40}, "notes": "elsewhere", "labels": [label], **changes,
        }  # fmt: skip

    def test_run_labels_archive_and_job_are_one(
        self, client: httpx.Client, session: Session, store: FileStore, tmp_path: Path
    ) -> None:
        snapshot = add_snapshot(client)
        run = self.a_run(snapshot)
        archive = zipped(foreign_bundle(tmp_path, run["model_version"]))
        answer = self.register(client, run, archive)
        assert answer.status_code == 202, answer.text
        made, job = answer.json()["run"], answer.json()["job"]
        assert (made["status"], made["params_json"]) == ("trained", {"epochs": 40})
        key = f"uploads/{sha256_of(archive)}.zip"
        assert (job["kind"], job["params"], job["run_id"]) == ("register", {"upload": key}, made["id"])
        assert store.read_file(key) == archive
        [label] = client.get(f"/v1/training-runs/{made['id']}/labels").json()["items"]
        assert (label["snapshot_id"], label["image_sha256"]) == (snapshot["id"], snapshot["image_sha256"])
        again = self.register(client, run, archive)
        assert again.status_code == 409
        assert run["model_version"] in again.json()["detail"]

    def test_labels_are_paged(self, client: httpx.Client, tmp_path: Path) -> None:
        snapshots = [add_snapshot(client) for _ in range(3)]
        run = self.a_run(snapshots[0])
        run["labels"] = [{**run["labels"][0], "snapshot_id": each["id"]} for each in snapshots]
        made = self.register(client, run, zipped(foreign_bundle(tmp_path, run["model_version"]))).json()["run"]
        url = f"/v1/training-runs/{made['id']}/labels"
        first = client.get(url, params={"limit": 2}).json()
        rest = client.get(url, params={"limit": 2, "after_id": first["next_after"]}).json()
        ids = [each["snapshot_id"] for each in first["items"] + rest["items"]]
        assert (ids, rest["next_after"]) == ([each["id"] for each in snapshots], None)
        assert client.get("/v1/training-runs/999999/labels").status_code == 404

    @pytest.mark.parametrize(
        ("change", "word"),
        [
            ({"labels": "unknown"}, "not known here"),
            ({"labels": "twice"}, "twice"),
            ({"labels": None}, "labels"),
            ({"trained_at": "2026-02-12"}, "trained_at"),
            ({"model_version": "../x"}, "model_version"),
            ({"model_version": "tiny_other"}, "make them equal"),
            ({"kind": "mood"}, "mood"),
        ],
    )
    def test_a_bad_run_leaves_nothing(
        self, client: httpx.Client, session: Session, tmp_path: Path, change: dict[str, Any], word: str
    ) -> None:
        run = self.a_run(add_snapshot(client))
        archive = zipped(foreign_bundle(tmp_path, run["model_version"]))
        label = run["labels"][0]
        labels = {"unknown": [{**label, "snapshot_id": 10**9}], "twice": [label, label]}
        run |= {key: labels.get(value, value) if key == "labels" else value for key, value in change.items()}
        before = count(session, ModelTrainingRun), count(session, Job)
        answer = self.register(client, run, archive)
        assert answer.status_code == 422, answer.text
        assert word in answer.text
        assert (count(session, ModelTrainingRun), count(session, Job)) == before

    @pytest.mark.parametrize(
        ("archive", "word"),
        [
            (None, "bundle"),
            (b"no zip", "zip"),
            (zip_of({"model.onnx": b""}), "bundle.json"),
            (zip_of({"bundle.json": b"{}"}), "model.onnx"),
            (zip_of({"bundle.json": b"{", "model.onnx": b""}), "not JSON"),
            (zip_of({"bundle.json": b"[]", "model.onnx": b""}), "JSON object"),
            (zip_of({"bundle.json": b"{}", "model.onnx": b"", "../../evil": b""}), "plain relative"),
            (zip_of({"bundle.json": b"{}", "model.onnx": b"", "/etc/evil": b""}), "plain relative"),
            (zip_of({"bundle.json": b"{}", "model.onnx": b""}, link="golden/x.png"), "plain relative"),
            (zipped(BRIGHT, prefix="tiny/"), "not the directory itself"),
        ],
    )
    def test_an_archive_that_is_no_bundle_is_refused(
        self, client: httpx.Client, session: Session, archive: bytes | None, word: str
    ) -> None:
        before = count(session, ModelTrainingRun), count(session, Job)
        answer = self.register(client, self.a_run(add_snapshot(client)), archive)
        assert answer.status_code == 422, answer.text
        assert word in answer.text
        assert (count(session, ModelTrainingRun), count(session, Job)) == before

    def test_another_body_is_415(self, client: httpx.Client) -> None:
        assert client.post("/v1/training-runs/register", json={}).status_code == 415


def evaluation_report(better: bool) -> dict[str, Any]:
    rows = [
        {
            "name": "tiny_yes",
            "role": "model",
            "metrics": {"mae": 0.5 if better else 1.5},
            "intervals": {"mae": [0.4, 0.6]},
        },
        {"name": "predict the mean", "role": "baseline", "metrics": {"mae": 1.0}, "intervals": {"mae": [0.9, 1.1]}},
    ]
    comparison = {"against": "predict the mean", "better": better, "difference": 0.5, "interval": [0.3, 0.7]}
    subset = {"n": 120, "n_groups": 12, "rows": rows, "comparisons": [comparison]}
    primary = {"name": "mae", "higher_is_better": False}
    return {"headline": "not seen", "primary": primary, "subsets": {"not seen": subset}}


def evaluate(version: ModelVersion, better: bool) -> None:
    with session_scope() as session:
        evaluations.add_evaluation(
            session, model_version=version.model_version, kind="rating", manifest_sha256="0" * 64, method="test",
            report=evaluation_report(better), artifact_key="reports/x",
        )  # fmt: skip


class TestModels:
    def test_the_life_of_a_version(
        self, client: httpx.Client, session: Session, store: FileStore, api_key: Callable[..., str]
    ) -> None:
        yes = register_bundle(session, store, YES)
        session.commit()
        url = f"/v1/models/{yes.model_version}"

        assert client.get(f"{url}/evaluation").status_code == 404
        assert client.get(url).json()["headline"] is None
        early = client.post(f"{url}/promote")
        assert (early.status_code, early.json()["verdict"]["allowed"]) == (409, False)

        evaluate(yes, better=False)
        refused = client.post(f"{url}/promote", json={})
        assert refused.status_code == 409
        assert "predict the mean" in refused.json()["detail"]
        assert refused.json()["verdict"]["n"] == 120
        assert [each["active"] for each in client.get("/v1/models").json()] == [False]

        evaluate(yes, better=True)
        headline = client.get(url).json()["headline"]
        assert (headline["metric"], headline["n"], headline["n_groups"]) == ("mae", 120, 12)
        assert headline["rows"][0] == {"name": "tiny_yes", "role": "model", "value": 0.5, "interval": [0.4, 0.6]}
        assert client.get(f"{url}/evaluation").json()["report"] == evaluation_report(True)
        done = client.post(f"{url}/promote")
        assert done.status_code == 200, done.text
        assert (done.json()["forced"], done.json()["activated_by"], done.json()["pinned"]) == (
            False, "key:test-admin", None
        )  # fmt: skip
        assert client.get(url).json()["active"] is True
        assert client.post(f"{url}/promote").status_code == 409

        nothing = client.post("/v1/models/rollback", json={"kind": "rating"})
        assert nothing.status_code == 409
        dark = register_bundle(session, store, DARK)
        session.commit()
        forced = client.post(f"/v1/models/{dark.model_version}/promote", json={"force": True})
        assert (forced.status_code, forced.json()["forced"]) == (200, True)
        back = client.post("/v1/models/rollback", json={"kind": "rating"})
        assert (back.status_code, back.json()["model_version"]) == (200, yes.model_version)
        active = {each["model_version"]: each["active"] for each in client.get("/v1/models").json()}
        assert active == {"tiny_yes": True, "tiny_dark": False}

    def test_an_evaluation_is_a_job(self, client: httpx.Client, session: Session, store: FileStore) -> None:
        bright = register_bundle(session, store, BRIGHT)
        session.commit()
        answer = client.post(f"/v1/models/{bright.model_version}/evaluations")
        assert answer.status_code == 202
        assert (answer.json()["kind"], answer.json()["params"]) == ("evaluate", {"model_version": "tiny_bright"})

    def test_unknown_versions_and_kinds(self, client: httpx.Client) -> None:
        for method, path in (("GET", ""), ("GET", "/evaluation"), ("POST", "/evaluations"), ("POST", "/promote")):
            assert client.request(method, f"/v1/models/nobody{path}").status_code == 404
        assert client.post("/v1/models/rollback", json={"kind": "mood"}).status_code == 422
        assert client.post("/v1/models/nobody/promote", json={"forse": True}).status_code == 422
        assert client.get("/v1/models/a%00b").status_code == 422


class TestJobs:
    @pytest.fixture
    def job_id(self, client: httpx.Client) -> int:
        """A queued job of this test's own."""
        return int(client.post("/v1/datasets", json={}).json()["id"])

    def test_list_by_state_and_kind_newest_first(self, client: httpx.Client, job_id: int) -> None:
        page = client.get("/v1/jobs", params={"state": "queued", "kind": "export_dataset", "limit": 1}).json()
        assert [each["id"] for each in page["items"]] == [job_id]
        older = client.get("/v1/jobs", params={"before_id": page["next_after"], "kind": "export_dataset"}).json()
        assert all(each["id"] < job_id for each in older["items"])
        assert client.get("/v1/jobs", params={"state": "asleep"}).status_code == 422

    def test_a_job_has_its_events(self, client: httpx.Client, job_id: int) -> None:
        body = client.get(f"/v1/jobs/{job_id}").json()
        assert body["job"]["state"] == "queued"
        assert [each["event"] for each in body["events"]] == ["submitted"]
        assert client.get("/v1/jobs/999999").status_code == 404

    def test_cancel_once_and_for_all(self, client: httpx.Client, job_id: int, session: Session) -> None:
        assert client.post(f"/v1/jobs/{job_id}/cancel").json()["state"] == "cancelled"
        assert client.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
        done = int(client.post("/v1/datasets", json={}).json()["id"])
        claim = jobs.claim_job(session, done, "test", 60)
        assert claim is not None
        assert jobs.finish_job(session, claim, "succeeded", result={})
        session.commit()
        refused = client.post(f"/v1/jobs/{done}/cancel")
        assert (refused.status_code, "succeeded" in refused.json()["detail"]) == (409, True)
        assert client.post("/v1/jobs/999999/cancel").status_code == 404

    def test_events_stream_until_the_final_state_and_resume(
        self, client: httpx.Client, job_id: int, session: Session
    ) -> None:
        seen: list[tuple[str, dict[str, Any]]] = []
        with client.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for name, _, data in read_events(answer.iter_lines()):
                seen.append((name, data))
                if len(seen) == 2:  # the job is seen waiting; from here on it goes on while it is watched
                    claim = jobs.claim_job(session, job_id, "test", 60)
                    assert claim is not None
                    session.commit()
                if name == "started":
                    jobs.beat(session, claim, 60, progress=0.5, message="half way")
                    session.commit()
                if data.get("progress") == 0.5 and name == "progress":
                    jobs.finish_job(session, claim, "succeeded", result={"dataset_id": 1})
                    session.commit()
        assert [name for name, _ in seen if name != "progress"] == ["submitted", "started", "succeeded", "end"]
        assert seen[-1][1]["result"] == {"dataset_id": 1}
        assert ("progress", 0.5) in [(name, data.get("progress")) for name, data in seen]

        with client.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
            first_id = next(key for _, key, _ in read_events(answer.iter_lines()) if key)
        with client.stream("GET", f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": first_id}) as answer:
            resumed = [name for name, _, _ in read_events(answer.iter_lines()) if name != "progress"]
        assert resumed == ["started", "succeeded", "end"]

    def test_following_nothing_is_404(self, client: httpx.Client) -> None:
        assert client.get("/v1/jobs/999999/events").status_code == 404
        assert client.get("/v1/jobs/999999/events", headers={"Last-Event-ID": "x"}).status_code == 422


def read_events(lines: Any) -> Any:
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield fields["event"], fields.get("id"), json.loads(fields["data"])
            fields = {}
