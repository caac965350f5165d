"""Coverage: shares of outcomes with intervals, beside what they were before."""

from __future__ import annotations

import pytest

from ml.coverage import coverage


def test_every_outcome_has_its_share_an_interval_and_its_share_before() -> None:
    current = {(webcam, "onnx"): 30 for webcam in range(8)} | {(webcam, "unscored: timeout"): 10 for webcam in range(8)}
    found = coverage(current, {(0, "onnx"): 9, (0, "unscored: status"): 1})
    assert (found["n"], found["n_webcams"], found["n_reference"]) == (320, 8, 10)
    assert [(each["outcome"], each["n"], each["share"], each["reference"]) for each in found["outcomes"]] == [
        ("onnx", 240, 0.75, 0.9), ("unscored: timeout", 80, 0.25, 0.0), ("unscored: status", 0, 0.0, 0.1),
    ]  # fmt: skip
    low, high = found["outcomes"][0]["wilson"]
    assert low < 0.75 < high


def test_one_bad_webcam_makes_the_interval_by_webcam_wider_than_that_of_independent_attempts() -> None:
    current = {(webcam, "onnx"): 50 for webcam in range(7)} | {(7, "unscored: status"): 50}
    first = coverage(current, {})["outcomes"][0]
    assert first["interval"][1] - first["interval"][0] > 2 * (first["wilson"][1] - first["wilson"][0])
    assert first["reference"] is None


def test_nothing_and_a_single_webcam_claim_no_interval() -> None:
    assert coverage({}, {}) == {"n": 0, "n_webcams": 0, "n_reference": 0, "outcomes": []}
    assert coverage({(1, "onnx"): 5}, {})["outcomes"][0]["interval"] is None
    assert coverage({}, {(1, "onnx"): 5})["outcomes"][0]["share"] is None
    assert coverage({}, {(1, "onnx"): 5})["outcomes"][0]["reference"] == pytest.approx(1.0)
