"""A report as one HTML page that needs nothing else: no script, no request, pictures and figures inside.

A pure function of the report's content, the headline's scores and the thumbnails: the same input gives the same bytes.
What a report does not know is left out, section by section; a report without baseline, n or interval is refused.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ml import report_figures as figures
from ml.report import ACTIVE, BASELINE, MODEL, ReportError, validate

MAX_PAGE_BYTES = 2_000_000
FEW_IN_SLICE = 20
"""Slices with fewer rows are greyed and called few."""
MAX_RATERS = 50
"""Raters on the page, those with the most ratings; report.json has more."""
MAX_TEXT = 200
"""Characters of one text from elsewhere."""
SUBSETS = {
    "out_of_fold": "out of fold: every row, scored by a model that did not learn from its group",
    "out_of_fold_unseen": "out of fold, rows of webcams of which nothing was learned from",
    "out_of_fold_seen": "out of fold, rows of webcams whose rows in other folds were learned from",
    "test_unseen": "test rows of webcams that the model has never seen",
    "test_seen": "test rows of webcams whose other days were learned from",
    "test": "all test rows",
}
"""Name of a table -> what its rows are."""
SLICES = {"phase": "Phase", "local_hour": "Local solar time", "region": "Region", "source": "Source of the webcam",
          "webcam": "Webcam"}  # fmt: skip
HELD_OUT = {"val": "validation rows", "oof": "out of fold"}
ROLES = {MODEL: "model", BASELINE: "baseline", ACTIVE: "active model"}
SIGNS = {"good": "✓", "bad": "✗", "caution": "?"}
UNDEFINED = "-"
_TEMPLATES = Path(__file__).parent / "templates"


def report_page(content: Mapping[str, Any], points: np.ndarray, thumbnails: Mapping[str, bytes]) -> str:
    """Render a report.

    Args:
        content: what report.json holds.
        points: float (N, 2), label and score of the headline's rows, on the scale of the targets.
        thumbnails: JPEG bytes by the sha256 of the image; a frame without one is shown as words.

    Raises:
        ReportError: A figure lacks its baseline, n or interval, or the page would exceed MAX_PAGE_BYTES.
    """
    validate(content)
    page = (
        environment()
        .get_template("report.html.j2")
        .render(
            report=content,
            table=content["subsets"][content["headline"]],
            figures=figures.all_figures(content, points),
            thumbnails={sha256: data_uri(data) for sha256, data in thumbnails.items()},
            few=FEW_IN_SLICE,
            max_raters=MAX_RATERS,
            subsets=SUBSETS,
            slices=SLICES,
            held_out=HELD_OUT,
            roles=ROLES,
            signs=SIGNS,
        )
    )
    size = len(page.encode("utf-8"))
    if size > MAX_PAGE_BYTES:
        raise ReportError(f"the page would have {size} bytes, more than {MAX_PAGE_BYTES}: give it smaller thumbnails")
    return page


def environment() -> Environment:
    """Where pages get their templates, filters and style; every text is escaped, and a name that is missing is an error."""
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"num": _num, "span": _span, "short": _short, "moment": _moment, "said": _said}
    made.globals |= {"cell": figures.slice_cell, "undefined_sign": UNDEFINED}
    return made


def data_uri(jpeg: bytes) -> str:
    """A JPEG as the address of itself, so that a page needs no other file."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def _num(value: float | None, digits: int = 3) -> str:
    """A figure for people; a dash where it is undefined."""
    return UNDEFINED if value is None else f"{value:.{digits}f}"


def _span(bounds: list[float] | None, digits: int = 3) -> str:
    """A 95 % interval in brackets; nothing where there is none."""
    return "" if not bounds else f"[{bounds[0]:.{digits}f}, {bounds[1]:.{digits}f}]"


def _short(value: object) -> str:
    """A text from elsewhere, cut where it is long."""
    said = str(value)
    return said if len(said) <= MAX_TEXT else said[: MAX_TEXT - 1] + "…"


def _moment(value: str | None) -> str:
    """An ISO 8601 time to the minute."""
    return UNDEFINED if value is None else value[:16].replace("T", " ")


def _said(value: object) -> str:
    """A value of a card in words: lists by commas, floats short, nothing as a dash."""
    if value is None or value == "":
        return UNDEFINED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_said(each)}" for key, each in sorted(value.items()))
    if isinstance(value, list | tuple):
        return ", ".join(_said(each) for each in value)
    return _short(value)
