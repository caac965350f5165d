"""Webcams, snapshots and ratings over HTTP."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest
from sqlmodel import Session, col, select

from db.tables import Image, RatingEvent, WebcamSnapshot
from ml.images.decode import sha256_of
from ml.images.store import FileStore
from tests.tiny_model import picture

WHEN = "2026-02-14T17:05:00+00:00"


@pytest.fixture
def webcam_id(client: httpx.Client) -> int:
    """A webcam of this test's own."""
    answer = client.post("/v1/webcams", json={"external_id": uuid.uuid4().hex, "title": "pier"})
    assert answer.status_code == 201
    return int(answer.json()["id"])


def send(client: httpx.Client, webcam: int, data: bytes | None = None, **params: Any) -> httpx.Response:
    given = {"webcam_id": webcam, "phase": "sunset", "captured_at": WHEN, **params}
    return client.post("/v1/snapshots", content=data or picture(80), params=given)


@pytest.fixture
def snapshot_id(client: httpx.Client, webcam_id: int) -> int:
    """A snapshot of this test's own."""
    return int(send(client, webcam_id).json()["id"])


class TestWebcams:
    def test_the_same_source_and_id_is_one_webcam(self, client: httpx.Client) -> None:
        body = {"source": "own", "external_id": uuid.uuid4().hex, "lat": 38.7, "lng": -9.2, "title": "first"}
        first, second = (
            client.post("/v1/webcams", json=body),
            client.post("/v1/webcams", json=body | {"title": "other"}),
        )
        assert (first.status_code, second.status_code) == (201, 200)
        assert second.json() == first.json()
        assert client.get(f"/v1/webcams/{first.json()['id']}").json()["title"] == "first"

    def test_pages_join_without_gap_or_overlap(self, client: httpx.Client) -> None:
        source = uuid.uuid4().hex
        made = [
            client.post("/v1/webcams", json={"source": source, "external_id": str(number)}).json()["id"]
            for number in range(5)
        ]
        seen: list[int] = []
        cursor: dict[str, int] | None = {}
        while cursor is not None:
            page = client.get("/v1/webcams", params={"source": source, "limit": 2, **cursor}).json()
            seen += [each["id"] for each in page["items"]]
            cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] is not None else None
        assert seen == made

    @pytest.mark.parametrize("sort", ["oldest", "newest"])
    def test_a_webcam_added_meanwhile_moves_no_page(self, client: httpx.Client, sort: str) -> None:
        source = uuid.uuid4().hex

        def add(number: int) -> int:
            body = {"source": source, "external_id": str(number)}
            return int(client.post("/v1/webcams", json=body).json()["id"])

        made = [add(number) for number in range(4)]
        params = {"source": source, "limit": 2, "sort": sort}
        first = client.get("/v1/webcams", params=params).json()
        add(4)
        second = client.get("/v1/webcams", params={**params, "cursor": first["next_cursor"]}).json()
        seen = [each["id"] for each in first["items"] + second["items"]]
        assert seen == (made if sort == "oldest" else made[::-1])

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "body.external_id"),
            ({"external_id": ""}, "body.external_id"),
            ({"external_id": "a\0b"}, "body.external_id"),
            ({"external_id": "x" * 201}, "body.external_id"),
            ({"external_id": "x", "lat": 91}, "body.lat"),
            ({"external_id": "x", "lng": "east"}, "body.lng"),
            ({"external_id": "x", "titel": "typo"}, "body.titel"),
            ({"external_id": 7}, "body.external_id"),
        ],
    )
    def test_a_bad_webcam_is_refused_by_field(self, client: httpx.Client, body: dict[str, Any], field: str) -> None:
        answer = client.post("/v1/webcams", json=body)
        assert answer.status_code == 422
        assert [each["field"] for each in answer.json()["errors"]] == [field]

    @pytest.mark.parametrize("text", ['{"external_id": "\\ud800"}', '{"external_id": "x", "lat": NaN}', '{"a": 1e400}'])
    def test_what_json_allows_and_we_do_not_is_refused(self, client: httpx.Client, text: str) -> None:
        headers = {"Content-Type": "application/json"}
        assert client.post("/v1/webcams", content=text, headers=headers).status_code == 422

    @pytest.mark.parametrize(
        ("key", "status"),
        [
            ("999999", 404),
            ("0", 422),
            ("-1", 422),
            (str(2**63), 422),
            ("9" * 400, 422),
            ("1 OR 1=1", 422),
            ("%00", 422),
        ],
    )
    def test_an_odd_id_is_no_fault_of_ours(self, client: httpx.Client, key: str, status: int) -> None:
        assert client.get(f"/v1/webcams/{key}").status_code == status


