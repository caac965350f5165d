"""The figure of a webcam's page: what a model and what people said of its frames over time."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from db.tables import WebcamSnapshot
from ml import plots

STARS = (0.0, 5.0)
SECONDS_A_DAY = 86400.0


def scores_over_time(snapshots: Sequence[WebcamSnapshot], good_from: float) -> Markup | None:
    """AI ratings as a line and people's means as squares, over the days; None where nothing was said of two frames."""
    taken = sorted(snapshots, key=lambda each: each.captured_at)
    said = [each for each in taken if each.ai_rating is not None or each.calculated_rating is not None]
    if len(said) < 2:
        return None
    start = said[0].captured_at
    days = [(each.captured_at - start).total_seconds() / SECONDS_A_DAY for each in said]
    by_model = [(day, each.ai_rating) for day, each in zip(days, said, strict=True) if each.ai_rating is not None]
    by_people = [
        (day, each.calculated_rating)
        for day, each in zip(days, said, strict=True)
        if each.calculated_rating is not None
    ]
    axes = plots.plain_axes((0.0, days[-1] or 1.0), STARS)
    x, y = axes
    line = plots.line(x.start, y.at(good_from), x.end, y.at(good_from), "line dashed")
    people = plots.series("people", [plots.mark("square", x.at(a), y.at(b)) for a, b in by_people])
    description = f"{len(by_model)} frames with a score, {len(by_people)} with ratings; good from {good_from:g} on."
    return plots.lines_plot(
        "Scores over time", description, [plots.Line("model", by_model)] if by_model else [], axes,
        (f"days since {start:%Y-%m-%d %H:%M} UTC; dashed: good from {good_from:g} on", "stars"), [line, people],
        extra_signs=[(plots.mark("square", 9, 0), "people")],
    )  # fmt: skip
