"""Which evaluation decides on a promotion, whatever was measured since."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import Session

from db.engine import session_scope
from db.queries import evaluations, jobs, models, webcams
from db.tables import Evaluation
from tests.builders import make_version
from tests.ml.gate_reports import ACTIVE, gate_report
from worker.stages.promote import PromotionRefused, judge_promotion, promote

FROZEN, TODAYS = "a" * 64, "b" * 64
WORSE: dict[str, Any] = {"parity": {"n": 43, "max_abs_difference": 1.0, "self_test": {"n": 11, "tolerance": 1e-4}}}
"""What no gate allows."""


@pytest.fixture(scope="module", autouse=True)
def active(database: str) -> None:
    """The version that the reports compare with serves."""
    with session_scope() as session:
        make_version(session, model_version=ACTIVE)
        _serve(session, ACTIVE)


def _serve(session: Session, name: str) -> None:
    models.add_activation(session, kind="rating", model_version=name, action="promote", verdict={}, activated_by="test")


def _trained(session: Session, manifest_sha256: str | None) -> str:
    version = make_version(session)
    models.get_run(session, version.training_run_id).manifest_sha256 = manifest_sha256
    return version.model_version


def _measure(session: Session, name: str, sha256: str, in_cycle: bool = False, **changes: Any) -> Evaluation:
    cycle = None
    if in_cycle:
        job, _ = jobs.add_job(session, "evaluate_cycle", {}, queue="train", max_attempts=1)
        now = webcams.database_time(session)
        dataset = models.add_dataset(session, [], kind="rating", as_of=now, manifest_sha256=sha256, artifact_key="k")
        cycle = evaluations.add_cycle(
            session, kind="rating", job_id=job.id, created_by="test", dataset_id=dataset.id, manifest_sha256=sha256,
            params={}, summary={},
        )  # fmt: skip
    return evaluations.add_evaluation(
        session, model_version=name, kind="rating", manifest_sha256=sha256, method="test", compared_with=ACTIVE,
        report=gate_report(**changes), artifact_key="reports/x", cycle_id=cycle.id if cycle else None,
        role="candidate" if cycle else None,
    )  # fmt: skip


def test_what_a_cycle_or_current_labels_say_neither_promotes_nor_refuses(session: Session) -> None:
    good, bad = _trained(session, FROZEN), _trained(session, FROZEN)
    decides = [_measure(session, good, FROZEN), _measure(session, bad, FROZEN, **WORSE)]
    for in_cycle in (False, True):
        _measure(session, good, TODAYS, in_cycle, **WORSE)
        _measure(session, bad, TODAYS, in_cycle)
    verdicts = [judge_promotion(session, name) for name in (good, bad)]
    assert [verdict.allowed for verdict in verdicts] == [True, False]
    assert [verdict.facts["evaluation_id"] for verdict in verdicts] == [row.id for row in decides]


def test_without_an_evaluation_on_its_own_rows_a_version_is_not_promoted(session: Session) -> None:
    name = _trained(session, FROZEN)
    _measure(session, name, TODAYS, in_cycle=True)
    with pytest.raises(PromotionRefused, match=r"no evaluation on rows of its own yet.*afterglow evaluate"):
        promote(session, name, force=False, by="test")


def test_a_version_from_elsewhere_has_no_rows_of_its_own_and_is_judged_on_current_labels(session: Session) -> None:
    name = _trained(session, None)
    decides = _measure(session, name, TODAYS)
    _measure(session, name, TODAYS, in_cycle=True, **WORSE)
    verdict = judge_promotion(session, name)
    assert (verdict.allowed, verdict.facts["evaluation_id"]) == (True, decides.id)
