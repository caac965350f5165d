"""What may shadow at all."""

from __future__ import annotations

import pytest

from db.engine import session_scope
from db.errors import Conflict, NotFound
from db.queries import jobs, shadows
from tests.builders import make_version
from worker.shadowing import start_shadow, stop_shadow


def test_without_an_active_version_there_is_nothing_to_shadow(database: str) -> None:
    with session_scope() as session:
        alone = make_version(session).model_version
    with session_scope() as session, pytest.raises(Conflict, match="no rating version is active"):
        start_shadow(session, alone, by="test")
    with session_scope() as session:
        assert shadows.shadows(session) == {}
        assert jobs.count_jobs(session) == {}


def test_an_unknown_version_neither_starts_nor_stops(database: str) -> None:
    for act in (start_shadow, stop_shadow):
        with session_scope() as session, pytest.raises(NotFound, match="nobody"):
            act(session, "nobody", by="test")
