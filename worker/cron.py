"""Cron expressions: what they say, and when they were due. The clock itself is Celery's, which is given the same numbers.

Read here and not by Celery, whose words for a mistake name neither the field nor a cure, and which the door does without.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

EXAMPLE = "for example '30 2 * * *', which is 2:30 every night"
MAX_DAYS = 366 * 40
"""So long ago at most was any expression due: 29 February falls on a given day of the week every 28 years, and every 40
where a century year without one lies between."""
_PART = re.compile(r"(?:(?P<all>\*)|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>\d+))?", re.ASCII)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


class CronError(ValueError):
    """The expression cannot be read, or is never due; the message says which field is wrong, why, and how it is right."""


@dataclass(frozen=True)
class Cron:
    """When something is due, in UTC. Where both kinds of day are given, both must fit."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    """Of the month, from 1."""
    months: frozenset[int]
    """From 1."""
    weekdays: frozenset[int]
    """0 is Sunday."""


@dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()
    """What may stand for the numbers from `low` on."""

    def read(self, said: str) -> frozenset[int]:
        found: set[int] = set()
        for part in said.split(","):
            match = _PART.fullmatch(part)
            if match is None or (match["step"] and not match["all"] and not match["high"]):
                raise self._wrong(said, "is neither *, a number, a range as 1-5, a step as */15, nor a list of these")
            if match["step"] and int(match["step"]) == 0:
                raise self._wrong(said, "steps by 0, which leads nowhere")
            low, high = self.low, self.high
            if not match["all"]:
                low = self._number(match["low"], said)
                high = self._number(match["high"], said) if match["high"] else low
            after = high if high >= low else high + self.high - self.low + 1  # 22-4 goes on after the last one
            steps = range(low, after + 1, int(match["step"] or 1))
            found |= {self.low + (each - self.low) % (self.high - self.low + 1) for each in steps}
        return frozenset(found)

    def _number(self, text: str, said: str) -> int:
        if text.lower() in self.words:
            return self.low + self.words.index(text.lower())
        if not text.isdigit() or not self.low <= int(text) <= self.high:
            words = f" or {self.words[0]} to {self.words[-1]}" if self.words else ""
            has = "is" if text == said else f"has {text!r}, which is"
            raise self._wrong(said, f"{has} not in {self.low} to {self.high}{words}")
        return int(text)

    def _wrong(self, said: str, why: str) -> CronError:
        return CronError(f"the {self.name} {said!r} {why}; {EXAMPLE}")


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 6, _WEEKDAYS),
)


def read_cron(expression: str) -> Cron:
    """A cron expression of five fields, in UTC: minute, hour, day of the month, month, day of the week (0 is Sunday).

    A field is `*`, a number, a range, either of the first and the last with a step, or a list of these; months and days
    of the week may be named by three letters.

    Raises:
        CronError: It cannot be read, or is never due.
    """
    said = expression.split()
    if len(said) != len(_FIELDS):
        names = ", ".join(field.name for field in _FIELDS)
        count = f"{len(said)} field{'' if len(said) == 1 else 's'}"
        raise CronError(f"{expression!r} has {count}, not {len(_FIELDS)} ({names}); {EXAMPLE}")
    found = Cron(*(field.read(text) for field, text in zip(_FIELDS, said, strict=True)))
    if min(found.days) > max(29 if month == 2 else 30 + (month in (1, 3, 5, 7, 8, 10, 12)) for month in found.months):
        raise CronError(f"day of the month {said[2]!r} never comes in month {said[3]!r}; {EXAMPLE}")
    return found


def last_due(cron: Cron, now: datetime) -> datetime:
    """The last moment at or before `now`, with a time zone, at which it was due; in UTC, to the minute."""
    now = now.astimezone(UTC)
    for days in range(MAX_DAYS):
        day = (now - timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)
        if day.month not in cron.months or day.day not in cron.days or day.isoweekday() % 7 not in cron.weekdays:
            continue
        for hour in sorted(cron.hours, reverse=True):
            for minute in sorted(cron.minutes, reverse=True):
                moment = day.replace(hour=hour, minute=minute)
                if moment <= now:
                    return moment
    raise AssertionError(f"{cron} was read, so it is due now and then")
