"""The job that ends a retrain cycle: it promotes what the gate allows and what is forced, and is no failure otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from db.engine import session_scope
from db.queries import evaluations, jobs, models
from tests.builders import make_version
from tests.ml.gate_reports import ACTIVE, gate_report
from worker.jobs import run_job
from worker.queue import submit

TOO_FAR = {"n": 43, "max_abs_difference": 1.0, "self_test": {"n": 11, "tolerance": 1e-4}}
"""Parity that no gate allows."""


@pytest.fixture(scope="module")
def active(database: str) -> str:
    """A registered version by the name that the reports compare with."""
    with session_scope() as session:
        return make_version(session, model_version=ACTIVE).model_version


@pytest.mark.parametrize(
    ("allowed", "asked", "promoted", "words"),
    [
        (False, {}, False, "is refused"),
        (False, {"promote": False}, False, "stays a candidate, as asked for. new_1 is refused"),
        (True, {"promote": False}, False, "stays a candidate, as asked for. new_1 may serve"),
        (True, {}, True, "may serve"),
        (False, {"force": True}, True, "promoted by force. new_1 is refused"),
    ],
)
def test_the_gate_promotes_what_it_allows_and_what_is_forced_and_nothing_else(
    active: str, allowed: bool, asked: dict[str, bool], promoted: bool, words: str
) -> None:
    reports: list[dict[str, Any]] = [gate_report(), gate_report(parity=TOO_FAR)]
    if not allowed:
        reports.reverse()  # the cycle's own first; another one, made meanwhile, says the opposite
    with session_scope() as session:
        models.add_activation(
            session, kind="rating", model_version=active, action="promote", verdict={}, activated_by="test"
        )
        name = make_version(session).model_version
        own, _ = (evaluations.add_evaluation(
            session, model_version=name, kind="rating", manifest_sha256="0" * 64, method="test", compared_with=active,
            report=each, artifact_key="reports/x",
        ) for each in reports)  # fmt: skip
        params = {"model_version": name, "evaluation_id": own.id, "promote": True, "force": False, "by": "cli:ann"}
        job, _ = submit(session, "gate", params | asked)
    assert job.id is not None
    run_job(job.id, f"test-{name}")
    with session_scope() as session:
        done = jobs.get_job(session, job.id)
        last = models.activations(session, "rating")[0]
    assert done.result is not None, done.reason
    assert (done.result["promoted"], done.result["verdict"]["allowed"]) == (promoted, allowed)
    assert words in done.result["reason"]
    assert (last.model_version == name) == promoted
    if promoted:
        assert (last.activated_by, last.forced, last.previous_version) == ("cli:ann", not allowed, active)
