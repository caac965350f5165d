"""POST /v1/webcams/score: ticks over real HTTP, with cameras that are slow, dead or send a page."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlmodel import Session, col, select

from api.main import create_app
from api.settings import ApiSettings
from db.engine import session_scope
from db.queries import scoring, webcams
from db.tables import ScoringEvent, SnapshotAiInference, Webcam, WebcamFetchFailure, WebcamSnapshot
from ml.images.store import FileStore
from tests.conftest import client_of, environment, serving
from tests.image_server import PAGE, Cameras, running_cameras
from tests.tiny_model import BRIGHT, activate, picture, register_bundle
from worker.stages.capture import is_explored
from worker.stages.tick import tick
from worker.stages.tick_rows import TickRow, counts

SHARE, IMAGE_S, TOTAL_S = 0.3, 2.0, 25.0
"""Times are scaled: 3 s an image and 50 s in all are the defaults."""


@pytest.fixture(scope="module")
def cameras(database: str) -> Iterator[Cameras]:
    """Cameras that may be fetched from."""
    with running_cameras() as cameras, environment(AFTERGLOW_FETCH_ALLOW_HOSTS=cameras.allowed, DATABASE_URL=database):
        yield cameras


def settings(**values: Any) -> ApiSettings:
    return ApiSettings(**{"exploration_share": SHARE, "tick_image_s": IMAGE_S, "tick_total_s": TOTAL_S, **values})


@pytest.fixture(scope="module")
def served(cameras: Cameras, store: FileStore) -> Iterator[str]:
    """The address of an API with an active model."""
    with session_scope() as session:
        activate(session, register_bundle(session, store, BRIGHT))
    with serving(create_app(settings())) as address:
        yield address


@pytest.fixture(scope="module")
def api(served: str, api_key: Callable[..., str]) -> Iterator[httpx.Client]:
    """A client that may score and add webcams."""
    with client_of(served, api_key("score", "ingest")) as client:
        yield client


def send(api: httpx.Client, *rows: Any, status: int = 200) -> dict[str, Any]:
    answer = api.post("/v1/webcams/score", json={"webcams": list(rows)})
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


def row(url: str, name: str | None = None, **facts: Any) -> dict[str, Any]:
    """A row with a webcam that is new, unless its name is given."""
    return {"webcam": name or uuid.uuid4().hex, "url": url, "phase": "sunset", "title": "t", **facts}


def webcam_of(result: dict[str, Any]) -> Webcam:
    with session_scope() as session:
        return webcams.get_webcam(session, result["webcamId"])


def of_webcam(session: Session, table: Any, webcam_id: int) -> list[Any]:
    order = table.webcam_id if table is WebcamFetchFailure else table.id
    return list(session.exec(select(table).where(table.webcam_id == webcam_id).order_by(order)).all())


@dataclass
class Planned:
    """One webcam of the large tick."""

    row: dict[str, Any]
    path: str
    data: bytes | None = None
    level: int | None = None
    failure: str | None = None


def hundred(cameras: Cameras) -> list[Planned]:
    """82 good webcams of every brightness, 10 slow, 5 dead, 3 that send a page; mixed, in both phases."""
    planned: list[Planned] = []
    for number in range(100):
        path = f"/hundred/{number}.png"
        facts: dict[str, Any] = {"phase": "sunrise" if number % 3 == 0 else "sunset"}
        if number % 10 == 4:
            planned.append(Planned(row(cameras.url(path, picture(255), host=number, slow=True), **facts), path,
                                   failure="timeout"))  # fmt: skip
        elif number % 20 == 7:
            host = cameras.dead_hosts[number // 20]
            planned.append(Planned(row(f"http://{host}{path}", **facts), path, failure="network"))
        elif number in (15, 45, 75):
            planned.append(Planned(row(cameras.url(path, PAGE, host=number), **facts), path, failure="not_an_image"))
        else:
            level = round(number * 255 / 99)
            data = picture(level)
            planned.append(Planned(row(cameras.url(path, data, host=number), **facts), path, data, level))
    return planned


@pytest.fixture(scope="module")
def planned(cameras: Cameras) -> list[Planned]:
    return hundred(cameras)


@pytest.fixture(scope="module")
def answer(api: httpx.Client, planned: list[Planned]) -> dict[str, Any]:
    with session_scope() as session:  # one of the dead had a score before
        dead = next(each for each in planned if each.failure == "network")
        webcams.find_or_add_webcam(
            session, "windy", dead.row["webcam"], ai_rating=3.3, ai_model_version="older", last_image_hash="a" * 64
        )
    began = time.monotonic()
    answer = send(api, *(each.row for each in planned))
    answer["seconds"] = time.monotonic() - began
    return answer


class TestAHundredWebcams:
    def test_it_answers_in_time(self, answer: dict[str, Any]) -> None:
        assert answer["seconds"] < TOTAL_S

    def test_every_webcam_is_counted_once(self, answer: dict[str, Any], planned: list[Planned]) -> None:
        good = [each for each in planned if each.data is not None]
        above = [each for each in good if each.level is not None and each.level >= 204]
        explored = [each for each in good if each not in above and self.is_explored(each)]
        assert len(good) == 82
        assert above
        assert explored
        assert answer["ok"] is True
        assert (answer["sunrise"], answer["sunset"]) == (34, 66)
        assert answer["ai"] == {
            "total_scored": 82, "unchanged": 0, "above_threshold": len(above),
            "snapshots_captured": len(above) + len(explored), "inference_rows_written": len(above) + len(explored),
            "failures": 18, "failure_reasons": {"network": 5, "not_an_image": 3, "timeout": 10},
        }  # fmt: skip

    @staticmethod
    def is_explored(planned: Planned) -> bool:
        assert planned.data is not None
        return is_explored(hashlib.sha256(planned.data).hexdigest(), SHARE)

    def test_the_rows_agree_with_the_answer_and_the_gate(
        self, answer: dict[str, Any], planned: list[Planned], store: FileStore
    ) -> None:
        assert len(answer["webcams"]) == len(planned)
        with session_scope() as session:
            for result, each in zip(answer["webcams"], planned, strict=True):
                assert (result["webcam"], result["phase"]) == (each.row["webcam"], each.row["phase"])
                webcam = webcams.get_webcam(session, result["webcamId"])
                assert (webcam.source, webcam.external_id) == ("windy", each.row["webcam"])
                [event] = of_webcam(session, ScoringEvent, result["webcamId"])
                assert event.id == result["eventId"]
                snapshots = of_webcam(session, WebcamSnapshot, result["webcamId"])
                if each.data is None:
                    self.assert_nothing_made_up(result, each, webcam, event, snapshots)
                else:
                    self.assert_scored(session, result, each, webcam, event, snapshots)
                    for snapshot in snapshots:
                        assert store.image(snapshot.image_sha256) == each.data

    @staticmethod
    def assert_nothing_made_up(
        result: dict[str, Any], each: Planned, webcam: Webcam, event: ScoringEvent, snapshots: list[Any]
    ) -> None:
        assert (result["pathTaken"], result["failure"]) == ("unscored", each.failure)
        assert [result[key] for key in ("rawScore", "aiRating", "modelVersion", "isGood", "imageSha256")] == [None] * 5
        assert (event.path_taken, event.raw_score, event.model_version) == ("unscored", None, None)
        assert event.reason == result["reason"]
        assert event.reason is not None
        assert event.reason.startswith(f"{each.failure}: ")
        assert (event.captured, event.snapshot_id, snapshots) == (False, None, [])
        assert (webcam.ai_rating, webcam.ai_model_version, webcam.last_image_hash) in (
            (None, None, None), (3.3, "older", "a" * 64),
        )  # fmt: skip

    def assert_scored(
        self,
        session: Session,
        result: dict[str, Any],
        each: Planned,
        webcam: Webcam,
        event: ScoringEvent,
        snapshots: list[Any],
    ) -> None:
        assert each.data is not None
        assert each.level is not None
        raw, is_above = each.level / 255, each.level >= 204
        is_kept = is_above or self.is_explored(each)
        sha256 = hashlib.sha256(each.data).hexdigest()
        assert (result["pathTaken"], result["isGood"], result["imageSha256"]) == ("onnx", is_above, sha256)
        assert (result["rawScore"], result["aiRating"]) == (
            pytest.approx(raw, abs=1e-5),
            pytest.approx(5 * raw, abs=1e-4),
        )
        assert (webcam.ai_rating, webcam.last_image_hash) == (pytest.approx(5 * raw, abs=0.0051), sha256)
        assert webcam.ai_model_version == result["modelVersion"] == event.model_version == "tiny_bright"
        assert (event.path_taken, event.raw_score, event.image_sha256) == ("onnx", result["rawScore"], sha256)
        probability = 1.0 if is_above else SHARE
        assert (event.captured, event.sampling_probability) == (is_kept, probability)
        assert result["capture"] == {
            "captured": is_kept, "snapshotId": event.snapshot_id, "samplingProbability": probability,
            "reason": "above-threshold" if is_above else "explored" if is_kept else "below-threshold",
        }  # fmt: skip
        assert [one.id for one in snapshots] == ([event.snapshot_id] if is_kept else [])
        for one in snapshots:
            assert (one.phase, one.image_sha256, one.sampling_probability) == (each.row["phase"], sha256, probability)
            inference = session.exec(
                select(SnapshotAiInference).where(col(SnapshotAiInference.snapshot_id) == one.id)
            ).one()
            assert (inference.model_version, inference.raw_score) == ("tiny_bright", result["rawScore"])

    def test_the_same_tick_again_keeps_nothing_twice_and_leaves_the_failed_alone(
        self, api: httpx.Client, answer: dict[str, Any], planned: list[Planned], cameras: Cameras
    ) -> None:
        def totals() -> list[int]:
            with session_scope() as session:
                return [
                    session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
                    for table in ("webcams", "webcam_snapshots", "snapshot_ai_inferences", "webcam_fetch_failures")
                ]

        before, asked = totals(), dict(cameras.asked)
        again = send(api, *(each.row for each in planned))
        assert totals() == before
        assert again["ai"] | {"above_threshold": 0} == {
            "total_scored": 82, "unchanged": 82, "above_threshold": 0, "snapshots_captured": 0,
            "inference_rows_written": 0, "failures": 18, "failure_reasons": {"backoff": 18},
        }  # fmt: skip
        assert again["ai"]["above_threshold"] == answer["ai"]["above_threshold"]
        for each in planned:
            once_more = 0 if each.data is None else 1
            assert cameras.asked[each.path] == asked.get(each.path, 0) + once_more
        for first, second in zip(answer["webcams"], again["webcams"], strict=True):
            assert second["rawScore"] == first["rawScore"]
            assert second["aiRating"] == (first["aiRating"] and pytest.approx(first["aiRating"], abs=1e-6))
            assert second["pathTaken"] == ("unscored" if first["failure"] else "cache-hit")


class TestTheGate:
    def test_a_young_snapshot_stands_for_a_new_frame_and_gets_no_inference_of_it(
        self, api: httpx.Client, cameras: Cameras
    ) -> None:
        one = row(cameras.url("/gate", picture(255)))
        first = send(api, one)
        cameras.url("/gate", picture(254))
        second = send(api, one)
        assert first["webcams"][0]["capture"]["captured"] is True
        assert second["webcams"][0]["capture"] | {"samplingProbability": 0} == {
            "captured": False, "reason": "reused", "samplingProbability": 0,
            "snapshotId": first["webcams"][0]["capture"]["snapshotId"],
        }  # fmt: skip
        assert [second["ai"][key] for key in ("total_scored", "snapshots_captured", "inference_rows_written")] == [
            1,
            0,
            0,
        ]

    def test_a_new_webcam_that_is_named_twice_is_added_by_the_row_that_says_where_it_is(
        self, api: httpx.Client, cameras: Cameras
    ) -> None:
        name = uuid.uuid4().hex
        one = row(cameras.url("/named-twice", picture(255)), name)
        bare = {key: value for key, value in one.items() if key != "title"}
        for rows in ([one, bare], [bare, one]):
            first, second = send(api, *rows)["webcams"]
            assert (first["pathTaken"] == "unscored", first["error"]) == (False, None)
            assert "stands in row 1" in second["error"]["detail"]

    def test_the_same_tick_at_the_same_moment_keeps_one_snapshot(self, api: httpx.Client, cameras: Cameras) -> None:
        one = row(cameras.url("/twice", picture(255)))
        with ThreadPoolExecutor(2) as both:
            answers = list(both.map(lambda _: send(api, one), range(2)))
        assert sum(each["ai"]["snapshots_captured"] for each in answers) == 1
        assert sum(each["ai"]["inference_rows_written"] for each in answers) == 1
        with session_scope() as session:
            assert len(of_webcam(session, WebcamSnapshot, answers[0]["webcams"][0]["webcamId"])) == 1


class TestTheDeadline:
    @pytest.fixture
    def hurried(self, cameras: Cameras, served: str, api_key: Callable[..., str]) -> Iterator[httpx.Client]:
        """An API whose ticks end after a second, and whose images may take longer than that."""
        with (
            serving(create_app(settings(tick_image_s=30, tick_total_s=1, tick_at_once=4))) as address,
            client_of(address, api_key("score", "ingest")) as client,
        ):
            yield client

    def test_what_is_not_done_by_then_is_said_recorded_and_never_written_later(
        self, hurried: httpx.Client, cameras: Cameras
    ) -> None:
        good = [row(cameras.url(f"/soon/{n}", picture(255), host=n)) for n in range(3)]
        late = [row(cameras.url(f"/late/{n}", picture(255), host=n, slow=True)) for n in range(12)]
        began = time.monotonic()
        answer = send(hurried, *good, *late)
        assert time.monotonic() - began < 1.5
        assert answer["ok"] is False
        assert answer["ai"]["failure_reasons"] == {"deadline": 12}
        assert answer["ai"]["total_scored"] == 3
        ids = [each["webcamId"] for each in answer["webcams"][3:]]

        def events() -> list[Any]:
            with session_scope() as session:
                return [
                    (each.id, each.path_taken, each.reason)
                    for one in ids
                    for each in of_webcam(session, ScoringEvent, one)
                ]

        before = events()
        assert [each[0] for each in before] == [each["eventId"] for each in answer["webcams"][3:]]
        assert {each[1:] for each in before} == {("unscored", "deadline: it was not done within 1 s")}
        cameras.released.set()  # now the slow ones send the rest of their pictures
        try:
            time.sleep(0.5)
        finally:
            cameras.released.clear()
        assert events() == before
        with session_scope() as session:
            assert [of_webcam(session, WebcamSnapshot, one) for one in ids] == [[]] * 12
            assert [of_webcam(session, WebcamFetchFailure, one) for one in ids] == [[]] * 12  # not their fault

    def test_a_server_that_stops_leaves_the_rest_and_says_so(
        self, cameras: Cameras, served: str, api_key: Callable[..., str]
    ) -> None:
        name, key = uuid.uuid4().hex, api_key("score", "ingest")
        slow = row(cameras.url("/stopped", picture(255), slow=True), name)
        answers: list[httpx.Response] = []

        def ask(address: str) -> None:
            with client_of(address, key) as client, suppress(httpx.TransportError):
                answers.append(client.post("/v1/webcams/score", json={"webcams": [slow]}))

        with serving(create_app(settings(tick_image_s=60, tick_total_s=60))) as address:
            asking = Thread(target=ask, args=(address,))
            asking.start()
            while not cameras.asked["/stopped"]:
                time.sleep(0.02)
            stopped_at = time.monotonic()
        assert time.monotonic() - stopped_at < 20
        asking.join(20)
        assert not any(each.is_success for each in answers)
        with session_scope() as session:
            webcam = webcams.find_webcam(session, "windy", name)
            assert webcam is not None
            [event] = of_webcam(session, ScoringEvent, int(webcam.id or 0))
        assert event.reason == "stopped: the server was stopped before it was done"


class TestFailures:
    def failure(self, webcam_id: int) -> WebcamFetchFailure | None:
        with session_scope() as session:
            return session.get(WebcamFetchFailure, webcam_id)

    def let_time_pass(self, webcam_id: int) -> None:
        """The wait is over."""
        with session_scope() as session:
            session.execute(
                text("UPDATE webcam_fetch_failures SET retry_at = now() WHERE webcam_id = :id"), {"id": webcam_id}
            )

    def test_each_failure_doubles_the_wait_up_to_the_longest(self, api: httpx.Client, cameras: Cameras) -> None:
        one = row(cameras.url("/gone"))
        waits = []
        for number in range(8):
            result = send(api, one)["webcams"][0]
            assert result["failure"] == "http_status"
            known = self.failure(result["webcamId"])
            assert known is not None
            assert known.failures == number + 1
            assert known.failed_at is not None
            waits.append((known.retry_at - known.failed_at).total_seconds())
            assert send(api, one)["webcams"][0]["failure"] == "backoff"
            self.let_time_pass(result["webcamId"])
        assert waits == [600, 1200, 2400, 4800, 9600, 19200, 21600, 21600]
        assert cameras.asked["/gone"] == 8

    def test_a_picture_ends_the_wait(self, api: httpx.Client, cameras: Cameras) -> None:
        one = row(cameras.url("/back"))
        webcam_id = send(api, one)["webcams"][0]["webcamId"]
        self.let_time_pass(webcam_id)
        cameras.url("/back", picture(90))
        assert send(api, one)["webcams"][0]["pathTaken"] == "onnx"
        assert self.failure(webcam_id) is None

    def test_another_address_is_asked_at_once_and_another_token_is_not(
        self, api: httpx.Client, cameras: Cameras
    ) -> None:
        one = row(cameras.url("/token") + "?token=first-secret")
        webcam_id = send(api, one)["webcams"][0]["webcamId"]
        known = self.failure(webcam_id)
        assert known is not None
        assert "secret" not in known.address + known.reason
        assert send(api, {**one, "url": cameras.url("/token") + "?token=2"})["webcams"][0]["failure"] == "backoff"
        moved = send(api, {**one, "url": cameras.url("/moved", picture(90))})["webcams"][0]
        assert moved["pathTaken"] == "onnx"
        assert self.failure(webcam_id) is None

    def test_a_webcam_that_somebody_holds_spoils_no_other(self, api: httpx.Client, cameras: Cameras) -> None:
        rows = [row(cameras.url(f"/held/{n}", picture(10), host=n)) for n in range(3)]
        held = send(api, rows[0])["webcams"][0]["webcamId"]
        cameras.url("/held/0", picture(20))
        with session_scope() as session:
            scoring.lock_webcams(session, [held])
            answer = send(api, *rows)
        assert [each["failure"] for each in answer["webcams"]] == ["not_recorded", None, None]
        assert answer["ok"] is False
        assert answer["webcams"][0]["rawScore"] is None
        with session_scope() as session:
            assert len(of_webcam(session, ScoringEvent, held)) == 1


class TestRows:
    def test_bad_rows_spoil_no_other(self, api: httpx.Client, cameras: Cameras) -> None:
        good = row(cameras.url("/good", picture(100)))
        with session_scope() as session:
            events = session.execute(text("SELECT count(*) FROM scoring_events")).scalar_one()
        answer = send(
            api,
            {"webcam": "nobody", "url": cameras.url("/good")},
            good,
            {"webcam_id": 999_999_999, "url": cameras.url("/good")},
            {**good, "url": cameras.url("/good")},
            row("http://169.254.169.254/latest"),
            row("file:///etc/passwd"),
            {"webcam": "x", "uri": "http://x"},
            {"url": cameras.url("/good")},
            7,
            row(cameras.url("/good"), lat=91.0),
        )
        assert [each["error"]["status"] if each["error"] else None for each in answer["webcams"]] == [
            404, None, 404, 409, 422, 422, 422, 422, 422, 422,
        ]  # fmt: skip
        assert answer["webcams"][1]["rawScore"] == pytest.approx(100 / 255, abs=1e-5)
        assert answer["ok"] is True
        assert (answer["ai"]["total_scored"], answer["ai"]["failure_reasons"]) == (1, {"refused": 9})
        assert (answer["sunrise"], answer["sunset"]) == (0, 1)
        with session_scope() as session:
            assert session.execute(text("SELECT count(*) FROM scoring_events")).scalar_one() == events + 1

    def test_a_new_webcam_keeps_its_facts_and_a_known_one_is_left_as_it_is(
        self, api: httpx.Client, cameras: Cameras
    ) -> None:
        one = row(cameras.url("/new", picture(1)), title="Lisbon", lat=38.7, lng=-9.1, country="Portugal", source="own")
        added = webcam_of(send(api, one)["webcams"][0])
        assert (added.source, added.title, added.lat, added.lng) == ("own", "Lisbon", 38.7, -9.1)
        assert webcam_of(send(api, {**one, "title": "Porto"})["webcams"][0]).title == "Lisbon"

    def test_a_key_that_may_only_score_adds_no_webcam(
        self, served: str, api_key: Callable[..., str], cameras: Cameras
    ) -> None:
        one = row(cameras.url("/only", picture(1)))
        with client_of(served, api_key("score")) as client:
            result = send(client, one)["webcams"][0]
        assert result["error"]["status"] == 404
        assert "ingest" in result["reason"]
        with session_scope() as session:
            assert webcams.find_webcam(session, "windy", one["webcam"]) is None

    def test_the_phase_follows_the_longitude_where_it_is_not_given(self, api: httpx.Client, cameras: Cameras) -> None:
        moment = "2026-02-14T17:00:00Z"
        rows = [
            row(cameras.url(f"/phase/{lng}", picture(1)), lng=lng, phase=None, captured_at=moment)
            for lng in (0.0, 170.0)
        ]
        answer = send(api, *rows)
        assert [each["phase"] for each in answer["webcams"]] == ["sunset", "sunrise"]
        assert (answer["sunrise"], answer["sunset"]) == (1, 1)

    @pytest.mark.parametrize("body", [{}, {"webcams": []}, {"webcams": [{}] * 501}, {"webcams": {}}, {"cams": []}])
    def test_a_body_that_is_no_tick_is_refused(self, api: httpx.Client, body: Any) -> None:
        assert api.post("/v1/webcams/score", json=body).status_code == 422


def test_other_methods_are_told_which_one_there_is(api: httpx.Client) -> None:
    answer = api.get("/v1/webcams/score")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert api.get("/v1/webcams/scores").status_code == 422


def test_without_a_model_nothing_is_fetched_and_nothing_is_made_up(api: httpx.Client, cameras: Cameras) -> None:
    one = row(cameras.url("/no-model", picture(255)))
    answer = api.post("/v1/webcams/score", json={"webcams": [one]}, params={"kind": "raiting"})
    assert answer.status_code == 422
    with session_scope() as session:
        webcam, _ = webcams.find_or_add_webcam(session, "windy", one["webcam"])
    [result] = tick(
        [TickRow(one["url"], ("windy", one["webcam"]))],
        None,
        kind="rating",
        store=None,
        settings=settings(),  # type: ignore[arg-type]
    )
    assert result.failure == "no_model"
    assert counts([result])["ok"] is False
    assert cameras.asked["/no-model"] == 0
    with session_scope() as session:
        [event] = of_webcam(session, ScoringEvent, int(webcam.id or 0))
    assert event.reason == "no_model: no active model: train and promote one first"
