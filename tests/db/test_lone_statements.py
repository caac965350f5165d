"""Statements that are each a unit of work: what is written once, and what becomes of a connection that died."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlmodel import col, select

from db.engine import LoneStatements, session_scope
from db.queries.scoring import add_lone_events
from db.tables import ScoringEvent


@pytest.fixture
def statements(database: str) -> Iterator[LoneStatements]:
    made = LoneStatements()
    yield made
    made.close()


def event(kind: str, raw_score: float | None) -> dict[str, Any]:
    reason = "truncated: cut" if raw_score is None else None
    return {"kind": kind, "image_sha256": None, "model_version": None, "raw_score": raw_score,
            "path_taken": "onnx" if reason is None else "unscored", "reason": reason}  # fmt: skip


def events_of(kind: str) -> list[ScoringEvent]:
    with session_scope() as session:
        found = session.exec(select(ScoringEvent).where(col(ScoringEvent.kind) == kind).order_by(col(ScoringEvent.id)))
        return list(found)


def backend(statements: LoneStatements) -> int:
    return int(statements.run("SELECT pg_backend_pid()", {})[0][0])


def test_events_are_committed_with_their_ids_in_order(statements: LoneStatements) -> None:
    kind = uuid.uuid4().hex
    scores = [0.5, None, 0.1, 0.1 + 0.2]
    ids = add_lone_events(statements, [event(kind, score) for score in scores])
    rows = events_of(kind)
    assert [row.id for row in rows] == ids
    assert [row.raw_score for row in rows] == scores
    assert [row.captured for row in rows] == [False] * 4
    assert len({row.scored_at for row in rows}) == 1


def test_the_connection_is_kept(statements: LoneStatements) -> None:
    assert backend(statements) == backend(statements)


def test_of_a_refused_statement_nothing_is_written(statements: LoneStatements) -> None:
    kind = uuid.uuid4().hex
    with pytest.raises(IntegrityError):
        add_lone_events(statements, [event(kind, 0.5), event(kind, 7.0)])
    assert events_of(kind) == []
    add_lone_events(statements, [event(kind, 0.5)])
    assert len(events_of(kind)) == 1


def test_a_connection_that_died_while_idle_is_replaced(statements: LoneStatements) -> None:
    kind, pid = uuid.uuid4().hex, backend(statements)
    with session_scope() as session:
        # Waits for the end, so that its news have come.
        session.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})
    add_lone_events(statements, [event(kind, 0.5)])
    assert len(events_of(kind)) == 1
    assert backend(statements) != pid


def test_a_statement_whose_answer_is_lost_is_not_sent_again(statements: LoneStatements) -> None:
    with session_scope() as session:
        session.execute(text("CREATE SEQUENCE sent"))
    try:
        with pytest.raises(OperationalError):
            # What a sequence has given out stays given out, whatever becomes of the statement.
            statements.run("SELECT nextval('sent'), pg_terminate_backend(pg_backend_pid()), pg_sleep(5)", {})
        assert statements.run("SELECT last_value FROM sent", {})[0][0] == 1
    finally:
        with session_scope() as session:
            session.execute(text("DROP SEQUENCE sent"))
