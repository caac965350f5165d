"""Cron expressions: when they are due, by Celery's own reading, so that beat and slots never differ."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from celery.schedules import crontab

MAX_DAYS = 366 * 4 + 1
"""An expression that was not due for so long never is: even 29 February comes round."""


class CronError(ValueError):
    """The expression cannot be read, or is never due; the message says why."""


def read_cron(expression: str) -> crontab:
    """A cron expression of five fields, in UTC: minute, hour, day of the month, month, day of the week (0 is Sunday).

    Where both kinds of day are given, both must fit.

    Raises:
        CronError: It cannot be read, or is never due.
    """
    fields = expression.split()
    if len(fields) != 5:
        raise CronError(
            f"{expression!r} is not a cron expression: it has {len(fields)} fields, not 5, as '30 2 * * *' has"
        )
    try:
        found = crontab.from_string(" ".join(fields))
    except ValueError as error:
        raise CronError(f"{expression!r} is not a cron expression: {error}") from error
    last_due(found, datetime.now(UTC))
    return found


def last_due(cron: crontab, now: datetime) -> datetime:
    """The last moment at or before `now`, with a time zone, at which it was due; in UTC, to the minute.

    Raises:
        CronError: It never is.
    """
    now = now.astimezone(UTC)
    for days in range(MAX_DAYS):
        day = (now - timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)
        if (
            day.month not in cron.month_of_year
            or day.day not in cron.day_of_month
            or day.isoweekday() % 7 not in cron.day_of_week
        ):
            continue
        for hour in sorted(cron.hour, reverse=True):
            for minute in sorted(cron.minute, reverse=True):
                moment = day.replace(hour=hour, minute=minute)
                if moment <= now:
                    return moment
    raise CronError(f"{cron._orig_day_of_month} {cron._orig_month_of_year} is a day that never comes")
