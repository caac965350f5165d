import json

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from ml.gate import judge
from ml.gate_material import mcnemar
from ml.simplicity import ORDER, place_of_model
from tests.ml.brightness import brightness_bundle
from tests.ml.test_evaluate import World


@given(st.integers(0, 30), st.integers(0, 30))
def test_mcnemar_is_the_exact_binomial_test_of_discordant_rows(only_model, only_active):
    model = np.array([True] * only_model + [False] * only_active + [True, False])
    active = np.array([False] * only_model + [True] * only_active + [True, False])
    found = mcnemar(model, active)
    assert (found["only_model_right"], found["only_active_right"]) == (only_model, only_active)
    assert (found["both_right"], found["both_wrong"], found["n"]) == (1, 1, only_model + only_active + 2)
    if only_model + only_active:
        expected = scipy.stats.binomtest(only_model, only_model + only_active).pvalue
        assert found["p_value"] == pytest.approx(expected)
    else:
        assert found["p_value"] == 1.0


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"backbone": "resnet18", "trainable": "head"}, "a head on frozen features"),
        ({"backbone": "resnet18", "trainable": "last_block"}, "a fine-tuned network"),
        ({"backbone": "handmade", "trainable": "head"}, "a line on hand-made features"),
        (None, "a fine-tuned network"),  # nobody says what it is, so nothing simpler is assumed
    ],
)
def test_the_place_of_a_model_follows_from_its_recipe(recipe, words):
    assert ORDER[place_of_model(recipe)] == words


class TestEvaluation:
    def test_a_report_holds_what_the_gate_needs_and_the_gate_reads_it(self, tmp_path):
        world = World(tmp_path)
        dark = brightness_bundle(tmp_path / "inverted", "dark_1", inverted=True)
        report = world.evaluate(active=dark)
        gate = report["gate"]
        assert gate["simplicity"]["baselines"]["predict the mean"] == 0
        assert gate["simplicity"]["baselines"]["per-webcam mean"] == 1
        assert gate["latency"]["ratio"] == pytest.approx(gate["latency"]["model_ms"] / gate["latency"]["active_ms"])
        against = gate["against_active"]
        assert (against["n"], against["subset"]) == (60, "test")
        seen = {each["value"]: each["n"] for each in against["slices"]["webcam"]}
        assert seen == {"seen": 40, "not seen": 20}
        for values in against["slices"].values():
            assert sum(each["n"] for each in values) == 60
        decisions = against["decisions"]
        assert decisions["only_model_right"] > decisions["only_active_right"]
        (comparison,) = [
            each for each in report["subsets"]["test_unseen"]["comparisons"] if each["against"] == "dark_1"
        ]
        assert comparison["probability_better"] == 1.0
        verdict = judge(report, "dark_1")
        passed = {each["name"]: each["passed"] for each in verdict.facts["checks"]}
        assert (passed["active"], passed["slices"]) == (True, True)
        # A bundle from elsewhere says nothing of parity, and hand-made features know brightness as well.
        assert (passed["parity"], passed["baselines"], verdict.allowed) == (False, False, False)
        json.dumps(verdict.to_json(), allow_nan=False)

    def test_without_an_active_model_only_the_model_is_timed(self, tmp_path):
        gate = World(tmp_path).evaluate()["gate"]
        assert gate["latency"]["model_ms"] > 0
        assert (gate["latency"]["active_ms"], gate["latency"]["ratio"], gate["against_active"]) == (None, None, None)
