"""Points over time: the headline beside the best baseline of the same rows, and a page of them."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest

from ml.history import history_page, history_plot, point_of


def _report(value: float | None, *, higher: bool, baselines: dict[str, float | None]) -> dict[str, Any]:
    rows = [("v", "model", value), *((name, "baseline", each) for name, each in baselines.items())]
    return {
        "headline": "test",
        "primary": {"name": "m", "higher_is_better": higher},
        "subsets": {
            "test": {
                "n": 40, "n_groups": 9,
                "rows": [
                    {"name": name, "role": role, "metrics": {"m": each},
                     "intervals": {"m": None if each is None else [each - 0.1, each + 0.1]}}
                    for name, role, each in rows
                ],
            }
        },
    }  # fmt: skip


@pytest.mark.parametrize(("higher", "best"), [(False, "a"), (True, "b")])
def test_the_best_baseline_is_the_best_in_the_metrics_own_direction(higher: bool, best: str) -> None:
    point = point_of(_report(0.4, higher=higher, baselines={"a": 0.5, "b": 0.9, "undefined": None}))
    assert point["baseline"]["name"] == best
    assert (point["value"], point["n"], point["n_groups"], point["subset"]) == (0.4, 40, 9, "test")


def test_what_is_undefined_is_null_and_not_drawn() -> None:
    point = point_of(_report(None, higher=False, baselines={"a": None}))
    assert (point["value"], point["interval"], point["baseline"]) == (None, None, None)
    assert history_plot("m", [{**point, "model_version": "v", "created_at": "2026-02-12T00:00:00+00:00"}]) is None


def test_a_page_escapes_names_and_says_where_nothing_is_known_yet() -> None:
    point = point_of(_report(0.4, higher=False, baselines={"<b>": 0.5}))
    facts = {"model_version": "<i>v", "created_at": "2026-02-12T00:00:00+00:00", "evaluation_id": 1, "role": None}
    page = history_page("rating", [{**point, **facts}])
    assert "<i>v" not in page
    assert "<b>" not in page
    assert page.count("<svg") == 1
    assert "evaluate-cycle rating" in history_page("rating", [])


def test_versions_of_one_moment_stand_beside_one_another_and_no_name_leaves_the_plot() -> None:
    names = [f"sunset_v{number}_2026_02_12_of_a_long_name" for number in range(4)]
    point = point_of(_report(0.4, higher=False, baselines={"mean": 0.9}))
    points = [{**point, "model_version": name, "created_at": "2026-02-12T00:00:00+00:00"} for name in names]
    drawn = str(history_plot("m", points))
    whiskers = [float(x) for x in re.findall(r'class="whisker" d="M([\d.]+) ', drawn)]
    assert len(set(whiskers)) == 4
    assert min(late - early for early, late in pairwise(sorted(whiskers))) >= 8
    width = float(re.search(r'width="(\d+)"', drawn)[1])  # type: ignore[index]
    for x, name in re.findall(r'<text x="([\d.]+)" y="[\d.]+" text-anchor="start">(sunset[^<]*)<', drawn):
        assert float(x) + 7.2 * len(name) <= width
    signs = re.findall(r'<g class="series".*?</g>', drawn)
    marks = [re.sub(r"[\d.-]+", "", re.findall(r"<(?:circle|rect|path)[^>]*/>", sign)[-1]) for sign in signs]
    assert len(set(marks)) == 4
    assert drawn.count("best baseline on the same rows") == 1
