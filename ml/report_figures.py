"""Which figures a report's page shows, each from the report's content; one whose numbers are missing is left out.

Legend: N rows of the headline's table. Labels and scores are on the scale of the targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from ml import plots
from ml.plots import Interval, Line
from ml.report import ACTIVE, BASELINE, MODEL

MAX_DOTS = 3000
"""Rows drawn as dots; of more, evenly chosen ones, and the figure says so."""
MAX_BARS = 12
"""Numbers of ratings with a bar of their own."""
NUM_BINS = 20
FEWEST_IN_BIN = 5
"""Rows of a bin before its mean is drawn."""
_MARKS = {MODEL: "disc", BASELINE: "square", ACTIVE: "diamond"}


def all_figures(report: Mapping[str, Any], points: np.ndarray) -> dict[str, Markup | None]:
    """Every figure by name; None where the report does not know enough for it."""
    bounds = report.get("score_range")
    return {
        "headline": _headline(report),
        "sweep": _sweep(report),
        "calibration": _calibration("Calibration", report.get("calibration_table"), bounds),
        "calibration_good": _calibration("Calibration of the probability of good", _good_buckets(report), (0.0, 1.0)),
        "predicted": _predicted(points, bounds),
        "residuals": _residuals(report),
        "labels": _labels(report),
        "ratings": _ratings(report),
        "ratings_per_row": _ratings_per_row(report),
    }


def slice_cell(content: Mapping[str, Any], metric: str, everyone: Sequence[Mapping[str, Any]]) -> Markup:
    """The small figure of one slice; all slices of a family share their axis."""
    ends = [end for each in everyone for end in (_model(each)["intervals"].get(metric) or [])]
    found, others = _model(content), _best(content)
    bounds = found["intervals"].get(metric)
    if not ends or bounds is None or found["metrics"][metric] is None:
        return Markup("")
    ends += [value for each in everyone if (best := _best(each)) and (value := best["metrics"].get(metric)) is not None]
    other = others["metrics"].get(metric) if others else None
    return plots.small_interval(found["metrics"][metric], bounds[0], bounds[1], (min(ends), max(ends)), other)


def _model(content: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(row for row in content["rows"] if row["role"] == MODEL)
    return found


def _best(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The row of the best baseline of a table."""
    return next((row for row in content["rows"] if row["name"] == content["skill"]["against"]), None)


def _headline(report: Mapping[str, Any]) -> Markup | None:
    metric = report["primary"]["name"]
    table = report["subsets"][report["headline"]]
    rows = []
    for row in table["rows"]:
        if (value := row["metrics"].get(metric)) is not None:
            low, high = row["intervals"][metric]
            figures = f"{value:.3f} [{low:.3f}, {high:.3f}]"
            rows.append(Interval(row["name"], value, low, high, _MARKS[row["role"]], figures))
    if not rows:
        return None
    floor = (report.get("noise") or {}).get("subsets") or {}
    known = floor.get(report["headline"]) if metric == "mae" else None
    better = "higher" if report["primary"]["higher_is_better"] else "lower"
    name = f"{metric} on {table['n']} rows, 95 % intervals; {better} is better. ● model, □ baseline, ◇ active model"
    return plots.intervals_plot(
        f"{metric} of the model and its baselines",
        "; ".join(f"{row.name} {row.figures}" for row in rows),
        rows,
        name,
        (known["mae_floor"], "floor: the raters' noise") if known else None,
    )


def _sweep(report: Mapping[str, Any]) -> Markup | None:
    sweep, confusion = report.get("threshold_sweep"), report.get("confusion")
    if not sweep or not confusion:
        return None
    kept = {
        name: [(each["threshold"], each[name]) for each in sweep if each[name] is not None]
        for name in ("precision", "recall")
    }
    ends = [each["threshold"] for each in sweep]
    axes = plots.plain_axes((min(ends), max(ends)), (0.0, 1.0))
    at = axes[0].at(confusion["threshold"])
    chosen = [
        plots.line(at, axes[1].start, at, axes[1].end, "line dotted"),
        plots.text(at, axes[1].end - 5, f"threshold {confusion['threshold']:.3g}", "middle"),
    ]
    base = (confusion["true_positive"] + confusion["false_negative"]) / confusion["n"]
    lines = [
        Line("precision", kept["precision"], "disc"),
        Line("recall", kept["recall"], "square", "dashed"),
        Line("precision if all are called good", [(min(ends), base), (max(ends), base)], "none", "dotted"),
    ]
    return plots.lines_plot(
        "Precision and recall by threshold",
        f"on {confusion['n']} rows; at {confusion['threshold']:g}: "
        f"precision {_said(confusion['precision'])}, recall {_said(confusion['recall'])}",
        [each for each in lines if each.points], axes, ("threshold", "share of rows"), chosen, True,
    )  # fmt: skip


