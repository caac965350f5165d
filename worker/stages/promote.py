"""Promotion and rollback: which version serves a kind. One transaction each, with a recorded verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from db.errors import Conflict
from db.queries import evaluations, models
from db.tables import Evaluation, ModelActivation


class PromotionRefused(Conflict):
    """The version is not better than what it would replace; the verdict says in numbers why."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        super().__init__(verdict.sentence)


@dataclass(frozen=True)
class Verdict:
    """What the gate found, in words and numbers."""

    allowed: bool
    sentence: str
    facts: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """A JSON object for the activation's row."""
        return {"allowed": self.allowed, "sentence": self.sentence, **self.facts}


def judge_promotion(session: Session, model_version: str) -> Verdict:
    """Whether a version may replace the active one: on the same rows, no worse than it and than the best baseline."""
    version = models.get_version(session, model_version)
    active = models.active_version(session, version.kind)
    if active is not None and active.model_version == model_version:
        raise Conflict(f"{model_version} is the active {version.kind} model already")
    evaluation = evaluations.latest_evaluation(session, model_version)
    if evaluation is None:
        return Verdict(False, f"{model_version} has no evaluation yet: wait for it, or run `afterglow evaluate`", {})
    if active is not None and evaluation.compared_with != active.model_version:
        return Verdict(
            False,
            f"the last evaluation of {model_version} was not made beside the active {active.model_version}: "
            f"run `afterglow evaluate {model_version}` and promote then",
            {"evaluation_id": evaluation.id},
        )
    return _compare(evaluation, active.model_version if active else None)


def _compare(evaluation: Evaluation, active: str | None) -> Verdict:
    report = evaluation.report
    subset = report["subsets"][report["headline"]]
    metric = report["primary"]["name"]
    rows = {row["name"]: row for row in subset["rows"]}
    model = next(row for row in subset["rows"] if row["role"] == "model")
    reasons, comparisons = [], []
    for comparison in subset["comparisons"]:
        role = rows[comparison["against"]]["role"]
        comparisons.append({**comparison, "role": role})
        if not comparison["better"]:
            who = (
                f"the active {comparison['against']}" if role == "active" else f"the baseline {comparison['against']!r}"
            )
            reasons.append(
                f"{metric} {model['metrics'][metric]:.4g} against {rows[comparison['against']]['metrics'][metric]:.4g} "
                f"of {who} (difference {comparison['difference']:+.4g}, 95 % interval "
                f"{comparison['interval'][0]:+.4g} to {comparison['interval'][1]:+.4g})"
            )
    if active is not None and not any(each["role"] == "active" for each in comparisons):
        reasons.append(f"the evaluation has no comparable figure of the active {active} on these rows")
    where = f"on {subset['n']} rows in {subset['n_groups']} groups ({report['headline']})"
    facts = {"evaluation_id": evaluation.id, "metric": metric, "headline": report["headline"], "n": subset["n"],
             "n_groups": subset["n_groups"], "comparisons": comparisons}  # fmt: skip
    if reasons:
        return Verdict(False, f"{evaluation.model_version} is not better {where}: {'; '.join(reasons)}", facts)
    return Verdict(True, f"{evaluation.model_version} is better {where} than everything it was compared with", facts)


def promote(session: Session, model_version: str, *, force: bool, by: str) -> ModelActivation:
    """Make a version the active one of its kind. The verdict is recorded, and so is that it was forced.

    Raises:
        PromotionRefused: The gate says no and `force` is not given; nothing changes.
        Conflict: It is the active one already.
        NotFound: There is no such version.
    """
    version = models.get_version(session, model_version)
    models.lock_activation(session, version.kind)
    verdict = judge_promotion(session, model_version)
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
