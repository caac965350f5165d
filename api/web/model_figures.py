"""Figures of the pages, made on the server by the drawing of the reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from markupsafe import Markup

from ml import plots

MOST = 25
"""Versions in one figure."""


def metric_over_versions(versions: Sequence[Mapping[str, Any]]) -> list[Markup]:
    """For each kind and metric one figure: the versions in the order in which they were made, each with its interval.

    Args:
        versions: as the list of models shows them, newest first, each with its `headline`.
    """
    measured = [each for each in versions if (mine := _own(each)) is not None and mine["interval"] is not None]
    by_scale = sorted(measured, key=_scale)  # stable: newest first within each
    return [
        _figure(*scale, list(rows)[:MOST][::-1])
        for scale, rows in ((scale, list(found)) for scale, found in groupby(by_scale, key=_scale))
        if len(rows) > 1
    ]


def _own(version: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The row of a version itself in its headline."""
    rows = (version["headline"] or {"rows": []})["rows"]
    return next((row for row in rows if row["role"] == "model"), None)


def _scale(version: Mapping[str, Any]) -> tuple[str, str, bool]:
    headline = version["headline"]
    return version["kind"], headline["metric"], bool(headline["higher_is_better"])


def _figure(kind: str, metric: str, higher_is_better: bool, rows: Sequence[Mapping[str, Any]]) -> Markup:
    drawn, reference = [], None
    for version in rows:
        own, headline = _own(version), version["headline"]
        assert own is not None
        low, high = own["interval"]
        serves = version["active"]
        figures = f"{plots.number(own['value'], 3)}, n {headline['n']}"
        mark = "disc" if serves else "square"
        drawn.append(plots.Interval(version["model_version"], own["value"], low, high, mark, figures))
        if serves:
            reference = (own["value"], "serves")
    better = "higher is better" if higher_is_better else "lower is better"
    return plots.intervals_plot(
        f"{metric} of the {kind} versions, oldest first", f"{len(rows)} versions with 95 % intervals; {better}.", drawn,
        f"{metric}, {better}", reference,
    )  # fmt: skip
