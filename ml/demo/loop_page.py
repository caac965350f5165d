"""What loops on GENERATED worlds showed, as one HTML page that needs nothing else: curves, differences, a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ml import plots
from ml.demo.loop_summary import CHOOSING, MEASURES, RANDOM
from ml.report_page import environment

TITLES = {
    "mae": "Mean absolute error, stars",
    "precision": "Precision at the threshold",
    "recall": "Recall at the threshold",
}
_APART = 0.012
"""How far apart the two ways are drawn, as a share of the labels: their intervals would hide each other."""
_SIGNS = {CHOOSING: ("disc", "solid", -1.0), RANDOM: ("square", "dashed", 1.0)}


def loop_page(content: Mapping[str, Any]) -> str:
    """Render what `ml.demo.loop_summary.summarise` found, with a `walk` through the real stages or none.

    The same content gives the same bytes.
    """
    return (
        environment()
        .get_template("loop.html.j2")
        .render(
            found={"walk": None, **content},
            curves={name: _curves(content, name) for name in MEASURES},
            differences={name: drawn for name in MEASURES if (drawn := _differences(content, name))},
            titles=TITLES,
            ways=(CHOOSING, RANDOM),
            reasons=list(
                dict.fromkeys(
                    reason for rows in content["curves"].values() for row in rows for reason in row["reasons"]
                )
            ),
        )
    )


def _curves(content: Mapping[str, Any], name: str) -> Markup:
    """A measure by labels, both ways with their intervals by group."""
    versions = {way: content["curves"][way] for way in (CHOOSING, RANDOM)}
    labels = [each["labels"] for each in versions[CHOOSING]]
    apart = _APART * (labels[-1] - labels[0])
    lines, values = [], []
    for way, (mark, dash, side) in _SIGNS.items():
        known = [each for each in versions[way] if each[name]["value"] is not None]
        points = [(each["labels"] + side * apart, each[name]["value"]) for each in known]
        intervals = [each[name]["interval"] for each in known]
        lines.append(plots.Line(way, points, mark, dash, intervals))
        values += [end for bounds in intervals for end in bounds]
    room = 0.06 * ((max(values) - min(values)) or 1.0) if values else 1.0
    low, high = (max(0.0, min(values) - room), max(values) + room) if values else (0.0, 1.0)
    axes = plots.plain_axes((labels[0] - 4 * apart, labels[-1] + 4 * apart), (low, high))
    said = "; ".join(
        f"{way}: "
        + ", ".join("undefined" if (v := each[name]["value"]) is None else f"{v:.3f}" for each in versions[way])
        for way in versions
    )
    return plots.lines_plot(
        TITLES[name],
        f"By labels {[round(each) for each in labels]}. {said}",
        lines,
        axes,
        ("labels in train and val", TITLES[name]),
    )


def _differences(content: Mapping[str, Any], name: str) -> Markup | None:
    """Choosing less random by version, and on average, with intervals over seeds; None where none is defined."""
    entries: Sequence[tuple[str, Any]] = [
        *((f"version {each['version']}", each[name]) for each in content["differences"]),
        ("average of versions", content["overall"][name]),
    ]
    rows = []
    for said, each in entries:
        if each["over_seeds"] is not None:
            value, (low, high) = each["mean_of_seeds"], each["over_seeds"]
            mark = "square" if said.startswith("version") else "disc"
            rows.append(plots.Interval(said, value, low, high, mark, f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"))
    if not rows:
        return None
    better = "left" if name == "mae" else "right"
    return plots.intervals_plot(
        f"{TITLES[name]}: choosing less random", f"Choosing is better where the interval lies {better} of 0.", rows,
        f"choosing less random; choosing is better to the {better}", (0.0, "no difference"),
    )  # fmt: skip
