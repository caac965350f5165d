"""Training runs over HTTP, started here or registered from elsewhere."""

from __future__ import annotations

import io
import json
import stat
import uuid
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlmodel import Session

from db.tables import Job, ModelTrainingRun
from ml.images.decode import sha256_of
from ml.images.store import FileStore
from tests.api.builders import add_snapshot, count, zipped
from tests.tiny_model import BRIGHT, foreign_bundle


class TestTraining:
    def test_a_training_is_a_run_and_its_job(self, client: httpx.Client, session: Session) -> None:
        recipe = {"backbone": "resnet18", "weights": f"sha256:{'a' * 64}", "head": "binary"}
        answer = client.post("/v1/training-runs", json={"kind": "rating", "recipe": recipe, "notes": "try"})
        assert answer.status_code == 202, answer.text
        run, job = answer.json()["run"], answer.json()["job"]
        assert (run["status"], run["notes"], job["kind"], job["run_id"]) == ("queued", "try", "train", run["id"])
        assert run["params_json"]["recipe"]["backbone"] == "resnet18"
        assert client.get(f"/v1/training-runs/{run['id']}").json() == run
        assert client.get("/v1/training-runs").json()["items"][0] == run

    def test_a_repeated_key_is_the_same_run(self, client: httpx.Client, session: Session) -> None:
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        first = client.post("/v1/training-runs", json={}, headers=headers).json()
        before = count(session, ModelTrainingRun)
        assert client.post("/v1/training-runs", json={}, headers=headers).json() == first
        assert count(session, ModelTrainingRun) == before

    @pytest.mark.parametrize("other", [{"notes": "b"}, {"notes": "a", "recipe": {"epochs": 3}}, {}])
    def test_a_repeated_key_with_another_body_is_refused(
        self, client: httpx.Client, session: Session, other: dict[str, Any]
    ) -> None:
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        client.post("/v1/training-runs", json={"notes": "a"}, headers=headers)
        before = count(session, ModelTrainingRun), count(session, Job)
        refused = client.post("/v1/training-runs", json=other, headers=headers)
        assert (refused.status_code, "another body" in refused.json()["detail"]) == (409, True)
        assert (count(session, ModelTrainingRun), count(session, Job)) == before

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
        [label] = client.get(f"/v1/training-runs/{made['id']}/rows").json()["items"]
        assert (label["snapshot_id"], label["image_sha256"]) == (snapshot["id"], snapshot["image_sha256"])
        again = self.register(client, run, archive)
        assert again.status_code == 409
        assert run["model_version"] in again.json()["detail"]

    def test_a_repeated_key_is_the_same_registration(self, client: httpx.Client, tmp_path: Path) -> None:
        run = self.a_run(add_snapshot(client))
        archive = zipped(foreign_bundle(tmp_path, run["model_version"]))
        client.headers["Idempotency-Key"] = uuid.uuid4().hex
        first, second = (self.register(client, run, archive) for _ in range(2))
        assert (first.status_code, second.status_code) == (202, 202)
        assert second.json() == first.json()
        label = {**run["labels"][0], "label_value": 1.0}
        for change in ({"notes": "other"}, {"labels": [label]}, {"params": {}}):
            refused = self.register(client, {**run, **change}, archive)
            assert (refused.status_code, "another body" in refused.json()["detail"]) == (409, True)

    def test_labels_are_paged(self, client: httpx.Client, tmp_path: Path) -> None:
        snapshots = [add_snapshot(client) for _ in range(3)]
        run = self.a_run(snapshots[0])
        run["labels"] = [{**run["labels"][0], "snapshot_id": each["id"]} for each in snapshots]
        made = self.register(client, run, zipped(foreign_bundle(tmp_path, run["model_version"]))).json()["run"]
        url = f"/v1/training-runs/{made['id']}/rows"
        first = client.get(url, params={"limit": 2}).json()
        rest = client.get(url, params={"limit": 2, "cursor": first["next_cursor"]}).json()
        ids = [each["snapshot_id"] for each in first["items"] + rest["items"]]
        assert (ids, rest["next_cursor"]) == ([each["id"] for each in snapshots], None)
        assert client.get("/v1/training-runs/999999/rows").status_code == 404

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
