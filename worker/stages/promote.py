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
    subsets = report["subsets"]
    headline = subsets[report["headline"]]
    metric = report["primary"]["name"]
    reasons, comparisons = [], []
    for comparison in headline["comparisons"]:
        # Out of fold, the active model is compared on the test rows, which neither model has learned from.
        subset = subsets[comparison.get("subset", report["headline"])]
        other = next(row for row in subset["rows"] if row["name"] == comparison["against"])
        comparisons.append({**comparison, "role": other["role"]})
        if not comparison["better"] and not comparison.get("peer"):
            model = next(row for row in subset["rows"] if row["role"] == "model")
            reasons.append(_reason(comparison, metric, model, other))
    if active is not None and not any(each["role"] == "active" for each in comparisons):
        reasons.append(
            f"the evaluation has no comparable figure of the active {active} on these rows (another head, or rows that "
            "it learned from); promote with --force if the change is meant"
        )
    if not any(each["role"] == "baseline" and not each.get("peer") for each in comparisons):
        reasons.append("the evaluation compares it with no baseline")
    where = f"on {headline['n']} rows in {headline['n_groups']} groups ({report['headline']})"
    facts = {"evaluation_id": evaluation.id, "metric": metric, "headline": report["headline"], "n": headline["n"],
             "n_groups": headline["n_groups"], "comparisons": comparisons}  # fmt: skip
    if reasons:
        return Verdict(False, f"{evaluation.model_version} is not better {where}: {'; '.join(reasons)}", facts)
    sentence = f"{evaluation.model_version} is better {where} than everything it was compared with"
    return Verdict(True, sentence + _peers(comparisons, metric), facts)


def _peers(comparisons: list[dict[str, Any]], metric: str) -> str:
    """What baselines on the model's own features, no simpler than it is, differ by: it need not beat them."""
    told = [
        f"{each['difference']:+.4g} from {each['against']}"
        for each in comparisons
        if each.get("peer") and each["difference"] is not None
    ]
    if not told:
        return ""
    return f", but for its peers, which read the same features and are no simpler: {metric} {', '.join(told)}"


def _reason(comparison: dict[str, Any], metric: str, model: dict[str, Any], other: dict[str, Any]) -> str:
    """In words and numbers, why a comparison speaks against the version."""
    who = f"the {'active ' if other['role'] == 'active' else 'baseline '}{other['name']}"
    mine, theirs = model["metrics"].get(metric), other["metrics"].get(metric)
    if mine is None or theirs is None or comparison["difference"] is None:
        return f"{metric} cannot be compared with {who}: it is undefined on these rows"
    text = f"{metric} {mine:.4g} against {theirs:.4g} of {who}"
    low, high = comparison["interval"] or (None, None)
    spread = "" if low is None or high is None else f", 95 % interval {low:+.4g} to {high:+.4g}"
    return f"{text} (difference {comparison['difference']:+.4g}{spread})"


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
