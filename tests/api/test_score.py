"""POST /v1/score and /v1/score/batch, over real HTTP with a real model."""

from __future__ import annotations

import base64
import io
import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar

import httpx
import pytest
from PIL import Image
from sqlmodel import Session, col, select

from db.engine import session_scope
from db.tables import ScoringEvent, SnapshotAiInference, Webcam, WebcamSnapshot
from ml.images.store import FileStore
from tests.conftest import client_of, environment
from tests.tiny_model import BRIGHT, activate, picture, register_bundle

NOW = datetime(2026, 2, 14, 17, 0, tzinfo=UTC)


JPEG = picture(120, media="JPEG", size=64)
PNG_HEADER = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
BAD_PICTURES: dict[str, tuple[bytes, str]] = {
    "one byte": (b"\xff", "not_an_image"),
    "a page": (b"<!doctype html><p>404</p>", "not_an_image"),
    "no pixels": (PNG_HEADER + bytes(8) + b"\x08\x02\0\0\0" + bytes(20), "not_an_image"),
    "half a JPEG": (JPEG[: len(JPEG) // 2], "truncated"),
    "a JPEG without its end": (JPEG.removesuffix(b"\xff\xd9"), "truncated"),
    "a header": (JPEG[:20], "truncated"),
    "50000 x 50000": (PNG_HEADER + (50_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0" + bytes(20), "too_many_pixels"),
    "13000 x 13000": (PNG_HEADER + (13_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0" + bytes(20), "too_many_pixels"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "format_not_allowed"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0", "format_not_allowed"),
    "PDF": (b"%PDF-1.7", "format_not_allowed"),
    "TIFF": (b"II*\0\x08\0\0\0", "format_not_allowed"),
    "BMP": (b"BM" + bytes(60), "format_not_allowed"),
    "ICO": (b"\0\0\1\0\1\0", "format_not_allowed"),
    "PPM": (b"P6\n1 1\n255\n\0\0\0", "format_not_allowed"),
    "FITS": (b"SIMPLE  =                    T", "format_not_allowed"),
    "PSD": (b"8BPS\0\1" + bytes(20), "format_not_allowed"),
}


@pytest.fixture(scope="module", autouse=True)
def model(database: str, store: FileStore) -> None:
    """An active model, before the server starts."""
    with session_scope() as session:
        activate(session, register_bundle(session, store, BRIGHT))


@pytest.fixture
def scoring(server: str, api_key: Callable[..., str]) -> Iterator[httpx.Client]:
    """A client that may score and nothing else."""
    with client_of(server, api_key("score")) as client:
        yield client


@pytest.fixture
def webcam(session: Session) -> Webcam:
    """A webcam of this test's own."""
    row = Webcam(source="windy", external_id=uuid.uuid4().hex, lng=10.0)
    session.add(row)
    session.commit()
    return row


def fresh(session: Session, webcam: Webcam) -> Webcam:
    session.rollback()
    session.refresh(webcam)
    return webcam


def snapshots_of(session: Session, webcam: Webcam) -> list[WebcamSnapshot]:
    session.rollback()
    return list(session.exec(select(WebcamSnapshot).where(col(WebcamSnapshot.webcam_id) == webcam.id)).all())


def event(session: Session, event_id: int) -> ScoringEvent:
    session.rollback()
    return session.get_one(ScoringEvent, event_id)


class TestBodies:
    def test_image_bytes_as_the_body(self, scoring: httpx.Client, session: Session) -> None:
        data = picture(204)
        answer = scoring.post("/v1/score", content=data, headers={"Content-Type": "image/png"})
        assert answer.status_code == 200
        body = answer.json()
        assert body["rawScore"] == pytest.approx(0.8, abs=1e-6)
        assert body["aiRating"] == pytest.approx(4.0, abs=1e-5)
        assert body["modelVersion"] == "tiny_bright"
        assert (body["pathTaken"], body["reason"], body["kind"]) == ("onnx", None, "rating")
        assert body["threshold"] == {"kind": "fixed", "threshold": 4.0, "on": "ai_rating", "scale": [0.0, 5.0]}
        assert body["prediction"]["raw_score"] == body["rawScore"]
        assert body["capture"] == {
            "captured": False, "reason": "no-webcam", "snapshotId": None, "samplingProbability": None
        }  # fmt: skip
        row = event(session, body["eventId"])
        assert (row.path_taken, row.image_sha256, row.raw_score) == ("onnx", body["imageSha256"], body["rawScore"])

    @pytest.mark.parametrize("level", [0, 255])
    def test_the_gate_opens_at_the_threshold(self, scoring: httpx.Client, level: int) -> None:
        body = scoring.post("/v1/score", content=picture(level)).json()
        assert body["isGood"] is (level == 255)

    def test_what_curl_sends_by_default_is_taken(self, scoring: httpx.Client) -> None:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        assert (
            scoring.post("/v1/score", content=picture(9, media="JPEG"), headers=headers).json()["pathTaken"] == "onnx"
        )

    def test_a_form_with_fields(self, scoring: httpx.Client, webcam: Webcam) -> None:
        fields = {"source": "windy", "webcam": webcam.external_id, "captured_at": "2026-02-14T18:00:00+01:00"}
        answer = scoring.post("/v1/score", files={"image": ("x.png", picture(250))}, data=fields)
        assert answer.status_code == 200, answer.text
        assert answer.json()["webcamId"] == webcam.id

    def test_base64_in_json_gives_the_same_score_as_bytes(self, scoring: httpx.Client) -> None:
        data = picture(100)
        plain = scoring.post("/v1/score", content=data).json()
        coded = scoring.post("/v1/score", json={"image_base64": base64.b64encode(data).decode()}).json()
        assert coded["rawScore"] == plain["rawScore"]
        assert coded["imageSha256"] == plain["imageSha256"]

    @pytest.mark.parametrize(
        ("given", "status", "word"),
        [
            ({"content": b""}, 422, "empty"),
            ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 422, "not JSON"),
            ({"content": b"[" * 100_000, "headers": {"Content-Type": "application/json"}}, 422, "not JSON"),
            ({"content": b"[1]", "headers": {"Content-Type": "application/json"}}, 422, "JSON object"),
            ({"json": {}}, 422, "image_base64"),
            ({"json": {"uri": "http://x"}}, 422, "uri"),
            ({"json": {"url": "http://x/\0"}}, 422, "url"),
            ({"json": {"image_base64": "***"}}, 422, "base64"),
            ({"files": {"picture": b"abc"}}, 422, "image"),
            ({"files": {"image": ("a.png", b"")}}, 422, "empty"),
            ({"content": b"hello", "headers": {"Content-Type": "text/plain"}}, 415, "text/plain"),
            ({"content": b"x", "params": {"captured_at": "2026-02-14T17:00:00"}}, 422, "captured_at"),
            ({"content": b"x", "params": {"captured_at": "20260214"}}, 422, "ISO 8601"),
            ({"content": b"x", "params": {"phase": "noon"}}, 422, "phase"),
            ({"content": b"x", "params": {"webcamid": "7"}}, 422, "webcamid"),
            ({"content": b"x", "params": {"webcam_id": str(2**63)}}, 422, "webcam_id"),
            ({"content": b"x", "params": {"webcam": "a\0b"}}, 422, "NUL"),
            ({"content": b"x", "params": {"source": "windy"}}, 422, "webcam"),
            ({"content": b"x", "params": {"kind": "raiting"}}, 422, "rating"),
        ],
    )
    def test_bad_requests_say_what_is_wrong(
        self, scoring: httpx.Client, given: dict[str, Any], status: int, word: str
    ) -> None:
        answer = scoring.post("/v1/score", **given)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert word in answer.text

    # Starlette leaves the part that was cut to the garbage collector, which closes (and so removes) its temporary file.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_a_cut_form_is_refused(self, scoring: httpx.Client) -> None:
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        body = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nabc'
        assert scoring.post("/v1/score", content=body, headers=headers).status_code in (400, 422)
        assert (
            scoring.post("/v1/score", content=body, headers={"Content-Type": "multipart/form-data"}).status_code == 400
        )


class TestUnscored:
    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"<html>", "not_an_image"),
            (b"%PDF-1.7", "format_not_allowed"),
            pytest.param(picture(9)[:80], "truncated", id="cut"),
        ],
    )
    def test_an_unreadable_image_has_a_reason_and_no_score(
        self, scoring: httpx.Client, session: Session, webcam: Webcam, data: bytes, reason: str
    ) -> None:
        answer = scoring.post("/v1/score", content=data, params={"webcam_id": webcam.id})
        assert answer.status_code == 200
        body = answer.json()
        assert body["pathTaken"] == "unscored"
        assert body["reason"].startswith(reason)
        assert [body[key] for key in ("rawScore", "aiRating", "modelVersion", "isGood", "prediction")] == [None] * 5
        assert event(session, body["eventId"]).webcam_id == webcam.id
        after = fresh(session, webcam)
        assert (after.ai_rating, after.ai_model_version, after.last_image_hash) == (None, None, None)
        assert snapshots_of(session, webcam) == []

    @pytest.mark.parametrize(
        ("bad", "reason"), BAD_PICTURES.items(), ids=lambda value: value if isinstance(value, str) else ""
    )
    def test_every_bad_picture_has_its_word(self, scoring: httpx.Client, bad: str, reason: tuple[bytes, str]) -> None:
        data, word = reason
        body = scoring.post("/v1/score", content=data, headers={"Content-Type": "image/jpeg"}).json()
        assert (body["pathTaken"], body["rawScore"]) == ("unscored", None)
        assert body["reason"].split(":")[0] == word

    @pytest.mark.parametrize("mode", ["CMYK", "1", "P", "LA", "I;16"])
    def test_unusual_pictures_are_scored(self, scoring: httpx.Client, mode: str) -> None:
        buffer = io.BytesIO()
        fill = {"CMYK": (0, 0, 0, 255), "LA": (0, 255)}.get(mode, 0)
        Image.new(mode, (40, 40), fill).save(buffer, "JPEG" if mode == "CMYK" else "PNG")
        body = scoring.post("/v1/score", content=buffer.getvalue()).json()
        assert (body["pathTaken"], body["rawScore"]) == ("onnx", pytest.approx(0.0, abs=0.02))

    def test_a_huge_picture_is_refused_before_it_is_decoded(self, scoring: httpx.Client) -> None:
        header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (50_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0" + b"\0" * 20
        assert scoring.post("/v1/score", content=header).json()["reason"].startswith("too_many_pixels")

    def test_a_dead_url_is_recorded(self, scoring: httpx.Client, session: Session) -> None:
        body = scoring.post("/v1/score", json={"url": "http://no-such-host.invalid/a.jpg"}).json()
        assert body["pathTaken"] == "unscored"
        assert "no-such-host.invalid" in body["reason"]
        assert event(session, body["eventId"]).image_sha256 is None

    @pytest.mark.parametrize(
        "url", ["http://127.0.0.1/a.jpg", "http://169.254.169.254/x", "file:///etc/passwd", "a.jpg"]
    )
    def test_a_forbidden_url_is_refused(self, scoring: httpx.Client, session: Session, url: str) -> None:
        before = len(session.exec(select(ScoringEvent.id)).all())
        session.rollback()
        answer = scoring.post("/v1/score", json={"url": url})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "url"
        assert len(session.exec(select(ScoringEvent.id)).all()) == before


class _Camera(BaseHTTPRequestHandler):
    data: ClassVar[bytes] = picture(255)

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.data)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def test_a_webcam_of_the_own_network_is_fetched_where_it_is_allowed(
    scoring: httpx.Client, database: str, data_dir: Any
) -> None:
    camera = ThreadingHTTPServer(("127.0.0.1", 0), _Camera)
    Thread(target=camera.serve_forever, daemon=True).start()
    host = f"127.0.0.1:{camera.server_port}"
    try:
        with environment(AFTERGLOW_FETCH_ALLOW_HOSTS=host):
            body = scoring.post("/v1/score", json={"url": f"http://{host}/a.png"}).json()
    finally:
        camera.shutdown()
        camera.server_close()
    assert (body["pathTaken"], body["rawScore"]) == ("onnx", 1.0)


class TestWebcams:
    def test_a_good_frame_becomes_a_snapshot_with_its_inference(
        self, scoring: httpx.Client, session: Session, webcam: Webcam, store: FileStore
    ) -> None:
        data = picture(255)
        answer = scoring.post(
            "/v1/score",
            content=data,
            params={"webcam_id": webcam.id, "phase": "sunset", "captured_at": NOW.isoformat()},
        )
        body = answer.json()
        assert body["capture"] | {"snapshotId": 0} == {
            "captured": True, "reason": "above-threshold", "snapshotId": 0, "samplingProbability": 1.0
        }  # fmt: skip
        [snapshot] = snapshots_of(session, webcam)
        assert (snapshot.id, snapshot.phase, snapshot.captured_at) == (body["capture"]["snapshotId"], "sunset", NOW)
        assert (snapshot.ai_rating, snapshot.image_sha256) == (5.0, body["imageSha256"])
        assert store.image(body["imageSha256"]) == data
        inference = session.exec(
            select(SnapshotAiInference).where(col(SnapshotAiInference.snapshot_id) == snapshot.id)
        ).one()
        assert (inference.model_version, inference.raw_score) == ("tiny_bright", 1.0)
        after = fresh(session, webcam)
        assert (after.ai_rating, after.ai_model_version) == (5.0, "tiny_bright")

    def test_the_same_picture_again_is_a_cache_hit(
        self, scoring: httpx.Client, session: Session, webcam: Webcam
    ) -> None:
        data, params = picture(230), {"webcam_id": webcam.id}
        first = scoring.post("/v1/score", content=data, params=params).json()
        second = scoring.post("/v1/score", content=data, params=params).json()
        assert (first["pathTaken"], second["pathTaken"]) == ("onnx", "cache-hit")
        assert second["rawScore"] == first["rawScore"]
        assert second["isGood"] is True
        assert second["capture"]["reason"] == "unchanged"
        assert len(snapshots_of(session, webcam)) == 1

    def test_a_young_snapshot_stands_for_the_next_frame(
        self, scoring: httpx.Client, session: Session, webcam: Webcam
    ) -> None:
        def post(moment: datetime) -> dict[str, Any]:
            params = {"webcam_id": webcam.id, "captured_at": moment.isoformat()}
            answer: dict[str, Any] = scoring.post("/v1/score", content=picture(255), params=params).json()["capture"]
            return answer

        first, second, third = post(NOW), post(NOW + timedelta(minutes=29)), post(NOW + timedelta(minutes=31))
        assert (first["captured"], second["captured"], third["captured"]) == (True, False, True)
        assert (second["reason"], second["snapshotId"]) == ("reused", first["snapshotId"])
        assert len(snapshots_of(session, webcam)) == 2

    def test_an_unknown_webcam_is_404_and_says_how_to_add_it(self, scoring: httpx.Client) -> None:
        for params in ({"webcam_id": "999999999"}, {"webcam": "nobody"}):
            answer = scoring.post("/v1/score", content=picture(1), params=params)
            assert answer.status_code == 404
            assert "POST /v1/webcams" in answer.json()["detail"]


class TestBatch:
    def test_answers_stand_in_order_and_a_bad_item_spoils_no_other(self, scoring: httpx.Client, webcam: Webcam) -> None:
        def coded(level: int) -> str:
            return base64.b64encode(picture(level)).decode()

        items = [
            {"image_base64": coded(255), "webcam_id": webcam.id},
            {"image_base64": base64.b64encode(b"no image").decode()},
            {"image_base64": coded(0), "webcam_id": 999_999_999},
            {"image_base64": coded(51), "phase": "noon"},
            {"url": "http://127.0.0.1/"},
            7,
            {"image_base64": coded(51)},
        ]
        answer = scoring.post("/v1/score/batch", json={"items": items})
        assert answer.status_code == 200, answer.text
        answers = answer.json()["answers"]
        assert [each["rawScore"] for each in answers] == [1.0, None, None, None, None, None, pytest.approx(0.2)]
        assert [each["error"]["status"] if each["error"] else None for each in answers] == [
            None, None, 404, 422, 422, 422, None
        ]  # fmt: skip
        assert answers[1]["reason"].startswith("not_an_image")
        assert all(each["reason"] for each in answers[1:6])

    def test_a_form_of_images_with_their_frames(self, scoring: httpx.Client, webcam: Webcam) -> None:
        files = [("images", (f"{level}.png", picture(level))) for level in (0, 51, 255)]
        frames = [{}, {"webcam_id": webcam.id}, {"webcam_id": 0}]
        answer = scoring.post("/v1/score/batch", files=files, data={"frames": json.dumps(frames)})
        answers = answer.json()["answers"]
        assert [each["rawScore"] for each in answers] == [0.0, pytest.approx(0.2), None]
        assert [each["webcamId"] for each in answers] == [None, webcam.id, None]

    @pytest.mark.parametrize(
        ("given", "word"),
        [
            ({"json": {"items": []}}, "1 to 32"),
            ({"json": {"items": [{}] * 33}}, "1 to 32"),
            ({"json": {"images": []}}, "items"),
            ({"files": {"image": b"x"}}, "images"),
            ({"files": {"images": b"x"}, "data": {"frames": "[]"}}, "frames"),
        ],
    )
    def test_a_batch_that_is_none_is_refused(self, scoring: httpx.Client, given: dict[str, Any], word: str) -> None:
        answer = scoring.post("/v1/score/batch", **given)
        assert answer.status_code == 422, answer.text
        assert word in answer.text

    def test_a_full_batch_fits(self, scoring: httpx.Client) -> None:
        files = [("images", ("a.png", picture(8 * index))) for index in range(32)]
        answers = scoring.post("/v1/score/batch", files=files).json()["answers"]
        assert [each["rawScore"] for each in answers] == [pytest.approx(8 * index / 255) for index in range(32)]
