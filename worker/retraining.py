"""A retrain cycle: labels as they are now to a new version, and to its promotion, or to the reason why not.

It is a chain of jobs, each of which submits the next one when it succeeds. Its first job holds what was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from db.errors import Conflict, NotFound
from db.queries import jobs, models
from db.queries.job_chains import chain_of, first_job
from db.tables import Evaluation, Job
from db.tables.jobs import RETRIABLE_STATES
from ml.judgements import judgement
from ml.training.recipe import Recipe, make_recipe
from worker.queue import check_head, submit
from worker.settings import worker_settings

STEPS = ("retrain", "train", "export_onnx", "evaluate", "gate")
"""Kinds of the jobs of a cycle, in order: the first one exports the dataset."""


@dataclass(frozen=True)
class RetrainRequest:
    """What is asked for."""

    kind: str
    changes: dict[str, Any]
    """Recipe keys that differ from `recipe_of`."""
    promote: bool = True
    """Promote the version if the gate allows it; else it stays a candidate, with the gate's verdict."""
    force: bool = False
    """Promote it though the gate says no."""
    notes: str | None = None

    def to_params(self, by: str) -> dict[str, Any]:
        """Parameters of the first job; `by` says who asks."""
        return {"kind": self.kind, "recipe": self.changes, "promote": self.promote, "force": self.force,
                "notes": self.notes, "by": by}  # fmt: skip


def recipe_of(session: Session, kind: str, changes: dict[str, Any]) -> Recipe:
    """The recipe of the version that serves, or where none was trained here the kind's, with what differs from it.

    Raises:
        RecipeError: A key is unknown, or its value out of range.
        JudgementError: The kind has no such head.
    """
    layers = [{"threads": worker_settings().train_threads}, dict(judgement(kind).recipe_defaults)]
    active = models.active_version(session, kind)
    if active is not None:
        layers.append(models.get_run(session, active.training_run_id).params_json.get("recipe", {}))
    recipe = make_recipe(*layers, changes)
    check_head(kind, recipe)
    return recipe


def submit_retraining(
    session: Session,
    request: RetrainRequest,
    *,
    by: str,
    idempotency_key: str | None = None,
    priority: int | None = None,
) -> tuple[Job, bool]:
    """Submit the first job of a cycle; a known key gives the cycle that it began. Returns it and whether it is new.

    Raises:
        RecipeError: The recipe cannot be used.
        JudgementError: The kind has no such head.
        Conflict: The key began a cycle that asked for something else.
    """
    recipe_of(session, request.kind, request.changes)
    params = request.to_params(by)
    job, is_new = submit(session, STEPS[0], params, idempotency_key=idempotency_key, priority=priority)
    if not is_new and {**job.params, "by": by} != params:
        raise Conflict(
            f"the key {ascii(idempotency_key)[:100]} was used before, for a retraining with another body, which made "
            f"job {job.id}: use a new key for a new one"
        )
    return job, is_new


def submit_gate(session: Session, evaluate_job_id: int, evaluation: Evaluation) -> None:
    """Submit the last job of a cycle after its evaluation; nothing where the evaluation is of no cycle."""
    first = first_job(session, evaluate_job_id)
    if first.kind == STEPS[0]:
        asked = {key: first.params[key] for key in ("promote", "force", "by")}
        params = {"model_version": evaluation.model_version, "evaluation_id": evaluation.id, **asked}
        submit(session, STEPS[-1], params, parent_id=evaluate_job_id)


@dataclass(frozen=True)
class RetrainCycle:
    """How far a retrain cycle is, and how it ended."""

    job_id: int
    """Its first job."""
    state: str
    """`running` while something is left to do; `promoted` or `not-promoted`; `nothing-new` where the version that serves was
    trained on the same rows by the same recipe; or how the link ended that broke the chain: `failed`, `cancelled`, `dead`.
    """
    progress: float
    """In [0, 1], over all its links."""
    model_version: str | None
    """The version that it makes, once the dataset is exported."""
    dataset_id: int | None
    reason: str | None
    """Why it was promoted or not, or what broke the chain and how to go on."""
    verdict: dict[str, Any] | None
    """What the gate found, in words and numbers."""
    jobs: Sequence[Job]
    """In the order of their submission, those that were tried again too."""


def cycle_of(session: Session, job_id: int) -> RetrainCycle:
    """The cycle that began with this job.

    Raises:
        NotFound: There is no such job, or it began no cycle.
    """
    if jobs.get_job(session, job_id).kind != STEPS[0]:
        raise NotFound(what="retrain cycle that began with job", key=job_id)
    chain = chain_of(session, job_id)
    last = chain[-1]  # a chain has one end: a link is followed or tried again, and by one job
    exported = next((job.result for job in chain if job.kind == STEPS[0] and job.result), {})
    state, reason, verdict = "running", None, None
    if last.state in RETRIABLE_STATES:
        told = str(last.reason or "before it began").rstrip(".")
        state = last.state
        reason = f"job {last.id} ({last.kind}) {state}: {told}. `afterglow jobs retry {last.id}` goes on from there."
    elif last.kind == STEPS[-1] and last.result is not None:
        state = "promoted" if last.result["promoted"] else "not-promoted"
        reason, verdict = last.result["reason"], last.result["verdict"]
    elif "reason" in exported:
        state, reason = "nothing-new", exported["reason"]
    return RetrainCycle(
        job_id=job_id,
        state=state,
        progress=1.0 if state == "nothing-new" else (STEPS.index(last.kind) + last.progress) / len(STEPS),
        model_version=exported.get("model_version"),
        dataset_id=exported.get("dataset_id"),
        reason=reason,
        verdict=verdict,
        jobs=chain,
    )
