"""Cron expressions: read as beat reads them, and due when beat says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from worker.cron import CronError, last_due, read_cron

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)  # a Wednesday


@pytest.mark.parametrize(
    ("expression", "due"),
    [
        ("* * * * *", "2026-03-04T05:06"),
        ("6 5 * * *", "2026-03-04T05:06"),
        ("7 5 * * *", "2026-03-03T05:07"),
        ("*/15 2-4 * * *", "2026-03-04T04:45"),
        ("30 2 * * 0", "2026-03-01T02:30"),
        ("30 2 * * mon", "2026-03-02T02:30"),
        ("0 0 1 1 *", "2026-01-01T00:00"),
        ("0 12 29 2 *", "2024-02-29T12:00"),
    ],
)
def test_the_last_due_moment(expression: str, due: str) -> None:
    found = last_due(read_cron(expression), NOW)
    assert found == datetime.fromisoformat(due).replace(tzinfo=UTC)


@pytest.mark.parametrize("expression", ["*/7 3,9 * * *", "5 * * * 2-4", "0 6 13 * *"])
def test_beat_is_next_due_after_it_and_not_before_now(expression: str) -> None:
    cron = read_cron(expression)
    due = last_due(cron, NOW)
    start, remaining, _ = cron.remaining_delta(due)
    assert due < start + remaining
    assert start + remaining > NOW - timedelta(seconds=NOW.second)


@pytest.mark.parametrize(
    ("expression", "word"),
    [("30 2 * *", "4 fields"), ("61 2 * * *", "61"), ("x * * * *", "x"), ("0 0 31 2 *", "never"), ("", "0 fields")],
)
def test_what_is_no_cron_expression_is_refused_with_the_reason(expression: str, word: str) -> None:
    with pytest.raises(CronError, match=word):
        read_cron(expression)
