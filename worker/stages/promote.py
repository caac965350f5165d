"""Promotion and rollback: which version serves a kind. One transaction each, with a recorded verdict."""

from __future__ import annotations

from dataclasses import replace

from sqlmodel import Session

from db.errors import Conflict
from db.queries import evaluations, models
from db.tables import ModelActivation
from ml.gate import Verdict, judge
from ml.gate_checks import Limits
from worker.settings import ServingSettings


class PromotionRefused(Conflict):
    """The version must not replace what serves; the verdict says in words and numbers why."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        super().__init__(verdict.sentence)


def judge_promotion(session: Session, model_version: str, evaluation_id: int | None = None) -> Verdict:
    """Whether a version may replace the active one, by its last evaluation on the frozen rows of its dataset, which must
    have been made beside that one: see `db.queries.evaluations.gate_evaluation`.

    A retrain cycle names its own evaluation: another one may have been made meanwhile.

    Raises:
        Conflict: It is the active one already.
        NotFound: There is no such version.
    """
    version = models.get_version(session, model_version)
    active = models.active_version(session, version.kind)
    if active is not None and active.model_version == model_version:
        raise Conflict(f"{model_version} is the active {version.kind} model already")
    if evaluation_id is None:
        evaluation = evaluations.gate_evaluation(session, version)
    else:
        evaluation = evaluations.get_evaluation(session, evaluation_id, model_version=model_version)
    if evaluation is None:
        text = f"{model_version} has no evaluation on rows of its own yet: wait for it, or run `afterglow evaluate`"
        return Verdict(False, f"{text} (those of cycles and of current labels decide nothing)")
    facts = {"evaluation_id": evaluation.id}
    again = f"run `afterglow evaluate {model_version}` and promote then"
    if active is not None and evaluation.compared_with != active.model_version:
        text = f"the last evaluation of {model_version} was not made beside the active {active.model_version}: {again}"
        return Verdict(False, text, facts)
    if "gate" not in evaluation.report:
        return Verdict(False, f"the last evaluation of {model_version} is from an earlier release: {again}", facts)
    limits = Limits(latency_ms=ServingSettings().max_latency_ms)
    verdict = judge(evaluation.report, active.model_version if active else None, limits)
    return replace(verdict, facts={**facts, **verdict.facts})


def promote(
    session: Session, model_version: str, *, force: bool, by: str, evaluation_id: int | None = None
) -> ModelActivation:
    """Make a version the active one of its kind. The verdict is recorded, and so is that it was forced.

    `evaluation_id` as for `judge_promotion`.

    Raises:
        PromotionRefused: The gate says no and `force` is not given; nothing changes.
        Conflict: It is the active one already.
        NotFound: There is no such version.
    """
    version = models.get_version(session, model_version)
    models.lock_activation(session, version.kind)
    verdict = judge_promotion(session, model_version, evaluation_id)
    if not verdict.allowed and not force:
        raise PromotionRefused(verdict)
    active = models.active_version(session, version.kind)
    return models.add_activation(
        session,
        kind=version.kind,
        model_version=model_version,
        previous_version=active.model_version if active else None,
        action="promote",
        forced=force and not verdict.allowed,
        verdict=verdict.to_json(),
        activated_by=by,
    )


def version_before(session: Session, kind: str) -> str | None:
    """The version that a rollback of a kind would make active again; None where nothing was promoted before."""
    return _before_active(list(models.activations(session, kind)))


def roll_back(session: Session, kind: str, *, by: str) -> ModelActivation:
    """Make the version that served before the active one active again.

    Raises:
        Conflict: Nothing was promoted before the active one.
    """
    models.lock_activation(session, kind)
    history = models.activations(session, kind)
    if not history:
        raise Conflict(f"no {kind} model was ever promoted: there is nothing to roll back to")
    previous = _before_active(list(history))
    if previous is None:
        raise Conflict(f"{history[0].model_version} is the first {kind} model: there is nothing to roll back to")
    return models.add_activation(
        session,
        kind=kind,
        model_version=previous,
        previous_version=history[0].model_version,
        action="rollback",
        forced=False,
        verdict={"allowed": True, "sentence": f"rolled back from {history[0].model_version}"},
        activated_by=by,
    )


def _before_active(history: list[ModelActivation]) -> str | None:
    """Replay promotions as pushes and rollbacks as pops; the version under the top is the one to go back to."""
    stack: list[str] = []
    for row in reversed(history):
        if row.action == "promote":
            stack.append(row.model_version)
        elif stack:
            stack.pop()
    return stack[-2] if len(stack) > 1 else None
