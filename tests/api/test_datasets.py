"""Datasets over HTTP."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest
from sqlmodel import Session

from db.queries import jobs
from db.tables import Job
from ml.export_dataset import Gates
from ml.images.store import FileStore
from tests.api.builders import add_snapshot, count
from worker.stages.export_dataset import export_dataset


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

    def test_a_repeated_key_with_another_body_is_refused(self, client: httpx.Client, session: Session) -> None:
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        client.post("/v1/datasets", json={"min_rating_count": 2}, headers=headers)
        before = count(session, Job)
        refused = client.post("/v1/datasets", json={"min_rating_count": 3}, headers=headers)
        assert refused.status_code == 409
        assert "another body" in refused.json()["detail"]
        assert count(session, Job) == before

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
        assert body["id"] in [
            each["id"] for each in client.get("/v1/datasets", params={"kind": "rating"}).json()["items"]
        ]
        for name in ("full", "train", "val", "test"):
            answer = client.get(f"/v1/datasets/{dataset.id}/manifests/{name}.csv")
            assert answer.headers["content-type"].startswith("text/csv")
            assert answer.content == store.read_file(f"{dataset.artifact_key}/manifest_{name}.csv")
        url = f"/v1/datasets/{dataset.id}/manifests/full.csv"
        etag = client.get(url).headers["etag"]
        assert "immutable" in client.get(url).headers["cache-control"]
        for given in (etag, f'"other", W/{etag}', "*"):
            known = client.get(url, headers={"If-None-Match": given})
            assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", etag)
        other = client.get(url.replace("full", "train"), headers={"If-None-Match": etag})
        assert other.status_code == 200
        full = client.get(url).text
        assert full.startswith("snapshot_id,webcam_id,")
        assert full.count("\n") == 3
        assert client.get(f"/v1/datasets/{dataset.id}/manifests/..%2F..%2Fx.csv").status_code in (404, 422)
        assert client.get(f"/v1/datasets/{dataset.id}/manifests/all.csv").status_code == 422
        assert client.get("/v1/datasets/999999").status_code == 404
        assert client.get("/v1/datasets/999999/manifests/full.csv").status_code == 404
