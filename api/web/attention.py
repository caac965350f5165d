"""What wants somebody's attention now: each with what it is, and where something can be done about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlmodel import Session

from api.web.words import counted
from db.queries import evaluations, job_workers, jobs, models
from db.queries.backlog import backlog
from db.queries.label_queue import MANY, count_queue
from db.queries.scored_windows import attempts_between
from db.queries.webcams import database_time
from ml.judgements import kinds
from worker.stages.promote import judge_promotion

UNSCORED_WITHIN = timedelta(hours=24)
_REASONS = 3
"""Of what failed or was not scored, as many reasons are told."""


@dataclass(frozen=True)
class Notice:
    """One thing that wants attention."""

    title: str
    says: str
    path: str
    link: str
    """What the link says."""
    urgent: bool = False
    """Something is broken, rather than waiting."""


def who_works(session: Session) -> dict[str, Any]:
    """What a page says when jobs wait for nobody: `has_dispatcher`, and the queues that no worker takes jobs from."""
    return {
        "has_dispatcher": job_workers.count_dispatchers(session) > 0,
        "unserved": job_workers.unserved_queues(session),
    }


def notices(session: Session, rater: str) -> list[Notice]:
    """All of them, what is broken first; `rater` is whose labels are counted."""
    found = [*_failed_jobs(session), *_labels(session, rater)]
    for kind in kinds():
        found += [
            *_unscored(session, kind),
            *_drift(session, kind),
            *_candidate(session, kind),
            *_disagreements(session, kind),
        ]
    return sorted(found, key=lambda each: not each.urgent)


def _failed_jobs(session: Session) -> Iterator[Notice]:
    failed = jobs.recent_failures(session)
    if failed:
        told = "; ".join(f"{job.kind}: {job.reason or 'no reason was given'}" for job in failed[:_REASONS])
        states = {job.state for job in failed}
        path = f"/jobs/{failed[0].id}" if len(failed) == 1 else "/jobs"
        if len(failed) > 1 and len(states) == 1:
            path += f"?state={failed[0].state}"
        yield Notice(f"{counted(len(failed), 'job')} failed in the last week", told, path, "See why", urgent=True)


def _labels(session: Session, rater: str) -> Iterator[Notice]:
    counts = count_queue(session, rater)
    if counts.waiting:
        number = (
            f"{MANY} frames or more have"
            if counts.waiting >= MANY
            else counted(counts.waiting, "frame has", "frames have")
        )
        yield Notice(
            f"{number} no label", f"You have rated {counted(counts.rated, 'frame')} so far.", "/label", "Label"
        )


def _unscored(session: Session, kind: str) -> Iterator[Notice]:
    now = database_time(session)
    attempts = Counter[str]()
    for (_, outcome), number in attempts_between(session, kind, now - UNSCORED_WITHIN, now).items():
        attempts[outcome] += number
    reasons = {outcome: n for outcome, n in attempts.most_common() if outcome.startswith("unscored: ")}
    missed, tried = sum(reasons.values()), sum(attempts.values())
    if missed:
        told = ", ".join(f"{name.removeprefix('unscored: ')} {n}" for name, n in list(reasons.items())[:_REASONS])
        title = f"{missed} of {counted(tried, f'{kind} score')} could not be given in the last 24 hours"
        yield Notice(title, told, "/webcams?unscored=true", "See the webcams", urgent=True)


def _drift(session: Session, kind: str) -> Iterator[Notice]:
    for cycle in evaluations.list_cycles(session, kind=kind, limit=1):
        drift = cycle.summary.get("score_drift") or {}
        if drift.get("drift"):
            told = (
                f"Index {drift['value']:.2f}, by chance up to {drift['chance']:.2f} (p {drift['p_value']:.3f}): "
                f"{drift['n_current']} frames of the last week beside {drift['n_reference']} before it, "
                f"{counted(drift['n_webcams'], 'webcam')}."
            )
            yield Notice(f"Scores of the {kind} model drift", told, "/evaluations", "See the evaluations", urgent=True)


def _candidate(session: Session, kind: str) -> Iterator[Notice]:
    candidate = evaluations.cycle_versions(session, kind).get("candidate")
    if candidate is not None:
        verdict = judge_promotion(session, candidate.model_version)
        said = "The gate allows it" if verdict.allowed else "The gate says no"
        path = f"/models/{candidate.model_version}"
        yield Notice(f"{candidate.model_version} waits for promotion", f"{said}: {verdict.sentence}.", path, "Decide")
    elif models.active_version(session, kind) is None and models.list_versions(session, kind=kind, limit=1):
        yield Notice(
            f"No {kind} model serves", "There are versions, and none was promoted.", "/models", "Choose one", True
        )


def _disagreements(session: Session, kind: str) -> Iterator[Notice]:
    known = backlog(session, kind)
    if known.open:
        told = "People and the model are far apart there, or chance drew them. The label queue brings them."
        yield Notice(f"{counted(known.open, 'frame')} of {kind} review sets wait for an answer", told,
                   "/disagreements", "Look through them")  # fmt: skip
    if known.settled:
        told = f"{known.model_version} has not learned from them: `afterglow retrain {kind}` makes a version that has."
        yield Notice(f"{counted(known.settled, 'answer')} of review sets {'is' if known.settled == 1 else 'are'} new",
                   told, "/models", "See the models")  # fmt: skip