class TestSnapshots:
    def test_a_frame_is_kept_with_its_bytes(
        self, client: httpx.Client, webcam_id: int, session: Session, store: FileStore
    ) -> None:
        data = picture(90, size=30)
        answer = send(client, webcam_id, data)
        assert answer.status_code == 201, answer.text
        body = answer.json()
        assert (body["image_state"], body["phase"], body["rating_count"]) == ("present", "sunset", 0)
        assert body["captured_at"] == "2026-02-14T17:05:00Z"
        assert store.image(body["image_sha256"]) == data
        image = session.exec(select(Image).where(col(Image.sha256) == body["image_sha256"])).one()
        assert (image.width, image.height, image.media_type) == (30, 30, "image/png")
        assert client.get(f"/v1/snapshots/{body['id']}").json() == body

    def test_the_same_frame_twice_is_one_snapshot(self, client: httpx.Client, webcam_id: int) -> None:
        data = picture(91)
        first, second = send(client, webcam_id, data), send(client, webcam_id, data)
        assert (first.status_code, second.status_code) == (201, 200)
        assert first.json()["id"] == second.json()["id"]

    def test_a_form_does_the_same(self, client: httpx.Client, webcam_id: int) -> None:
        fields = {"webcam_id": str(webcam_id), "phase": "sunrise", "captured_at": WHEN}
        answer = client.post("/v1/snapshots", files={"image": ("../../x.png", picture(5))}, data=fields)
        assert answer.status_code == 201, answer.text
        assert answer.json()["phase"] == "sunrise"

    @pytest.mark.parametrize(
        ("data", "params", "status", "word"),
        [
            (b"<html>no</html>", {}, 422, "not an image"),
            (b"%PDF-1.4", {}, 415, "PDF"),
            pytest.param(picture(1)[:70], {}, 422, "cut off", id="cut"),
            (None, {"phase": ""}, 422, "phase"),
            (None, {"captured_at": ""}, 422, "captured_at"),
            (None, {"webcam_id": ""}, 422, "webcam_id"),
            (None, {"webcam_id": "999999"}, 404, "POST /v1/webcams"),
        ],
    )
    def test_a_refused_frame_leaves_nothing(
        self,
        client: httpx.Client,
        webcam_id: int,
        session: Session,
        data: bytes | None,
        params: dict[str, str],
        status: int,
        word: str,
    ) -> None:
        data = data or picture(3)
        answer = send(client, webcam_id, data, **params)
        assert answer.status_code == status, answer.text
        assert word in answer.text
        assert session.exec(select(WebcamSnapshot).where(col(WebcamSnapshot.webcam_id) == webcam_id)).all() == []
        assert session.exec(select(Image).where(col(Image.sha256) == sha256_of(data))).all() == []

    def test_filters_and_pages(self, client: httpx.Client, webcam_id: int) -> None:
        ids = [send(client, webcam_id, phase=phase).json()["id"] for phase in ("sunset", "sunrise", "sunset")]
        client.post(f"/v1/snapshots/{ids[0]}/ratings", json={"rater": "ana", "rating": 3})

        def listed(**params: Any) -> list[int]:
            page = client.get("/v1/snapshots", params={"webcam_id": webcam_id, **params}).json()
            return [each["id"] for each in page["items"]]

        assert listed() == ids
        assert listed(sort="newest") == ids[::-1]
        assert listed(captured_from=WHEN) == ids
        assert listed(captured_before=WHEN) == []
        assert listed(phase="sunset") == [ids[0], ids[2]]
        assert (listed(rated=True), listed(rated=False)) == ([ids[0]], ids[1:])
        assert listed(limit=1, cursor=ids[0]) == [ids[1]]
        assert client.get("/v1/snapshots", params={"limit": 201}).status_code == 422


class TestRatings:
    def test_the_mean_follows_every_verdict(self, client: httpx.Client, snapshot_id: int, session: Session) -> None:
        url = f"/v1/snapshots/{snapshot_id}/ratings"

        def state(answer: httpx.Response) -> tuple[Any, ...]:
            assert answer.status_code == 200, answer.text
            return answer.json()["calculated_rating"], answer.json()["rating_count"]

        assert state(client.post(url, json={"rater": "ana", "rating": 4})) == (4.0, 1)
        assert state(client.post(url, json={"rater": "ben", "rating": 3})) == (3.5, 2)
        assert state(client.post(url, json={"rater": "ana", "rating": 5})) == (4.0, 2)
        assert state(client.post(url, json={"rater": "eve", "rating": None, "is_sunset": False})) == (4.0, 2)
        verdicts = {each["user_session_id"]: each["rating"] for each in client.get(url).json()["items"]}
        assert verdicts == {"ana": 5, "ben": 3, "eve": None}
        assert state(client.delete(f"{url}/ana")) == (3.0, 1)
        assert client.delete(f"{url}/ana").status_code == 404
        events = session.exec(select(RatingEvent).where(col(RatingEvent.snapshot_id) == snapshot_id)).all()
        assert [each.action for each in events] == ["rate", "rate", "rate", "rate", "retract"]

    @pytest.mark.parametrize(
        "body",
        [
            {"rater": "ana", "rating": 7},
            {"rater": "ana", "rating": 0},
            {"rater": "ana", "rating": 3.5},
            {"rater": "ana", "rating": True},
            {"rater": "ana", "rating": "5"},
            {"rater": "ana"},
            {"rater": "ana", "rating": 4, "is_sunset": False},
        ],
    )
    def test_a_verdict_that_is_none_says_what_one_is(
        self, client: httpx.Client, snapshot_id: int, session: Session, body: dict[str, Any]
    ) -> None:
        answer = client.post(f"/v1/snapshots/{snapshot_id}/ratings", json=body)
        assert answer.status_code == 422
        assert "1, 2, 3, 4 or 5" in answer.json()["detail"]
        assert '"is_sunset": false' in answer.json()["detail"]
        assert session.exec(select(RatingEvent).where(col(RatingEvent.snapshot_id) == snapshot_id)).all() == []

    def test_the_same_verdict_sent_again_changes_nothing(self, client: httpx.Client, snapshot_id: int) -> None:
        url = f"/v1/snapshots/{snapshot_id}/ratings"
        first, second = (client.post(url, json={"rater": "ana", "rating": 4}).json() for _ in range(2))
        assert first == second
        assert len(client.get(url).json()["items"]) == 1

    def test_an_unknown_snapshot_is_404(self, client: httpx.Client) -> None:
        body = {"rater": "ana", "rating": 4}
        assert client.post("/v1/snapshots/999999/ratings", json=body).status_code == 404
        assert client.get("/v1/snapshots/999999/ratings").status_code == 404
        assert client.delete("/v1/snapshots/999999/ratings/ana").status_code == 404
        assert client.get("/v1/snapshots/999999").status_code == 404
