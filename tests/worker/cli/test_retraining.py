"""The command `retrain`: what it refuses, how it follows a chain, and how it ends."""

from __future__ import annotations

import pytest

from db.engine import session_scope
from db.queries import jobs
from tests.worker.cli.conftest import Afterglow
from worker.cli.follow import JobEndedBadly, follow
from worker.queue import retry_job, submit
from worker.retraining import STEPS, RetrainRequest, submit_retraining


def _ended(job_id: int | None, state: str = "succeeded", reason: str | None = None) -> int:
    assert job_id is not None
    with session_scope() as session:
        claim = jobs.claim_job(session, job_id, "test", 60)
        assert claim is not None
        assert jobs.finish_job(session, claim, state, result={}, reason=reason)
    return job_id


def _broken_chain(key: str) -> tuple[int, int]:
    """A cycle whose training failed: its first job and the training."""
    with session_scope() as session:
        first, _ = submit_retraining(session, RetrainRequest("rating", {}), by="test", idempotency_key=key)
        training, _ = submit(session, "train", {}, parent_id=first.id)
    return _ended(first.id), _ended(training.id, "failed", "no label is left.")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--force", "--no-promote"), "give one of them"),
        (("mood",), "mood"),
        (("--set", "epoch=3"), "did you mean 'epochs'"),
        (("--config", "/nowhere.yaml"), "/nowhere.yaml"),
        (("--set", "weights=/nowhere.pth"), "there is no file"),
    ],
)
def test_what_cannot_be_retrained_is_refused_before_anything_is_started(
    afterglow: Afterglow, words: tuple[str, ...], message: str
) -> None:
    said = afterglow("retrain", *words, "--no-wait", "--json")
    assert (said.code, said.error["code"]) == (2, "wrong-input")
    assert message in said.error["message"]


def test_without_waiting_it_says_how_to_watch_the_one_cycle_of_its_key(database: str, afterglow: Afterglow) -> None:
    first = afterglow("retrain", "--key", "k", "--no-wait", "--json").json
    assert (first["state"], first["progress"], first["verdict"]) == ("running", 0.0, None)
    again = afterglow("retrain", "--key", "k", "--no-wait")
    assert again.code == 0
    assert f"`afterglow jobs watch {first['job_id']}`" in again.out
    assert "under the same key" in again.err


def test_a_chain_is_followed_by_numbered_links_and_through_what_is_tried_again(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first, training = _broken_chain("followed")
    with pytest.raises(JobEndedBadly, match="no label is left"):
        follow(first, runs_here=False, steps=STEPS)
    with session_scope() as session:
        again, _ = retry_job(session, training)
    done = follow(first, runs_here=False, steps=STEPS) if _ended(again.id) else []
    assert [job.id for job in done] == [first, again.id]
    said = capsys.readouterr().err
    assert f"job {first} 1/5 retrain: 100% succeeded" in said
    assert f"job {again.id} 2/5 train: 100% succeeded" in said


def test_a_broken_chain_says_why_and_how_to_go_on(database: str, afterglow: Afterglow) -> None:
    _, training = _broken_chain("told")
    said = afterglow("retrain", "--key", "told", "--no-wait")
    assert said.code == 1
    assert f"job {training} (train) failed: no label is left. `afterglow jobs retry {training}`" in said.err


def test_a_chain_whose_broken_link_was_tried_again_is_watched_to_a_good_end(
    database: str, afterglow: Afterglow
) -> None:
    first, training = _broken_chain("watched")
    assert afterglow("jobs", "watch", str(first)).code == 1
    with session_scope() as session:
        again, _ = retry_job(session, training)
    _ended(again.id)
    assert afterglow("jobs", "watch", str(first)).code == 0
