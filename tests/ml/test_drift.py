"""Drift is told from chance, from days that are alike, and from another mix of webcams."""

from __future__ import annotations

import numpy as np
import pytest

from ml.drift import Frames, input_drift, psi, score_drift, webcam_mix


def _frames(
    random: np.random.Generator, *, webcams: int = 6, days: int = 8, a_day: int = 5, shift: float = 0.0,
    of_day: float = 0.0, width: int = 0, first: int = 0,
) -> Frames:  # fmt: skip
    """Every webcam has a level of its own; `of_day` is how much a whole day moves together."""
    levels = np.arange(first, first + webcams) * 0.5
    cameras = np.repeat(np.arange(first, first + webcams), days * a_day)
    blocks = np.repeat(np.arange(webcams * days), a_day)
    shape = (len(cameras), width) if width else (len(cameras),)
    noise = random.normal(size=shape) + (of_day * random.normal(size=webcams * days))[blocks].reshape(
        -1, *[1] * (width > 0)
    )
    values = noise + np.repeat(levels, days * a_day).reshape(-1, *[1] * (width > 0)) + shift
    return Frames(values, cameras, [str(each % days) for each in blocks])


@pytest.mark.parametrize("of_day", [0.0, 1.0])
def test_without_drift_p_values_are_spread_evenly_even_where_a_day_is_almost_one_frame(of_day: float) -> None:
    random = np.random.default_rng(7)
    found = np.array([
        score_drift(_frames(random, of_day=of_day), _frames(random, of_day=of_day, days=4), 199)["p_value"]
        for _ in range(150)
    ])  # fmt: skip
    assert 0.42 < found.mean() < 0.58
    assert (found <= 0.05).mean() < 0.11
    assert (found >= 0.95).mean() < 0.11


def test_the_index_without_drift_is_what_is_expected_of_it() -> None:
    random = np.random.default_rng(8)
    found = [
        score_drift(_frames(random, webcams=1, days=40), _frames(random, webcams=1, days=20), 9) for _ in range(200)
    ]
    assert np.mean([each["value"] for each in found]) == pytest.approx(found[0]["expected"], rel=0.12)
    assert found[0]["expected"] == pytest.approx(9 * (1 / 200 + 1 / 100))


def test_a_planted_shift_is_found_in_scores_and_in_the_feature_that_has_it() -> None:
    random = np.random.default_rng(9)
    found = score_drift(_frames(random), _frames(random, shift=0.8))
    assert (found["drift"], found["value"] > found["chance"]) == (True, True)
    before, now = _frames(random, width=4), _frames(random, width=4)
    now.values[:, 2] += 1.0
    seen = input_drift(before, now, ["a", "b", "warm", "d"], 199)
    assert (seen["drift"], seen["features"][0]["name"]) == (True, "warm")
    assert min(each["p_value"] for each in seen["features"][1:]) > 0.01


def test_a_wider_spread_is_drift_of_the_input_too() -> None:
    random = np.random.default_rng(10)
    before, now = _frames(random, webcams=1, days=60, width=3), _frames(random, webcams=1, days=60, width=3)
    now.values[:, 1] *= 2.0
    found = input_drift(before, now, ["a", "b", "c"], 199)
    assert (found["features"][0]["name"], found["drift"]) == ("b", True)


def test_another_mix_of_webcams_is_no_drift_but_is_told() -> None:
    random = np.random.default_rng(11)
    before = _frames(random, webcams=6)
    few, new = _frames(random, webcams=2), _frames(random, webcams=4, first=20)
    now = Frames(
        np.concatenate([few.values, new.values]), np.concatenate([few.webcams, new.webcams]), [*few.days, *new.days]
    )
    found = score_drift(before, now)
    assert found["p_value"] > 0.05
    assert (found["n_webcams"], found["mix"]["warning"]) == (2, True)
    assert found["mix"]["new_share"] == pytest.approx(4 / 6)
    assert score_drift(_frames(random, webcams=2), new) == {
        "known": False, "reason": "no webcam has frames in both windows",
        "mix": {"new_share": 1.0, "distance": 1.0, "warning": True},
    }  # fmt: skip


def test_it_is_the_same_for_the_same_seed_and_nothing_is_known_without_frames() -> None:
    random = np.random.default_rng(12)
    before, now = _frames(random), _frames(random)
    assert score_drift(before, now, 99) == score_drift(before, now, 99)
    nothing = Frames(np.empty(0), np.empty(0, dtype=int), [])
    assert score_drift(before, nothing)["reason"] == "there is no frame in the current window"


def test_equal_counts_have_no_index_and_empty_bins_are_finite() -> None:
    assert psi(np.array([5, 5]), np.array([50, 50])) == pytest.approx(0.0)
    assert 0 < psi(np.array([10, 0]), np.array([0, 10])) < 20
    assert webcam_mix(np.array([1, 1, 2]), np.array([1, 1, 2]))["distance"] == 0.0
