"""Taking frames to label over HTTP, their pictures, and ratings in one's own name."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlmodel import Session

from tests.api.test_login import log_in
from tests.tiny_model import picture

HIDDEN = {"ai_rating", "ai_model_version", "raw_score", "calculated_rating", "rating_count"}


def add_frame(client: httpx.Client, data: bytes | None = None) -> dict[str, Any]:
    webcam = client.post(
        "/v1/webcams", json={"external_id": uuid.uuid4().hex, "title": "Pier", "city": "Lisbon"}
    ).json()
    params = {"webcam_id": webcam["id"], "phase": "sunset", "captured_at": "2026-02-14T17:00:00Z"}
    snapshot: dict[str, Any] = client.post("/v1/snapshots", content=data or picture(60), params=params).json()
    return snapshot


def take(client: httpx.Client, rater: str = "ann", **more: Any) -> httpx.Response:
    return client.post("/v1/label-queue", json={"rater": rater, "seat": "test", "count": 50, **more})


def test_a_frame_is_given_without_what_models_and_people_say_of_it(client: httpx.Client) -> None:
    snapshot = add_frame(client)
    answer = take(client).json()
    (frame,) = [each for each in answer["frames"] if each["snapshot_id"] == snapshot["id"]]
    assert (frame["title"], frame["city"], frame["phase"]) == ("Pier", "Lisbon", "sunset")
    assert frame["image_sha256"] == snapshot["image_sha256"]
    assert frame["reason"] == "random"
    assert not HIDDEN & set(frame)
    assert answer["waiting"] >= 1
    rated = client.post(f"/v1/snapshots/{snapshot['id']}/ratings", json={"rater": "ann", "rating": 4}).json()
    assert set(rated) >= HIDDEN - {"raw_score"}
    assert client.get("/v1/label-queue", params={"rater": "ann"}).json() == {
        "rated": answer["rated"] + 1, "waiting": answer["waiting"] - 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"count": 0}, "body.count"),
        ({"count": 51}, "body.count"),
        ({"seat": ""}, "body.seat"),
        ({"skipped": ["1"]}, "body.skipped.0"),
        ({"skipped": list(range(1, 1002))}, "body.skipped"),
    ],
)
def test_what_cannot_be_asked_is_said_by_field(client: httpx.Client, body: dict[str, Any], field: str) -> None:
    answer = take(client, **body)
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [field]


class TestNames:
    def test_a_login_rates_in_its_own_name_alone(self, visitor: httpx.Client, client: httpx.Client) -> None:
        log_in(visitor, "rate", rater="ann")
        url = f"/v1/snapshots/{add_frame(client)['id']}/ratings"
        for answer in (
            visitor.post(url, json={"rater": "ben", "rating": 4}),
            visitor.delete(f"{url}/ben"),
            take(visitor, "ben"),
        ):
            assert answer.status_code == 403, answer.text
            assert "rates as ann" in answer.json()["detail"]
        assert visitor.post(url, json={"rater": "ann", "rating": 4}).status_code == 200
        assert visitor.delete(f"{url}/ann").status_code == 200
        assert take(visitor, "ann").status_code == 200


class TestSentTwice:
    def test_a_rating_and_its_undoing_are_recorded_once(self, client: httpx.Client, session: Session) -> None:
        snapshot_id = add_frame(client)["id"]
        url = f"/v1/snapshots/{snapshot_id}/ratings"
        for key, send in (
            ("a", lambda headers: client.post(url, json={"rater": "ann", "rating": 4}, headers=headers)),
            ("b", lambda headers: client.delete(f"{url}/ann", headers=headers)),
        ):
            first, second = (send({"Idempotency-Key": f"{snapshot_id}-{key}"}) for _ in range(2))
            assert (first.status_code, second.status_code) == (200, 200)
            assert first.json() == second.json()
        count = text("SELECT count(*) FROM rating_events WHERE snapshot_id = :id")
        assert session.execute(count, {"id": snapshot_id}).scalar_one() == 2
        other = client.post(url, json={"rater": "ann", "rating": 5}, headers={"Idempotency-Key": f"{snapshot_id}-a"})
        assert other.status_code == 409
        assert "Idempotency-Key" in other.json()["detail"]


class TestPicture:
    def test_it_is_what_was_kept_and_is_sent_once(self, client: httpx.Client) -> None:
        data = picture(77)
        snapshot = add_frame(client, data)
        answer = client.get(f"/v1/snapshots/{snapshot['id']}/image")
        assert (answer.status_code, answer.content) == (200, data)
        assert answer.headers["etag"] == f'"{hashlib.sha256(data).hexdigest()}"'
        assert answer.headers["content-type"].startswith("image/")
        assert "immutable" in answer.headers["cache-control"]
        assert "private" in answer.headers["cache-control"]
        assert answer.headers["content-disposition"] == "attachment"
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = client.get(f"/v1/snapshots/{snapshot['id']}/image", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")

    @pytest.mark.parametrize(
        ("state", "status", "says"),
        [("removed", 410, "removed by retention"), ("dead-url", 404, "dead-url"), ("unfetched", 404, "unfetched")],
    )
    def test_one_that_is_not_there_is_said_so(
        self, client: httpx.Client, session: Session, state: str, status: int, says: str
    ) -> None:
        snapshot = add_frame(client)
        hashes = "" if state == "removed" else ", image_sha256 = NULL, image_known_at = NULL"
        session.execute(
            text(f"UPDATE webcam_snapshots SET image_state = :state{hashes} WHERE id = :id"),
            {"state": state, "id": snapshot["id"]},
        )
        session.commit()
        answer = client.get(f"/v1/snapshots/{snapshot['id']}/image")
        assert answer.status_code == status
        assert says in answer.json()["detail"]
        assert client.get("/v1/snapshots/999999/image").status_code == 404
