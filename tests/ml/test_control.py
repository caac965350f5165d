"""What the controls of review sets say of a version."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ml.control import control_estimate
from ml.disagreements import Frame
from tests.ml.test_disagreements import STARS, frame

LABELS = [1.0, 4.0, 3.0, None, 2.0, 5.0]


def _frames() -> list[Frame]:
    """Six frames of as many webcams, of which the version says 3 stars each, and learned the fifth."""
    return [
        replace(frame(number, 3.0, label, learned=number == 5), webcam_id=number)
        for number, label in enumerate(LABELS, start=1)
    ]


def test_errors_are_of_those_drawn_that_people_judged_and_that_nothing_like_was_learned() -> None:
    found = control_estimate(_frames(), [1, 2, 3, 4, 5, 6], STARS, [(5, 6)])
    assert {name: found[name] for name in ("drawn", "learned", "unanswered", "n", "n_groups")} == {
        "drawn": 6, "learned": 2, "unanswered": 1, "n": 3, "n_groups": 3,
    }  # fmt: skip
    error = found["mean_absolute_error"]
    assert error["value"] == pytest.approx((2 + 1 + 0) / 3)
    assert error["baseline"] == pytest.approx(np.abs(np.array([1, 4, 3]) - 8 / 3).mean())
    assert error["interval"] == pytest.approx([0.0, 2.0])
    assert (found["flips"]["n"], found["flips"]["share"]) == (1, pytest.approx(1 / 3))


def test_a_frame_that_two_sets_drew_counts_twice_and_one_that_is_gone_not_at_all() -> None:
    found = control_estimate(_frames(), [1, 1, 3, 99], STARS, [])
    assert (found["drawn"], found["n"], found["n_groups"]) == (3, 3, 2)
    assert found["mean_absolute_error"]["value"] == pytest.approx(4 / 3)


def test_intervals_are_by_webcam() -> None:
    random = np.random.default_rng(0)
    stars = np.repeat(random.uniform(1, 5, size=8), 10)
    frames = [frame(n, 3.0, float(each)) for n, each in enumerate(stars, start=1)]
    apart = [replace(each, webcam_id=each.snapshot_id) for each in frames]
    together = [replace(each, webcam_id=(each.snapshot_id - 1) // 10) for each in frames]
    widths = []
    for some in (apart, together):
        low, high = control_estimate(some, range(1, 81), STARS, [])["mean_absolute_error"]["interval"]
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]


def test_without_flips_their_share_still_has_an_interval_and_without_answers_nothing_is_said() -> None:
    found = control_estimate(_frames(), [1, 3], STARS, [])
    assert found["flips"]["share"] == 0.0
    assert found["flips"]["interval"][1] > 0.3
    assert control_estimate(_frames(), [1], STARS, [])["mean_absolute_error"]["interval"] is None
    nothing = control_estimate(_frames(), [4], STARS, [])
    assert (nothing["unanswered"], nothing["mean_absolute_error"], nothing["flips"]) == (1, None, None)
