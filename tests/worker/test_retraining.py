"""A retrain cycle by its rows: what a key means, where the chain is, and how it ended."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlmodel import Session

from db.engine import session_scope
from db.errors import Conflict, NotFound
from db.queries import jobs, models
from db.queries.job_chains import chain_of, first_job
from db.tables import Evaluation, Job
from ml.judgements.base import JudgementError
from ml.training.recipe import RecipeError
from tests.builders import make_version
from worker.queue import retry_job, submit
from worker.retraining import STEPS, RetrainRequest, cycle_of, recipe_of, submit_gate, submit_retraining

REQUEST = RetrainRequest("rating", {"epochs": 3})
EVALUATION = Evaluation(
    id=3, model_version="v", kind="rating", manifest_sha256="0" * 64, method="test", artifact_key="k"
)


def _began(session: Session, request: RetrainRequest = REQUEST, **facts: Any) -> int:
    job, _ = submit_retraining(session, request, by="test", **facts)
    assert job.id is not None
    return job.id


def _end(session: Session, job_id: int, state: str = "succeeded", **facts: Any) -> int:
    claim = jobs.claim_job(session, job_id, "test", 60)
    assert claim is not None
    assert jobs.finish_job(session, claim, state, **facts)
    return job_id


def _then(session: Session, kind: str, parent_id: int, **params: Any) -> int:
    job, _ = submit(session, kind, params, parent_id=parent_id)
    assert job.id is not None
    return job.id


def _up_to_evaluation(session: Session, request: RetrainRequest = REQUEST) -> tuple[int, int]:
    """A cycle whose evaluation runs: its first job, and the evaluation."""
    first = last = _began(session, request)
    for kind in STEPS[1:4]:
        facts = {"model_version": "v", "dataset_id": 7} if last == first else {}
        last = _then(session, kind, _end(session, last, result=facts))
    return first, last


def test_a_key_begins_one_cycle_however_many_ask_at_once(database: str) -> None:
    def ask(number: int) -> tuple[int | None, bool]:
        with session_scope() as session:
            job, is_new = submit_retraining(session, REQUEST, by=f"key:{number}", idempotency_key="once")
            return job.id, is_new

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(8)))
    assert len({job_id for job_id, _ in answers}) == 1
    assert sum(is_new for _, is_new in answers) == 1


@pytest.mark.parametrize(
    "other",
    [
        RetrainRequest("rating", {"epochs": 4}),
        RetrainRequest("rating", {"epochs": 3}, promote=False),
        RetrainRequest("rating", {}),
    ],
)
def test_a_key_that_began_another_cycle_is_refused(session: Session, other: RetrainRequest) -> None:
    key = f"{other}"
    _began(session, idempotency_key=key)
    with pytest.raises(Conflict, match="another body"):
        _began(session, other, idempotency_key=key)


@pytest.mark.parametrize(
    ("changes", "error"), [({"epoch": 3}, RecipeError), ({"head": "ranking"}, JudgementError)]
)  # fmt: skip
def test_what_cannot_be_trained_is_refused_before_anything_is_submitted(
    session: Session, changes: dict[str, Any], error: type[Exception]
) -> None:
    before = jobs.count_jobs(session)
    with pytest.raises(error):
        submit_retraining(session, RetrainRequest("rating", changes), by="test")
    assert jobs.count_jobs(session) == before


def test_the_recipe_is_that_of_the_version_that_serves_with_what_differs_from_it(session: Session) -> None:
    version = make_version(session)
    models.get_run(session, version.training_run_id).params_json = {"recipe": {"image_size": 96, "epochs": 7}}
    session.flush()
    models.add_activation(
        session, kind="rating", model_version=version.model_version, action="promote", verdict={}, activated_by="test"
    )
    recipe = recipe_of(session, "rating", {"epochs": 9})
    assert (recipe.image_size, recipe.epochs) == (96, 9)


def test_only_an_evaluation_of_a_cycle_is_followed_by_the_gate(session: Session) -> None:
    first, evaluation = _up_to_evaluation(session, RetrainRequest("rating", {}, force=True))
    alone, _ = submit(session, "evaluate", {"model_version": "v"})
    assert alone.id is not None
    for job_id in (evaluation, alone.id):
        submit_gate(session, job_id, EVALUATION)
    (gate,) = jobs.follow_up_jobs(session, evaluation)
    assert gate.params == {"model_version": "v", "evaluation_id": 3, "promote": True, "force": True, "by": "test"}
    assert not jobs.follow_up_jobs(session, alone.id)
    assert first_job(session, gate.id).id == first  # type: ignore[arg-type]


def test_progress_is_that_of_the_whole_chain_and_only_grows(session: Session) -> None:
    first = last = _began(session)
    seen = [cycle_of(session, first).progress]
    for kind in STEPS[1:]:
        last = _then(session, kind, _end(session, last, result={}))
        seen.append(cycle_of(session, first).progress)
    assert seen == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])
    assert cycle_of(session, first).state == "running"
    _end(session, last, result={"promoted": True, "verdict": {}, "reason": "it is better"})
    ended = cycle_of(session, first)
    assert (ended.state, ended.progress, ended.reason) == ("promoted", 1.0, "it is better")
    assert [job.kind for job in ended.jobs] == list(STEPS)


def test_why_not_is_the_gates_verdict(session: Session) -> None:
    first, evaluation = _up_to_evaluation(session)
    verdict = {"allowed": False, "sentence": "v is refused on 40 rows", "n": 40}
    gate = _then(session, "gate", _end(session, evaluation, result={}))
    _end(session, gate, result={"promoted": False, "verdict": verdict, "reason": verdict["sentence"]})
    cycle = cycle_of(session, first)
    assert (cycle.state, cycle.reason, cycle.verdict) == ("not-promoted", verdict["sentence"], verdict)
    assert (cycle.model_version, cycle.dataset_id) == ("v", 7)


@pytest.mark.parametrize("state", ["failed", "dead", "cancelled"])
def test_a_link_that_breaks_ends_the_chain_with_its_reason_and_a_retry_goes_on_from_there(
    session: Session, state: str
) -> None:
    first, evaluation = _up_to_evaluation(session)
    _end(session, evaluation, state, reason="the disk is full")
    broken = cycle_of(session, first)
    assert (broken.state, broken.progress) == (state, pytest.approx(0.6))
    assert "the disk is full" in str(broken.reason)
    assert f"`afterglow jobs retry {evaluation}`" in str(broken.reason)
    again, _ = retry_job(session, evaluation)
    assert again.id is not None
    assert (cycle_of(session, first).state, cycle_of(session, first).reason) == ("running", None)
    submit_gate(session, _end(session, again.id, result={}), EVALUATION)
    assert [job.kind for job in chain_of(session, first)] == [*STEPS[:4], "evaluate", "gate"]


def test_a_first_job_that_is_tried_again_is_still_the_same_cycle(session: Session) -> None:
    first = _end(session, _began(session), "failed", reason="no label")
    again, _ = retry_job(session, first)
    assert again.id is not None
    training = _then(session, "train", _end(session, again.id, result={"model_version": "w", "dataset_id": 8}))
    cycle = cycle_of(session, first)
    assert (cycle.state, cycle.model_version) == ("running", "w")
    assert [job.id for job in cycle.jobs] == [first, again.id, training]


def test_what_began_no_cycle_is_not_found(session: Session) -> None:
    job, _ = submit(session, "evaluate", {})
    assert isinstance(job, Job)
    for job_id in (job.id, 10**9):
        with pytest.raises(NotFound):
            cycle_of(session, job_id)  # type: ignore[arg-type]
