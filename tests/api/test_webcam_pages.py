"""The pages of webcams: the newest frame of each with its filters, and the history of one."""

from __future__ import annotations

import re
from datetime import timedelta

import httpx
import pytest
from sqlmodel import Session

from db.engine import session_scope
from db.queries import labels
from db.tables import ScoringEvent, Webcam, WebcamSnapshot
from tests.api.conftest import BROWSER
from tests.builders import NOON, make_snapshot, make_webcam

EVIL = "<svg onload=alert(1)>"


def _see(client: httpx.Client, path: str) -> str:
    answer = client.get(path, headers=BROWSER)
    assert answer.status_code == 200, answer.text
    assert EVIL not in answer.text
    return " ".join(answer.text.split())


def _shown(page: str) -> list[int]:
    return [int(each) for each in re.findall(r'id="webcam-(\d+)"', page)]


def _rate(session: Session, snapshot: WebcamSnapshot, rating: int | None, rater: str = "ann") -> None:
    labels.rate_snapshot(session, snapshot_id=snapshot.id or 0, rater=rater, rating=rating, is_sunset=rating is not None,
                         label_source="human")  # fmt: skip


def test_without_a_webcam_the_page_says_how_to_have_some(client: httpx.Client) -> None:
    assert "There is no webcam yet." in _see(client, "/webcams")


def test_each_shows_its_newest_frame_whose_picture_is_there(client: httpx.Client, session: Session) -> None:
    webcam = make_webcam(session, title=f"Pier {EVIL}", region="Algarve", country="Portugal")
    make_snapshot(session, webcam, captured_at=NOON, ai_rating=2.0)
    newest = make_snapshot(session, webcam, captured_at=NOON + timedelta(hours=2), ai_rating=3.0)
    make_snapshot(session, webcam, captured_at=NOON + timedelta(hours=3), image_state="dead-url", image_sha256=None,
                  image_known_at=None, image_key="url:x")  # fmt: skip
    bare = make_webcam(session)
    session.commit()
    page = _see(client, "/webcams")
    assert _shown(page) == [webcam.id, bare.id]
    assert re.findall(r"/v1/snapshots/(\d+)/image", page) == [str(newest.id)]
    assert "Pier &lt;svg onload=alert(1)&gt;" in page
    assert "no picture is kept" in page


@pytest.fixture(scope="module")
def webcams(database: str) -> dict[str, int]:
    """One webcam for each thing that can be chosen."""
    with session_scope() as session:
        made: dict[str, Webcam] = {}
        for name, phase, rating in (("good", "sunset", 5), ("bad", "sunset", 2), ("night", "sunrise", None)):
            made[name] = make_webcam(session, region="Filters", country="Nowhere")
            _rate(session, make_snapshot(session, made[name], phase=phase), rating)
        made["outvoted"] = make_webcam(session, region="Filters", country="Nowhere")
        disputed = make_snapshot(session, made["outvoted"], phase="sunset")
        _rate(session, disputed, 5)
        for rater in ("ben", "cid"):
            _rate(session, disputed, None, rater)
        made["new"] = make_webcam(session, region="Filters", country="Elsewhere")
        make_snapshot(session, made["new"], phase="sunrise")
        for name, paths in (("good", ("unscored", "onnx")), ("new", ("onnx", "unscored"))):
            for place, path in enumerate(paths):
                is_scored = path == "onnx"
                session.add(ScoringEvent(
                    kind="rating", webcam_id=made[name].id, path_taken=path, raw_score=0.5 if is_scored else None,
                    reason=None if is_scored else "timeout", scored_at=NOON + timedelta(minutes=place),
                ))  # fmt: skip
        session.flush()
        return {name: webcam.id or 0 for name, webcam in made.items()}


class TestFilters:
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("", ["good", "bad", "night", "outvoted", "new"]),
            ("&phase=sunset", ["good", "bad", "outvoted"]),
            ("&phase=sunrise&verdict=", ["night", "new"]),
            ("&verdict=good", ["good"]),
            ("&verdict=not-good", ["bad", "night", "outvoted"]),
            ("&verdict=none", ["new"]),
            ("&unscored=true", ["new"]),
            ("&verdict=good&phase=sunrise", []),
        ],
    )
    def test_only_what_is_chosen_is_shown(
        self, client: httpx.Client, webcams: dict[str, int], query: str, expected: list[str]
    ) -> None:
        page = _see(client, f"/webcams?region=Filters{query}")
        assert _shown(page) == [webcams[name] for name in expected]
        assert ("No webcam is like that." in page) is not expected
        assert ("timeout" in page) is ("new" in expected)

    def test_a_country_is_a_region_too_and_what_is_chosen_stays_chosen(
        self, client: httpx.Client, webcams: dict[str, int]
    ) -> None:
        page = _see(client, "/webcams?region=Elsewhere&unscored=true")
        assert _shown(page) == [webcams["new"]]
        assert '<option value="Elsewhere" selected>' in page
        assert 'name="unscored" value="true" checked' in page
        assert client.get("/webcams?verdict=maybe", headers=BROWSER).status_code == 422

    def test_more_are_a_link_away_with_the_same_filter(self, client: httpx.Client, session: Session) -> None:
        made = [make_webcam(session, region="Many & more").id for _ in range(30)]
        session.commit()
        page = _see(client, "/webcams?region=Many+%26+more")
        (more,) = re.findall(r'rel="next" href="([^"]+)"', page)
        assert _shown(page) + _shown(_see(client, more.replace("&amp;", "&"))) == made


def test_the_history_is_a_strip_and_a_plot_of_what_was_said(client: httpx.Client, session: Session) -> None:
    webcam = make_webcam(session, title="Harbour")
    first = make_snapshot(session, webcam, captured_at=NOON, ai_rating=2.0)
    session.commit()
    assert "something must have been said of two frames" in _see(client, f"/webcams/{webcam.id}")
    second = make_snapshot(session, webcam, captured_at=NOON + timedelta(days=1), ai_rating=4.5)
    _rate(session, second, 5)
    session.commit()
    page = _see(client, f"/webcams/{webcam.id}")
    assert re.findall(r'<li id="frame-(\d+)">', page) == [str(second.id), str(first.id)], "newest first"
    assert "2 frames with a score, 1 with ratings; good from 4 on." in page
    assert "model 4.5, people 5.0" in page
    assert client.get("/webcams/999999", headers=BROWSER).status_code == 404


def test_a_webcam_without_frames_says_so(client: httpx.Client, session: Session) -> None:
    webcam = make_webcam(session)
    session.commit()
    assert "No frame of it is kept." in _see(client, f"/webcams/{webcam.id}")
