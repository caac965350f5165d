"""Points over time: the headline beside the best baseline of the same rows, and a page of them."""

from __future__ import annotations

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
