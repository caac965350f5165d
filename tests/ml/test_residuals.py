import numpy as np
import pytest

from ml.residuals import residuals

TARGETS = np.array([1.0, 2.0, 3.0, 4.0] * 10)
GROUPS = [f"g{number % 10}" for number in range(40)]


def test_bias_spread_and_bars_of_the_model_and_the_best_baseline():
    model = TARGETS + np.array([0.5, 0.1] * 20)
    found = residuals(TARGETS, model, ("mean", np.full(40, 2.5)), GROUPS, (0.0, 5.0), 200)
    assert (found["n"], found["n_groups"]) == (40, 10)
    assert found["model"]["bias"] == pytest.approx(0.3)
    low, high = found["model"]["bias_interval"]
    assert low < 0.3 < high
    assert found["model"]["quantiles"]["95"] == pytest.approx(0.5)
    assert found["baseline"]["name"] == "mean"
    assert found["baseline"]["bias"] == pytest.approx(0.0)
    for name in ("n", "n_baseline"):
        assert sum(each[name] for each in found["histogram"]) == 40
    assert {each["low"]: each["n"] for each in found["histogram"] if each["n"]} == {0.0: 20, 0.5: 20}


def test_without_a_baseline_there_is_only_the_model():
    found = residuals(TARGETS, TARGETS, None, GROUPS, (0.0, 5.0), 50)
    assert found["baseline"] is None
    assert found["histogram"] == [{"low": 0.0, "high": 0.25, "n": 40, "n_baseline": None}]
    assert found["model"]["bias_interval"] == [0.0, 0.0]
