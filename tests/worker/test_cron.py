"""Cron expressions: what they say, refused in plain words where they are wrong, and due when beat says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from celery.schedules import crontab
from pydantic import ValidationError

from tests.conftest import environment
from worker.app import beat_of
from worker.cron import CronError, last_due, read_cron
from worker.settings import WorkerSettings

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
    start, remaining, _ = beat_of(cron).remaining_delta(due)
    assert due < start + remaining
    assert start + remaining > NOW - timedelta(seconds=NOW.second)


@pytest.mark.parametrize(
    "expression",
    [
        "* * * * *",
        "*/7 3,9 * * *",
        "5-50/9 22-4 * * fri-mon",
        "0,30 */5 2-31/3 feb,Nov *",
        "59 23 31 12 6",
        "1 1 */2 */5 0",
    ],
)
def test_an_expression_says_what_it_says_to_celery(expression: str) -> None:
    assert beat_of(read_cron(expression)) == crontab.from_string(expression)


def test_a_day_that_comes_round_after_forty_years_was_due() -> None:
    found = last_due(read_cron("0 0 29 2 mon"), datetime(2112, 1, 1, tzinfo=UTC))
    assert (found.year, found.month, found.day) == (2072, 2, 29)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("30 2 * *", "'30 2 * *' has 4 fields, not 5 (minute, hour,"),
        ("", "'' has 0 fields"),
        ("61 2 * * *", "the minute '61' is not in 0 to 59"),
        ("0 x * * *", "the hour 'x' is not in 0 to 23"),
        ("0 0 0 * *", "the day of the month '0' is not in 1 to 31"),
        ("0 0 * 1,13 *", "the month '1,13' has '13', which is not in 1 to 12 or jan to dec"),
        ("0 0 * * 7", "the day of the week '7' is not in 0 to 6 or sun to sat"),
        ("*/0 * * * *", "the minute '*/0' steps by 0"),
        ("5/10 * * * *", "the minute '5/10' is neither *, a number, a range"),
        ("1- * * * *", "the minute '1-' is neither"),
        ("\u0663 * * * *", "is neither"),
        ("0 0 31 2 *", "day of the month '31' never comes in month '2'"),
        ("0 0 31 4,6 *", "never comes"),
    ],
)
def test_what_is_no_cron_expression_is_refused_with_field_reason_and_example(expression: str, words: str) -> None:
    with pytest.raises(CronError) as told:
        read_cron(expression)
    assert words in str(told.value)
    assert "for example '30 2 * * *'" in str(told.value)


def test_the_settings_refuse_what_is_no_cron_expression_in_plain_words() -> None:
    with environment(AFTERGLOW_EVALUATE_CRON="30 25 * * *"), pytest.raises(ValidationError) as told:
        WorkerSettings()
    (wrong,) = told.value.errors()
    assert wrong["loc"] == ("AFTERGLOW_EVALUATE_CRON",)
    assert wrong["msg"] == (
        "the hour '25' is not in 0 to 23; for example '30 2 * * *', which is 2:30 every night, or 'off' for never"
    )
    with environment(AFTERGLOW_EVALUATE_CRON="off"):
        assert not WorkerSettings().evaluates
