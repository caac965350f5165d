"""An evaluation cycle: the version that serves, the one before it and the newest candidate, measured on the same rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlmodel import Session

from db.engine import session_scope
from db.queries import evaluations
from db.tables import ModelVersion
from ml.bundle import BundleError
from ml.disagreements import Wanted
from ml.images.store import FileStore
from ml.manifest import manifest_sha256
from worker.jobs import Finish, JobContext, JobFailed
from worker.places import file_store, work_directory
from worker.queue import submit
from worker.stages.evaluate import Judged, measure
from worker.stages.fresh_rows import FreshRows, fresh_rows
from worker.stages.recent_frames import recent_frames
from worker.stages.recent_scores import recent_scores

ACTIVE = "active"


def run(context: JobContext) -> Finish:
    """The job `evaluate_cycle`: parameters `kind`, `by`, and `slot` where the schedule asks.

    One set of rows, out of which everything went that one of the versions learned from, judges them all. The cycle and its
    evaluations are one transaction, and so is the job that finds what the active version and people see differently.
    """
    store, params = file_store(), context.params
    kind = str(params["kind"])
    with session_scope() as session:
        versions = evaluations.cycle_versions(session, kind)
    if not versions:
        raise JobFailed(f"no version of {kind} serves yet, so there is nothing to evaluate: promote one first")
    found = fresh_rows(context, store, list(versions.values()))
    context.progress(0.35, "comparing recent scores with those before")
    with session_scope() as session:
        known = {**_known(params, versions, found), **recent_scores(session, versions[ACTIVE])}
    directory = work_directory(context.claim.job_id, context.claim.attempt)
    known["input_drift"] = recent_frames(context, store, known["windows"], directory, (0.35, 0.4))
    facts, left_out = _measure_all(context, store, versions, found, known)
    result: dict[str, Any] = {"versions": {role: row["model_version"] for role, row in facts.items()}}
    apart = {role: row["report"]["disagreement"]["overall"] for role, row in facts.items()}

    def effects(session: Session) -> None:
        cycle = evaluations.add_cycle(
            session,
            kind=kind,
            slot=params.get("slot"),
            job_id=context.claim.job_id,
            dataset_id=found.dataset_id,
            manifest_sha256=manifest_sha256(found.rows),
            created_by=str(params["by"]),
            params={**known["versions"]},
            summary={**known, "left_out": left_out, "disagreement": apart},
        )
        rows = {
            role: evaluations.add_evaluation(session, **row, cycle_id=cycle.id, role=role)
            for role, row in facts.items()
        }
        result.update(cycle_id=cycle.id, evaluation_ids={role: row.id for role, row in rows.items()})
        asked = {"kind": kind, "model_version": versions[ACTIVE].model_version, "seed": cycle.id, "cycle_id": cycle.id}
        submit(session, "find_disagreements", {**asked, **asdict(Wanted())}, parent_id=context.claim.job_id)

    return Finish(result, effects)


def _known(params: Mapping[str, Any], versions: Mapping[str, ModelVersion], found: FreshRows) -> dict[str, Any]:
    """What every report of the cycle says of it."""
    return {
        "slot": params.get("slot"),
        "versions": {role: version.model_version for role, version in versions.items()},
        "rows": {
            "judging": sum(row.split == "test" for row in found.rows),
            "learned": found.num_learned,
            "learned_missing": found.num_learned_missing,
            "excluded": dict(
                sorted(Counter(row.exclusion_reason for row in found.rows if row.exclusion_reason).items())
            ),
        },
    }


def _measure_all(
    context: JobContext,
    store: FileStore,
    versions: Mapping[str, ModelVersion],
    found: FreshRows,
    known: Mapping[str, Any],
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Role -> facts of its evaluation; and role -> why not, where a version beside the active one has damaged files."""
    judged = Judged(found.rows, found.dataset_id, True, versions[ACTIVE])
    facts: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}
    for place, (role, version) in enumerate(versions.items()):
        span = (0.4 + 0.6 * place / len(versions), 0.4 + 0.6 * (place + 1) / len(versions))
        try:
            facts[role] = measure(context, store, version, judged, span=span, place=role, cycle={**known, "role": role})
        except BundleError as error:
            if role == ACTIVE:
                raise
            left_out[role] = str(error)
    return facts, left_out
