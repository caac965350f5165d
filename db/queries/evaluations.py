"""Queries on evaluation reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlmodel import Session, col, select

from db.errors import NotFound
from db.queries import models
from db.queries.paging import page_rows
from db.tables import Evaluation, EvaluationCycle, ModelActivation, ModelVersion


def add_evaluation(session: Session, **facts: Any) -> Evaluation:
    """Append a report."""
    row = Evaluation(**facts)
    session.add(row)
    session.flush()
    return row


def add_cycle(session: Session, **facts: Any) -> EvaluationCycle:
    """Append a cycle; its evaluations are added after it."""
    row = EvaluationCycle(**facts)
    session.add(row)
    session.flush()
    return row


def cycle_versions(session: Session, kind: str) -> dict[str, ModelVersion]:
    """Role -> version that a cycle of now is about: `active`, and `previous` and `candidate` where there are any.

    The previous one is what served last before the active one; the candidate is the newest version that never served, and
    newer than the active one: an older one had its chance. Empty where nothing serves.
    """
    active = models.active_version(session, kind)
    if active is None:
        return {}
    served = [row.model_version for row in models.activations(session, kind)]
    found = {"active": active}
    if before := next((name for name in served if name != active.model_version), None):
        found["previous"] = models.get_version(session, before)
    newer = (
        select(ModelVersion)
        .where(col(ModelVersion.kind) == kind, col(ModelVersion.id) > active.id)
        .where(col(ModelVersion.model_version).not_in(select(ModelActivation.model_version)))
        .order_by(col(ModelVersion.id).desc())
        .limit(1)
    )
    if (candidate := session.exec(newer).first()) is not None:
        found["candidate"] = candidate
    return found


def find_cycle(session: Session, job_id: int) -> EvaluationCycle | None:
    """The cycle that this job made, once it has ended well."""
    return session.exec(select(EvaluationCycle).where(col(EvaluationCycle.job_id) == job_id)).one_or_none()


def get_cycle(session: Session, cycle_id: int) -> EvaluationCycle:
    """The cycle of this id, or NotFound."""
    row = session.get(EvaluationCycle, cycle_id)
    if row is None:
        raise NotFound(what="evaluation cycle", key=cycle_id)
    return row


def list_cycles(
    session: Session, *, kind: str | None = None, cursor: int | None = None, limit: int = 50
) -> Sequence[EvaluationCycle]:
    """Cycles, newest first, from beyond the row `cursor`."""
    query = select(EvaluationCycle)
    if kind is not None:
        query = query.where(col(EvaluationCycle.kind) == kind)
    return page_rows(session, query, col(EvaluationCycle.id), cursor=cursor, limit=limit, newest_first=True)


def latest_evaluation(session: Session, model_version: str) -> Evaluation | None:
    """The newest report of a version, if any."""
    return session.exec(
        select(Evaluation)
        .where(col(Evaluation.model_version) == model_version)
        .order_by(col(Evaluation.id).desc())
        .limit(1)
    ).first()


@dataclass(frozen=True)
class EvaluationHead:
    """An evaluation without all that its report has beside the headline."""

    id: int
    model_version: str
    kind: str
    method: str
    compared_with: str | None
    cycle_id: int | None
    role: str | None
    created_at: datetime
    report: dict[str, Any]
    """`headline`, `primary`, and of `subsets` the headline's alone."""


_HEAD = """
    SELECT id, model_version, kind, method, compared_with, cycle_id, role, created_at,
           jsonb_build_object('headline', report -> 'headline', 'primary', report -> 'primary', 'subsets',
               jsonb_build_object(report ->> 'headline', report -> 'subsets' -> (report ->> 'headline'))) AS report
    FROM evaluations WHERE report ->> 'headline' IS NOT NULL
"""


def latest_heads(session: Session, model_versions: Iterable[str]) -> dict[str, EvaluationHead]:
    """Version -> the head of its newest report, for those that have one."""
    rows = session.execute(
        text(
            f"SELECT DISTINCT ON (model_version) * FROM ({_HEAD} AND model_version = ANY(:names)) one "
            "ORDER BY model_version, id DESC"
        ),
        {"names": list(model_versions)},
    )
    return {row["model_version"]: EvaluationHead(**row) for row in rows.mappings()}


def list_heads(
    session: Session, *, kind: str | None = None, cursor: int | None = None, limit: int = 50
) -> list[EvaluationHead]:
    """The heads of all reports (of a kind), newest first, from beyond the row `cursor`."""
    rows = session.execute(
        text(
            f"{_HEAD} AND (CAST(:kind AS text) IS NULL OR kind = :kind) "
            "AND (CAST(:cursor AS bigint) IS NULL OR id < :cursor) ORDER BY id DESC LIMIT :limit"
        ),
        {"kind": kind, "cursor": cursor, "limit": limit},
    )
    return [EvaluationHead(**row) for row in rows.mappings()]


def gate_evaluation(session: Session, version: ModelVersion) -> Evaluation | None:
    """The newest report that decides on promotion: on the frozen rows of the version's own run, if any.

    Those of cycles and of current labels are passed over: their rows change from night to night, and the gate's limits are
    for rows that were set aside before anybody trained. A version from elsewhere has no rows of its own, so there it is the
    newest one of no cycle.
    """
    frozen = models.get_run(session, version.training_run_id).manifest_sha256
    query = select(Evaluation).where(
        col(Evaluation.model_version) == version.model_version, col(Evaluation.cycle_id).is_(None)
    )
    if frozen is not None:
        query = query.where(col(Evaluation.manifest_sha256) == frozen)
    return session.exec(query.order_by(col(Evaluation.id).desc()).limit(1)).first()


def list_evaluations(
    session: Session,
    model_version: str | None = None,
    *,
    kind: str | None = None,
    cycle_id: int | None = None,
    role: str | None = None,
    cursor: int | None = None,
    limit: int = 50,
) -> Sequence[Evaluation]:
    """Reports (of a version, a kind, a cycle, a role), newest first, from beyond the row `cursor`."""
    query = select(Evaluation)
    for column, wanted in (
        (Evaluation.model_version, model_version), (Evaluation.kind, kind),
        (Evaluation.cycle_id, cycle_id), (Evaluation.role, role),
    ):  # fmt: skip
        if wanted is not None:
            query = query.where(col(column) == wanted)
    return page_rows(session, query, col(Evaluation.id), cursor=cursor, limit=limit, newest_first=True)


def get_evaluation(session: Session, evaluation_id: int, *, model_version: str | None = None) -> Evaluation:
    """The report of this id; NotFound where there is none, or it is not of the version that is named."""
    row = session.get(Evaluation, evaluation_id)
    if row is None or model_version not in (None, row.model_version):
        what = "evaluation" if model_version is None else f"evaluation of {model_version} with the id"
        raise NotFound(what=what, key=evaluation_id)
    return row
