"""The home page: what wants attention, what is broken first, and where to go for it."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from sqlmodel import Session

from db.engine import listening, session_scope
from db.queries import evaluations, jobs, labels, models
from db.queries.disagreements import add_review_set
from db.tables import ScoringEvent
from tests.api.builders import evaluation_report
from tests.api.conftest import BROWSER
from tests.builders import NOON, make_snapshot, make_version

EVIL = "<b onmouseover=alert(1)>"


@pytest.fixture(autouse=True)
def dispatcher(database: str) -> Any:
    """Somebody hands out jobs."""
    with listening(jobs.JOBS_CHANNEL):
        yield


def _notices(client: httpx.Client) -> dict[str, str]:
    """Title -> all that stands with it, in the order of the page."""
    answer = client.get("/", headers=BROWSER)
    assert answer.status_code == 200, answer.text
    assert EVIL not in answer.text
    page = " ".join(answer.text.split())
    found = re.findall(r"<li( class=\"urgent\")?> <div><h2>(.*?)</h2>(.*?)</li>", page)
    return {title: ("urgent " if urgent else "") + rest for urgent, title, rest in found}


def _evaluation(name: str, better: bool, **facts: Any) -> None:
    report = evaluation_report(better)
    report["model_version"] = name
    with session_scope() as session:
        evaluations.add_evaluation(
            session, model_version=name, kind="rating", manifest_sha256="0" * 64, method="test", report=report,
            artifact_key="reports/none", **facts,
        )  # fmt: skip


def test_with_nothing_to_do_the_page_says_so(client: httpx.Client) -> None:
    assert _notices(client) == {}
    assert "Nothing does just now." in client.get("/", headers=BROWSER).text


def test_frames_without_a_label_are_counted_until_somebody_rates_them(client: httpx.Client, session: Session) -> None:
    made = make_snapshot(session)
    session.commit()
    assert "You have rated 0 frames so far." in _notices(client)["1 frame has no label"]
    labels.rate_snapshot(
        session, snapshot_id=made.id or 0, rater="test-admin", rating=3, is_sunset=True, label_source="human"
    )
    session.commit()
    assert _notices(client) == {}


def test_a_failed_job_is_told_with_its_reason_first_of_all(client: httpx.Client, session: Session) -> None:
    make_snapshot(session)
    job, _ = jobs.add_job(session, "train", {}, queue="none", max_attempts=1)
    claim = jobs.claim_job(session, job.id or 0, "w", 60)
    assert claim is not None and jobs.finish_job(session, claim, "failed", reason=f"no label {EVIL}")
    session.commit()
    (title, rest), *others = _notices(client).items()
    assert (title, rest.startswith("urgent ")) == ("1 job failed in the last week", True)
    assert "train: no label &lt;b onmouseover" in rest
    assert f'href="/jobs/{job.id}"' in rest
    assert others, "what waits comes after what is broken"


@pytest.mark.parametrize(("state", "path"), [("failed", "/jobs?state=failed"), ("dead", "/jobs")])
def test_of_several_failures_the_link_shows_all(client: httpx.Client, session: Session, state: str, path: str) -> None:
    job, _ = jobs.add_job(session, "train", {}, queue="none", max_attempts=1)
    claim = jobs.claim_job(session, job.id or 0, f"w{job.id}", 60)
    assert claim is not None and jobs.finish_job(session, claim, state, reason="why")
    session.commit()
    title, rest = next(iter(_notices(client).items()))
    assert title.endswith("jobs failed in the last week") and f'href="{path}"' in rest


def test_scores_that_could_not_be_given_today_are_told_with_their_reasons(
    client: httpx.Client, session: Session
) -> None:
    for reason, n in (("timeout", 3), ("dead-url", 1)):
        session.add_all(ScoringEvent(kind="rating", path_taken="unscored", reason=reason) for _ in range(n))
    session.add(ScoringEvent(kind="rating", path_taken="unscored", reason="old", scored_at=NOON))
    session.commit()
    rest = _notices(client)["4 of 4 rating scores could not be given in the last 24 hours"]
    assert "timeout 3, dead-url 1" in rest and "old" not in rest
    assert 'href="/webcams?unscored=true"' in rest


def test_a_version_that_was_never_promoted_waits_with_the_gates_word(client: httpx.Client, session: Session) -> None:
    first = make_version(session).model_version
    session.commit()
    assert "No rating model serves" in _notices(client)
    models.add_activation(
        session, kind="rating", model_version=first, action="promote", verdict={}, activated_by="test"
    )
    second = make_version(session).model_version
    session.commit()
    assert "The gate says no:" in _notices(client)[f"{second} waits for promotion"]
    found = _notices(client)
    assert "No rating model serves" not in found and f"{first} waits for promotion" not in found


def test_frames_of_review_sets_wait_until_they_are_settled(client: httpx.Client, session: Session) -> None:
    version = models.active_version(session, "rating")
    assert version is not None
    snapshot = make_snapshot(session)
    row = {"snapshot_id": snapshot.id, "reasons": ["control"], "inclusion_probability": 0.5, "num_verdicts": 0,
           "need": "first-rating"}  # fmt: skip
    add_review_set(session, [row], kind="rating", model_version=version.model_version, seed=1, params={}, counts={},
                   as_of=NOON)  # fmt: skip
    session.commit()
    assert "1 frame of rating review sets wait for an answer" in _notices(client)
    labels.rate_snapshot(
        session, snapshot_id=snapshot.id or 0, rater="ann", rating=3, is_sunset=True, label_source="human"
    )
    session.commit()
    found = _notices(client)
    assert "1 frame of rating review sets wait for an answer" not in found
    assert "afterglow retrain rating" in found["1 answer of review sets is new"]


def test_drift_of_the_newest_cycle_is_told_in_figures(client: httpx.Client, session: Session) -> None:
    drift = {"known": True, "drift": True, "value": 0.41, "chance": 0.12, "p_value": 0.001, "n_current": 300,
             "n_reference": 900, "n_webcams": 12}  # fmt: skip
    job, _ = jobs.add_job(session, "evaluate_cycle", {}, queue="train", max_attempts=1)
    dataset = models.add_dataset(session, (), kind="rating", as_of=NOON, params={}, counts={}, manifest_sha256="0" * 64,
                                 artifact_key="datasets/none")  # fmt: skip
    evaluations.add_cycle(session, kind="rating", job_id=job.id, dataset_id=dataset.id, manifest_sha256="0" * 64,
                          created_by="test", params={}, summary={"score_drift": drift})  # fmt: skip
    session.commit()
    rest = _notices(client)["Scores of the rating model drift"]
    assert (
        "Index 0.41, by chance up to 0.12 (p 0.001): 300 frames of the last week beside 900 before it, 12 webcams"
        in rest
    )