def _said(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _diagonal(axes: tuple[plots.Axis, plots.Axis]) -> str:
    x, y = axes
    return plots.line(x.at(x.low), y.at(x.low), x.at(x.high), y.at(x.high), "line dashed light")


def _good_buckets(report: Mapping[str, Any]) -> Sequence[Mapping[str, Any]] | None:
    """Buckets of the probability of good, where it is an output beside the score."""
    good = (report.get("calibration") or {}).get("p_good")
    return good["buckets"] if good else None


def _calibration(
    title: str, table: Sequence[Mapping[str, Any]] | None, bounds: Sequence[float] | None
) -> Markup | None:
    if not table or not bounds:
        return None
    axes = plots.plain_axes((bounds[0], bounds[1]), (bounds[0], bounds[1]))
    points = [(each["mean_score"], each["mean_label"]) for each in table]
    counts = [
        plots.text(axes[0].at(a) + 8, min(axes[1].at(b) + 14, axes[1].start - 5), f"n {each['n']}", css="small")
        for (a, b), each in zip(points, table, strict=True)
    ]
    spread = [tuple(each["interval"]) if each.get("interval") else None for each in table]
    mine = Line("mean label of a bucket, 95 %", points, "disc", "solid", spread)
    equal = Line("label = score", [], "none", "dashed")
    said = "; ".join(f"score {a:.2f}, label {b:.2f}, n {each['n']}" for (a, b), each in zip(points, table, strict=True))
    names = ("mean score of a bucket", "mean label")
    return plots.lines_plot(title, said, [mine, equal], axes, names, [_diagonal(axes), *counts])


def _predicted(points: np.ndarray, bounds: Sequence[float] | None) -> Markup | None:
    if bounds is None or len(points) == 0:
        return None
    if len(np.unique(points[:, 0])) <= 2:
        return _scores_by_class(points, bounds)
    axes = plots.plain_axes((bounds[0], bounds[1]), (bounds[0], bounds[1]))
    chosen = points[:: -(-len(points) // MAX_DOTS)]
    dots = "".join(f"M{plots.number(axes[0].at(a))} {plots.number(axes[1].at(b))}h0" for a, b in chosen)
    means, quartiles = _means_by_bin(points[:, 0], points[:, 1], bounds)
    drawn = "" if len(chosen) == len(points) else f"; {len(chosen)} of them drawn"
    return plots.lines_plot(
        "Predicted against actual",
        f"{len(points)} rows{drawn}; " + "; ".join(f"label {a:.2f}: mean score {b:.2f}" for a, b in means),
        [
            Line("mean score, quartiles", means, "square", "solid", quartiles),
            Line("score = label", [], "none", "dashed"),
        ],
        axes,
        (f"label ({len(points)} rows{drawn})", "score"),
        [plots.series("one row", [f'<path class="dots" d="{dots}"/>']), _diagonal(axes)],
        extra_signs=[('<path class="dots" d="M9 0h0"/>', "one row")],
    )


def _means_by_bin(
    labels: np.ndarray, scores: np.ndarray, bounds: Sequence[float]
) -> tuple[list[tuple[float, float]], list[tuple[float, float] | None]]:
    """Mean label and mean score, and the quartiles of the scores, of bins of labels with enough rows."""
    width = (bounds[1] - bounds[0]) / 10
    bins = np.round((labels - bounds[0]) / width).astype(int)
    kept = [one for one in np.unique(bins) if (bins == one).sum() >= FEWEST_IN_BIN]
    means = [(float(labels[bins == one].mean()), float(scores[bins == one].mean())) for one in kept]
    quartiles: list[tuple[float, float] | None] = []
    for one in kept:
        low, high = np.percentile(scores[bins == one], (25, 75))
        quartiles.append((float(low), float(high)))
    return means, quartiles


def _scores_by_class(points: np.ndarray, bounds: Sequence[float]) -> Markup:
    """Of labels that say yes or no: how the scores of each are spread."""
    edges = np.linspace(bounds[0], bounds[1], NUM_BINS + 1)
    lines, most = [], 0.0
    for place, value in enumerate(np.unique(points[:, 0])):
        scores = points[points[:, 0] == value, 1]
        shares = np.histogram(scores, edges)[0] / len(scores)
        most = max(most, float(shares.max()))
        middles = (edges[:-1] + edges[1:]) / 2
        pairs = [(float(a), float(b)) for a, b in zip(middles, shares, strict=True)]
        name = f"label {plots.number(float(value))}, n {len(scores)}"
        lines.append(Line(name, pairs, ("disc", "square")[place], ("solid", "dashed")[place]))
    axes = plots.plain_axes((bounds[0], bounds[1]), (0.0, most * 1.05))
    said = f"{len(points)} rows; share of each label's rows by score"
    return plots.lines_plot(
        "Predicted against actual", said, lines, axes, ("score", "share of the label's rows"), percent_y=True
    )


def _residuals(report: Mapping[str, Any]) -> Markup | None:
    found = report.get("residuals")
    if not found:
        return None
    bars = found["histogram"]
    most = max(max(each["n"], each["n_baseline"] or 0) for each in bars)
    axes = plots.plain_axes((bars[0]["low"], bars[-1]["high"]), (0.0, most * 1.08))
    x, y = axes
    drawn = [
        plots.rect(x.at(each["low"]) + 1, y.at(each["n"]), x.at(each["high"]) - x.at(each["low"]) - 2,
                   y.start - y.at(each["n"]), "bar")
        for each in bars
    ]  # fmt: skip
    parts = [*plots.frame(x, y, "score less label", "rows"), plots.series("model", drawn)]
    parts.append(plots.line(x.at(0.0), y.start, x.at(0.0), y.end, "line dotted"))
    signs = [(plots.rect(0, -6, 18, 12, "bar"), "model")]
    if found["baseline"] is not None:
        name = found["baseline"]["name"]
        steps = [
            (x.at(edge), y.at(each["n_baseline"])) for each in bars for edge in (each["low"], each["high"])
        ]  # fmt: skip
        parts.append(plots.series(name, [f'<path class="line dashed" d="{plots.path_of(steps)}"/>']))
        signs.append(('<path class="line dashed" d="M0 0L18 0"/>', name))
    said = f"{found['n']} rows; mean {found['model']['bias']:+.3f}, half of them from "
    said += f"{found['model']['quantiles']['25']:+.3f} to {found['model']['quantiles']['75']:+.3f}"
    return plots.figure("Residuals", said, [*parts, *plots.legend(signs)])


def _labels(report: Mapping[str, Any]) -> Markup | None:
    labels = (report.get("data_card") or {}).get("labels")
    if not labels:
        return None
    bars = [(plots.number(each["low"], 2), each["n"]) for each in labels]
    return plots.bars_plot(
        "Labels of the kept rows", _counted(bars), bars, ("label, from this value to below the next", "rows")
    )


def _ratings(report: Mapping[str, Any]) -> Markup | None:
    ratings = (report.get("data_card") or {}).get("ratings")
    if not ratings:
        return None
    bars = [(each["rating"], each["n"]) for each in ratings["histogram"]]
    return plots.bars_plot("Ratings by people", _counted(bars), bars, ("one person's rating", "ratings"))


def _ratings_per_row(report: Mapping[str, Any]) -> Markup | None:
    counts = (report.get("data_card") or {}).get("ratings_per_row")
    if not counts:
        return None
    bars = [(str(each["ratings"]), each["n"]) for each in counts[:MAX_BARS]]
    if rest := sum(each["n"] for each in counts[MAX_BARS:]):
        bars.append(("more", rest))
    return plots.bars_plot("Kept rows by number of ratings", _counted(bars), bars, ("ratings of one row", "rows"))


def _counted(bars: Sequence[tuple[str, int]]) -> str:
    return "; ".join(f"{name}: {count}" for name, count in bars)
