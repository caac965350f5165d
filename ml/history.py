"""What versions reached over time: one point an evaluation, the primary metric beside the best baseline on the same rows.

Rows differ from one evaluation to the next unless both are of one cycle, so a step in a line is the version or the rows;
the baseline beside it moves with the rows alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from ml import plots
from ml.plots import Line
from ml.report import BASELINE, figures, headline_table, model_row
from ml.report_page import environment

MAX_VERSIONS = 4
"""Lines of a plot: the versions that were evaluated last."""
_LOOKS = (("disc", "solid"), ("square", "dashed"), ("diamond", "dotted"), ("triangle", "solid"))
APART_PX = 10.0
"""Versions of one cycle have one moment: they are drawn so far from one another, or their intervals would be one line."""
BASELINE_SIZE = 4.0
SECONDS = {"hours": 3600.0, "days": 86400.0}


def point_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """The headline of a report as one point.

    Returns:
        `metric`, `higher_is_better`, `subset`, `n`, `n_groups`, `value` and its 95 % `interval`, and of the best baseline
        on the same rows `baseline`: `name`, `value`, `interval`, or null. What is undefined is null.
    """
    table, metric = headline_table(report), report["primary"]["name"]
    higher = bool(report["primary"].get("higher_is_better"))
    known = [row for row in table["rows"] if row["role"] == BASELINE and row["metrics"][metric] is not None]
    best = sorted(known, key=lambda row: row["metrics"][metric], reverse=higher)[:1]
    return {
        "metric": metric,
        "higher_is_better": higher,
        "subset": report["headline"],
        "n": table["n"],
        "n_groups": table["n_groups"],
        **figures(model_row(table), metric),
        "baseline": {"name": best[0]["name"], **figures(best[0], metric)} if best else None,
    }


def history_page(kind: str, points: Sequence[Mapping[str, Any]]) -> str:
    """The points of a kind as one HTML page that needs nothing else.

    Args:
        kind: of judgement.
        points: as `point_of` makes them, each with `model_version`, `created_at` (ISO 8601), `evaluation_id` and, where it
            is of a cycle, `role`; newest first.
    """
    metrics = list(dict.fromkeys(point["metric"] for point in points))
    drawn = [history_plot(metric, [each for each in points if each["metric"] == metric]) for metric in metrics]
    return environment().get_template("history.html.j2").render(kind=kind, points=points, plots=drawn)


def history_plot(metric: str, points: Sequence[Mapping[str, Any]]) -> Markup | None:
    """One line a version with its intervals, and the best baseline of each moment; None where nothing is known."""
    known = sorted((each for each in points if each["value"] is not None), key=lambda each: str(each["created_at"]))
    if not known:
        return None
    start = _moment(known[0])
    versions = list(dict.fromkeys(each["model_version"] for each in reversed(known)))[:MAX_VERSIONS]
    judged = [each for each in known if each["model_version"] in versions]
    seconds = max((_moment(each) - start).total_seconds() for each in judged)
    unit = "days" if seconds > SECONDS["days"] else "hours"
    whole = seconds / SECONDS[unit] or 1.0
    apart = APART_PX / (plots.WIDTH - plots.LEFT - plots.RIGHT) * whole
    lines = [
        _line(
            version, [each for each in judged if each["model_version"] == version], start, unit,
            (place - (len(versions) - 1) / 2) * apart, _LOOKS[place],
        )
        for place, version in enumerate(versions)
    ]  # fmt: skip
    beside = {(_since(each, start, unit), float(each["baseline"]["value"])) for each in judged if each["baseline"]}
    ends = [end for each in judged for end in (each["interval"] or [each["value"]])] + [value for _, value in beside]
    low, high = min(ends), max(ends)
    room = (high - low) * 0.06 or 0.1
    axes = plots.plain_axes((-MAX_VERSIONS * apart, whole + MAX_VERSIONS * apart), (low - room, high + room))
    drawn = [plots.mark("cross", axes[0].at(a), axes[1].at(b), BASELINE_SIZE) for a, b in sorted(beside)]
    said = "; ".join(f"{each['model_version']} {each['value']:.3f}, n {each['n']}" for each in judged)
    names = (f"{unit} since {start:%Y-%m-%d %H:%M} UTC", metric)
    signs = [(plots.mark("cross", 9, 0, BASELINE_SIZE), "best baseline on the same rows")] if beside else []
    return plots.lines_plot(f"{metric} by version over time", said, lines, axes, names, drawn, extra_signs=signs)


def _line(
    version: str, points: Sequence[Mapping[str, Any]], start: datetime, unit: str, shift: float, look: tuple[str, str]
) -> Line:
    spread = [tuple(each["interval"]) if each["interval"] else None for each in points]
    places = [(_since(each, start, unit) + shift, float(each["value"])) for each in points]
    return Line(version, places, look[0], look[1], spread)


def _moment(point: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(str(point["created_at"])).astimezone(UTC)


def _since(point: Mapping[str, Any], start: datetime, unit: str) -> float:
    return (_moment(point) - start).total_seconds() / SECONDS[unit]
