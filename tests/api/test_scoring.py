"""How rows of many pictures are committed together, and what that must not change."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import text
from sqlmodel import col, select

from api.active_models import ActiveModels
from api.metrics import Metrics
from api.pool import BoundedPool
from api.schemas.frames import FrameFields
from api.scoring import Pending, ScoringDesk, each_webcam_once
from api.settings import ApiSettings
from db.engine import session_scope
from db.errors import NotFound
from db.tables import ModelVersion, ScoringEvent, Webcam, WebcamSnapshot
from ml.images.store import FileStore
from tests.builders import make_webcam
from tests.conftest import client_of
from tests.tiny_model import BRIGHT, activate, picture, register_bundle
from worker.places import bundle_cache
from worker.stages.score import Attempt, Frame, Scored, record_scores, score_pixels
from worker.stages.served import Served, load_served

NOW = datetime(2026, 2, 14, 17, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def served(database: str, store: FileStore) -> Served:
    with session_scope() as session:
        version: ModelVersion = register_bundle(session, store, BRIGHT)
        activate(session, version)
    return load_served(version, store, bundle_cache())


@pytest.fixture
def desk(served: Served, store: FileStore) -> Iterator[ScoringDesk]:
    """A desk whose threads do nothing unless a test makes them."""
    pools = BoundedPool("score", 1, 20), BoundedPool("fetch", 1, 1)
    desk = ScoringDesk(ActiveModels(store, bundle_cache()), store, ApiSettings(), Metrics(), *pools)
    yield desk
    for pool in pools:
        pool.close()
    desk.close()


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def webcams(count: int) -> list[int]:
    with session_scope() as session:
        return [int(make_webcam(session).id or 0) for _ in range(count)]


def scored(
    desk: ScoringDesk, served: Served, loop: asyncio.AbstractEventLoop, webcam_id: int | None, minutes: int = 0
) -> Pending:
    """A good picture whose rows are still to be written."""
    data = picture(255)
    fields = FrameFields(webcam_id=webcam_id, phase="sunset", captured_at=NOW + timedelta(minutes=minutes))
    desk.score_pool.take_place()
    done: asyncio.Future[None] = loop.create_future()
    return Pending("rating", data, fields, loop, done, score_pixels(served, data), webcam_id=webcam_id)


def settle(loop: asyncio.AbstractEventLoop, pictures: list[Pending]) -> list[BaseException | None]:
    """What came of each, once the loop has heard of it."""
    loop.run_until_complete(asyncio.sleep(0))
    return [each.done.exception() for each in pictures]


def events_of(pictures: list[Pending]) -> list[ScoringEvent]:
    hashes = [each.scored.image_sha256 for each in pictures if each.scored is not None]
    with session_scope() as session:
        found = session.exec(select(ScoringEvent).where(col(ScoringEvent.image_sha256).in_(hashes))).all()
    return sorted(found, key=lambda event: hashes.index(event.image_sha256))


def test_many_pictures_are_one_transaction(desk: ScoringDesk, served: Served, loop: asyncio.AbstractEventLoop) -> None:
    pictures = [scored(desk, served, loop, webcam_id) for webcam_id in (*webcams(3), None, None)]
    desk._record(pictures)
    assert settle(loop, pictures) == [None] * 5
    rows = events_of(pictures)
    assert [row.id for row in rows] == [each.scored.event_id for each in pictures if each.scored is not None]
    assert [row.webcam_id for row in rows] == [each.webcam_id for each in pictures]
    assert len({row.scored_at for row in rows}) == 1  # the start of the transaction
    assert [row.captured for row in rows] == [True, True, True, False, False]


def test_one_that_cannot_be_recorded_spoils_no_other(
    desk: ScoringDesk, served: Served, loop: asyncio.AbstractEventLoop
) -> None:
    first, last = webcams(2)
    pictures = [scored(desk, served, loop, webcam_id) for webcam_id in (first, 999_999_999, last, None)]
    desk._record(pictures)
    errors = settle(loop, pictures)
    assert isinstance(errors[1], NotFound)
    assert [errors[0], errors[2], errors[3]] == [None] * 3
    assert [row.webcam_id for row in events_of(pictures)] == [first, last, None]


def test_a_webcam_that_somebody_holds_keeps_only_its_own_picture(
    desk: ScoringDesk, served: Served, loop: asyncio.AbstractEventLoop
) -> None:
    held, free = webcams(2)
    pictures = [scored(desk, served, loop, webcam_id) for webcam_id in (held, free)]
    with session_scope() as session:
        session.execute(text("SELECT 1 FROM webcams WHERE id = :id FOR UPDATE"), {"id": held})
        desk._record(pictures)
    errors = settle(loop, pictures)
    assert "lock timeout" in str(errors[0])
    assert errors[1] is None
    assert [row.webcam_id for row in events_of(pictures)] == [free]


def test_two_pictures_of_a_webcam_are_judged_one_after_the_other(
    desk: ScoringDesk, served: Served, loop: asyncio.AbstractEventLoop
) -> None:
    one, other = webcams(2)
    places = [(one, 0), (other, 0), (one, 5), (one, 40)]
    pictures = [scored(desk, served, loop, webcam_id, minutes) for webcam_id, minutes in places]
    assert [[each.webcam_id for each in part] for part in each_webcam_once(pictures)] == [[one, other], [one], [one]]
    desk._record(pictures)
    assert settle(loop, pictures) == [None] * 4
    reasons = [each.scored.capture.reason for each in pictures if each.scored is not None]
    assert reasons == ["above-threshold", "above-threshold", "reused", "above-threshold"]


def test_pictures_without_an_answer_keep_their_places(
    desk: ScoringDesk, served: Served, loop: asyncio.AbstractEventLoop
) -> None:
    pictures = [scored(desk, served, loop, None) for _ in range(3)]
    assert desk.score_pool._num_taken == 3
    desk._record(pictures)
    settle(loop, pictures)
    assert desk.score_pool._num_taken == 0


def test_two_writers_with_the_same_webcams_never_wait_for_each_other_for_ever(served: Served, store: FileStore) -> None:
    ids = webcams(4)

    def write(order: list[int]) -> None:
        for minute in range(8):
            attempts = [
                Attempt("rating", Frame(webcam_id, "sunset", NOW + timedelta(hours=minute)), one, data, True)
                for webcam_id in order
                for data in [picture(255)]
                for one in [score_pixels(served, data)]
            ]
            with session_scope() as session:
                record_scores(session, attempts, store=store, exploration_share=0.0)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, [ids, ids[::-1]]))
    with session_scope() as session:
        events = session.exec(select(ScoringEvent).where(col(ScoringEvent.webcam_id).in_(ids))).all()
    assert len(events) == 64


def test_an_unscored_attempt_has_no_score_columns_beside_one_that_has(served: Served, store: FileStore) -> None:
    one, other = webcams(2)
    bad = Scored("unscored", reason="truncated: cut", image_sha256=hashlib.sha256(uuid.uuid4().bytes).hexdigest())
    data = picture(255)
    attempts = [
        Attempt("rating", Frame(one), bad, b"x", True),
        Attempt("rating", Frame(other), score_pixels(served, data), data, True),
    ]
    with session_scope() as session:
        record_scores(session, attempts, store=store, exploration_share=0.0)
    with session_scope() as session:
        rows = {row.id: row for row in session.exec(select(Webcam).where(col(Webcam.id).in_([one, other]))).all()}
        kept = session.exec(select(WebcamSnapshot).where(col(WebcamSnapshot.webcam_id).in_([one, other]))).all()
    assert (rows[one].ai_rating, rows[one].last_image_hash) == (None, None)
    assert rows[other].ai_rating == 5.0
    assert [snapshot.webcam_id for snapshot in kept] == [other]


def test_no_answer_is_given_before_its_rows_are_committed(
    served: Served, server: str, api_key: Callable[..., str], database: str
) -> None:
    key, answers = api_key("score"), []

    def post() -> None:
        with client_of(server, key) as client:
            answers.append(client.post("/v1/score", content=picture(200)))

    plain = database.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(plain) as holding, psycopg.connect(plain, autocommit=True) as watching:
        holding.execute("LOCK TABLE scoring_events IN SHARE MODE")
        thread = threading.Thread(target=post)
        thread.start()
        until = time.monotonic() + 20
        waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'scoring_events'::regclass"
        while watching.execute(waits).fetchone() is None and time.monotonic() < until:
            time.sleep(0.02)
        assert watching.execute(waits).fetchone() is not None, "the insert never came"
        assert answers == []
        holding.rollback()
        thread.join(30)
    assert answers[0].status_code == 200
    with session_scope() as session:
        assert session.get(ScoringEvent, answers[0].json()["eventId"]) is not None


@pytest.mark.parametrize("has_webcams", [False, True])
def test_a_database_that_is_away_fails_all_at_once(
    desk: ScoringDesk,
    served: Served,
    loop: asyncio.AbstractEventLoop,
    monkeypatch: pytest.MonkeyPatch,
    has_webcams: bool,
) -> None:
    from sqlalchemy.exc import OperationalError

    from api import scoring

    tried: list[int] = []

    def away(_connection: object, attempts: list[Attempt], **_: object) -> None:
        tried.append(len(attempts))
        raise OperationalError("INSERT", {}, psycopg.OperationalError("the connection was refused"))

    monkeypatch.setattr(scoring, "record_scores" if has_webcams else "record_lone_scores", away)
    ids: list[int | None] = [*webcams(4)] if has_webcams else [None] * 4
    pictures = [scored(desk, served, loop, webcam_id) for webcam_id in ids]
    desk._record(pictures)
    assert all(isinstance(error, OperationalError) for error in settle(loop, pictures))
    assert tried == [4]
