"""How pages say times and figures."""

from __future__ import annotations

from datetime import UTC, datetime

DAYS_AGO = 60
"""Longer ago than this, a day says more than how many there were since."""
_STEPS = ((60.0, "s"), (60.0, "min"), (24.0, "h"), (365.0, "d"))


def span(seconds: float) -> str:
    """A length of time in its largest unit: `40 s`, `5 min`, `3 h`, `12 d`."""
    left = max(0.0, seconds)
    for most, unit in _STEPS:
        if left < most or unit == "d":
            return f"{int(left)} {unit}"
        left /= most
    raise AssertionError("days have no end")


def ago(moment: datetime) -> str:
    """How long ago a moment was, or its day; `now` where the database's clock is ahead of ours."""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    if seconds > DAYS_AGO * 86400:
        return f"{moment.astimezone(UTC):%Y-%m-%d}"
    return "now" if seconds < 1 else f"{span(seconds)} ago"


def stamp(moment: datetime) -> str:
    """A moment in UTC, to the minute."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"


def figure(value: float | None, digits: int = 2) -> str:
    """A figure, or a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def interval(ends: tuple[float, float] | list[float] | None, digits: int = 2) -> str:
    """An interval in words, or nothing."""
    return "" if ends is None else f"{figure(ends[0], digits)} to {figure(ends[1], digits)}"


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 job`, `2 jobs`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def pairs(values: list[str]) -> list[tuple[str, str]]:
    """Values that are also their own words, for a list to choose from."""
    return [(value, value) for value in values]


FILTERS = {
    "ago": ago,
    "stamp": stamp,
    "figure": figure,
    "interval": interval,
    "counted": counted,
    "span": span,
    "pairs": pairs,
}
"""What templates may use, by name."""
