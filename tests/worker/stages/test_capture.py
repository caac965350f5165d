"""The capture gate, and what a score writes."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import Session, col, select

from db.queries import models, webcams
from db.tables import ModelVersion, ScoringEvent, SnapshotAiInference, Webcam, WebcamSnapshot
from ml.images.decode import inspect
from ml.images.store import FileStore
from tests.builders import NOON, make_webcam
from tests.tiny_model import picture, register_bundle
from worker.places import bundle_cache
from worker.stages.capture import is_explored
from worker.stages.score import Frame, Scored, record_score, score_pixels
from worker.stages.served import Served, load_served


@pytest.fixture(scope="module")
def served(database: str, store: FileStore) -> Served:
    from db.engine import session_scope

    with session_scope() as session:
        version: ModelVersion = register_bundle(session, store)
    return load_served(version, store, bundle_cache())


def _score(
    session: Session,
    store: FileStore,
    served: Served | None,
    webcam: Webcam,
    data: bytes,
    minutes: float,
    share: float = 0.0,
) -> Scored:
    frame = Frame(webcam.id, "sunset", NOON + timedelta(minutes=minutes))
    return record_score(session, score_pixels(served, data), frame, kind="rating", store=store, data=data,
                        exploration_share=share, writes_snapshots=True)  # fmt: skip


def _inferences(session: Session, snapshot_id: int | None) -> int:
    query = select(SnapshotAiInference).where(col(SnapshotAiInference.snapshot_id) == snapshot_id)
    return len(session.exec(query).all())


def test_a_frame_above_the_threshold_is_kept_with_its_image_and_inference(
    session: Session, store: FileStore, served: Served
) -> None:
    webcam, data = make_webcam(session), picture(250)
    scored = _score(session, store, served, webcam, data, 0)
    assert (scored.capture.captured, scored.capture.reason) == (True, "above-threshold")
    snapshot = webcams.get_snapshot(session, scored.capture.snapshot_id)  # type: ignore[arg-type]
    assert (snapshot.image_sha256, snapshot.sampling_probability) == (inspect(data).sha256, 1.0)
    assert store.image(str(snapshot.image_sha256)) == data
    assert snapshot.ai_rating == pytest.approx(scored.ai_rating, abs=0.005)
    assert _inferences(session, snapshot.id) == 1
    assert models.get_version(session, str(snapshot.ai_model_version)).kind == "rating"


@pytest.mark.parametrize(
    ("minutes", "reason"), [(0.5, "reused"), (29.9, "reused"), (30, "above-threshold"), (60, "above-threshold")]
)
def test_a_snapshot_younger_than_thirty_minutes_stands_for_the_next_frame(
    session: Session, store: FileStore, served: Served, minutes: float, reason: str
) -> None:
    webcam = make_webcam(session)
    first = _score(session, store, served, webcam, picture(250), 0)
    second = _score(session, store, served, webcam, picture(251), minutes)
    assert second.capture.reason == reason
    assert (second.capture.snapshot_id == first.capture.snapshot_id) == (reason == "reused")


def test_a_reused_snapshot_of_another_picture_gets_no_inference(
    session: Session, store: FileStore, served: Served
) -> None:
    webcam = make_webcam(session)
    first = _score(session, store, served, webcam, picture(250), 0)
    _score(session, store, served, webcam, picture(240), 10)
    assert _inferences(session, first.capture.snapshot_id) == 1


def test_a_frame_below_the_threshold_is_kept_for_the_share_with_its_probability(
    session: Session, store: FileStore, served: Served
) -> None:
    webcam = make_webcam(session)
    assert _score(session, store, served, webcam, picture(10), 0).capture.reason == "below-threshold"
    explored = _score(session, store, served, webcam, picture(11), 60, share=1.0)
    assert (explored.capture.reason, explored.capture.sampling_probability) == ("explored", 1.0)


def test_without_a_model_there_is_an_event_and_nothing_else(session: Session, store: FileStore) -> None:
    webcam = make_webcam(session)
    scored = _score(session, store, None, webcam, picture(250), 0)
    event = session.get(ScoringEvent, scored.event_id)
    assert event is not None
    assert (event.path_taken, event.raw_score, event.captured) == ("unscored", None, False)
    assert "no active model" in str(event.reason)
    fresh = webcams.get_webcam(session, webcam.id)  # type: ignore[arg-type]
    assert (fresh.ai_rating, fresh.ai_model_version, fresh.last_image_hash) == (None, None, None)
    assert session.exec(select(WebcamSnapshot).where(col(WebcamSnapshot.webcam_id) == webcam.id)).all() == []


@given(st.integers(0, 2**64), st.floats(0, 1), st.floats(0, 1))
def test_whether_a_content_is_explored_is_fixed_and_grows_with_the_share(seed: int, one: float, other: float) -> None:
    sha256 = hashlib.sha256(str(seed).encode()).hexdigest()
    low, high = sorted((one, other))
    assert is_explored(sha256, low) == is_explored(sha256, low)
    assert is_explored(sha256, high) or not is_explored(sha256, low)


def test_the_share_of_explored_contents_is_the_share_asked_for() -> None:
    kept = sum(is_explored(hashlib.sha256(str(n).encode()).hexdigest(), 0.05) for n in range(20_000))
    assert 900 <= kept <= 1100  # five standard deviations are 154
