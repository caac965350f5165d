"""Queries on evaluation reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlmodel import Session, col, select

from db.errors import NotFound
from db.queries.paging import page_rows
from db.tables import Evaluation, EvaluationCycle


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


def latest_evaluation(session: Session, model_version: str) -> Evaluation | None:
    """The newest report of a version, if any."""
    return session.exec(
        select(Evaluation)
        .where(col(Evaluation.model_version) == model_version)
        .order_by(col(Evaluation.id).desc())
        .limit(1)
    ).first()


def list_evaluations(
    session: Session, model_version: str, *, cursor: int | None = None, limit: int = 50
) -> Sequence[Evaluation]:
    """The reports of a version, newest first, from beyond the row `cursor`."""
    query = select(Evaluation).where(col(Evaluation.model_version) == model_version)
    return page_rows(session, query, col(Evaluation.id), cursor=cursor, limit=limit, newest_first=True)


def get_evaluation(session: Session, evaluation_id: int, *, model_version: str | None = None) -> Evaluation:
    """The report of this id; NotFound where there is none, or it is not of the version that is named."""
    row = session.get(Evaluation, evaluation_id)
    if row is None or model_version not in (None, row.model_version):
        what = "evaluation" if model_version is None else f"evaluation of {model_version} with the id"
        raise NotFound(what=what, key=evaluation_id)
    return row
