import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.gate import judge
from ml.gate_checks import CHECKS, Limits
from tests.ml.gate_reports import ACTIVE, BOOSTING, MEAN, MODEL, RIDGE, audit_of, compared, gate_report, sliced


def failed(verdict):
    return {each["name"] for each in verdict.facts["checks"] if each["required"] and not each["passed"]}


def check(verdict, name):
    return next(each for each in verdict.facts["checks"] if each["name"] == name)


def test_what_is_better_everywhere_may_serve_and_says_why_in_numbers():
    verdict = judge(gate_report(), ACTIVE)
    assert verdict.allowed
    assert "new_1 may serve on 200 rows in 40 groups (test)" in verdict.sentence
    assert "better than the active old_1 (gain +0.1, 95 % interval +0.05 to +0.15, better in 100.0% of draws" in (
        verdict.sentence
    )
    assert "the hardest of which is a ridge (gain +0.2" in verdict.sentence
    assert len(verdict.facts["checks"]) == len(CHECKS)
    json.dumps(verdict.to_json(), allow_nan=False)


class TestActive:
    def test_better_in_95_of_100_draws_is_better(self):
        report = gate_report(compared(ACTIVE, 0.02, 0.04, 0.95))
        assert judge(report, ACTIVE).allowed
        report = gate_report(compared(ACTIVE, 0.02, 0.1, 0.949))
        assert failed(judge(report, ACTIVE)) == {"active"}

    def test_no_worse_is_not_enough_without_another_benefit(self):
        verdict = judge(gate_report(compared(ACTIVE, 0.0, 0.02)), ACTIVE)
        assert failed(verdict) == {"active"}
        assert "neither better for certain nor simpler nor faster" in verdict.sentence

    def test_no_worse_and_simpler_is_enough_and_the_benefit_is_said(self):
        verdict = judge(gate_report(compared(ACTIVE, 0.0, 0.02), active_place=6), ACTIVE)
        assert verdict.allowed
        assert check(verdict, "active")["benefits"] == ["simpler"]
        assert "is simpler" in verdict.sentence

    def test_no_worse_and_faster_is_enough(self):
        latency = {"model_ms": 10.0, "active_ms": 20.0, "ratio": 0.5}
        verdict = judge(gate_report(compared(ACTIVE, 0.0, 0.02), latency=latency), ACTIVE)
        assert verdict.allowed
        assert check(verdict, "active")["benefits"] == ["faster"]

    def test_no_worse_means_within_the_margin_which_is_a_share_of_the_error(self):
        # The active model's error is 0.6, so 0.03 is the margin.
        assert judge(gate_report(compared(ACTIVE, 0.0, 0.029), active_place=6), ACTIVE).allowed
        verdict = judge(gate_report(compared(ACTIVE, 0.0, 0.031), active_place=6), ACTIVE)
        assert failed(verdict) == {"active"}
        assert check(verdict, "active")["non_inferior_margin"] == pytest.approx(0.03)

    def test_an_active_model_that_was_not_compared_refuses(self):
        report = gate_report(with_active=False)
        assert failed(judge(report, ACTIVE)) == {"active", "slices"}

    def test_without_an_active_model_the_baselines_decide(self):
        assert judge(gate_report(with_active=False), None).allowed

    def test_out_of_fold_the_comparison_is_read_from_the_test_rows(self):
        report = gate_report()
        subset = report["subsets"]["test"]
        report["subsets"]["out_of_fold"] = {
            **subset, "n": 900, "rows": [each for each in subset["rows"] if each["name"] != ACTIVE],
            "comparisons": [{**each, "subset": "test"} if each["against"] == ACTIVE else each
                            for each in subset["comparisons"]],
        }  # fmt: skip
        report["headline"] = "out_of_fold"
        verdict = judge(report, ACTIVE)
        assert verdict.allowed
        assert check(verdict, "active")["n"] == 200


class TestBaselines:
    def test_the_simpler_one_stays_when_the_model_is_not_better_beyond_its_interval(self):
        verdict = judge(gate_report(compared(RIDGE, 0.09, 0.1)), ACTIVE)
        assert failed(verdict) == {"baselines"}
        assert "not better than the simpler a ridge beyond its interval" in verdict.sentence
        assert "the simpler model stays" in verdict.sentence

    def test_every_simpler_one_must_be_beaten_not_the_best_alone(self):
        assert failed(judge(gate_report(compared(MEAN, 0.05, 0.1)), ACTIVE)) == {"baselines"}

    def test_an_equal_is_named_and_need_not_be_beaten(self):
        verdict = judge(gate_report(compared(RIDGE, 0.0, 0.1), model_place=3), ACTIVE)
        assert verdict.allowed
        found = {each["against"]: each["required"] for each in check(verdict, "baselines")["compared"]}
        assert found == {MEAN: True, RIDGE: False}

    def test_what_is_more_complex_and_better_for_certain_is_named_as_what_could_be_tried(self):
        verdict = judge(gate_report(compared(BOOSTING, -0.2, 0.1), model_place=3), ACTIVE)
        assert verdict.allowed
        assert check(verdict, "baselines")["could_be_tried"] == [BOOSTING]
        assert "boosting would be better still and could be tried" in verdict.sentence
        unsure = judge(gate_report(compared(BOOSTING, -0.05, 0.1), model_place=3), ACTIVE)
        assert check(unsure, "baselines")["could_be_tried"] == []

    def test_an_undefined_comparison_is_no_gain(self):
        undefined = {**compared(MEAN, 0.1, 0.2), "difference": None, "interval": None, "probability_better": None}
        verdict = judge(gate_report(undefined), ACTIVE)
        assert failed(verdict) == {"baselines"}
        assert "undefined on these rows" in verdict.sentence

    def test_without_a_simpler_baseline_nothing_is_shown(self):
        assert failed(judge(gate_report(model_place=0), ACTIVE)) == {"baselines"}


class TestSlices:
    def test_a_slice_that_gets_worse_beyond_the_margin_for_certain_refuses(self):
        verdict = judge(gate_report(slices=(sliced("dusk", -0.06, probability_better=0.05),)), ACTIVE)
        assert failed(verdict) == {"slices"}
        assert "phase dusk by 0.06, 12% of the error, on 50 rows" in verdict.sentence

    @pytest.mark.parametrize(("gain", "probability"), [(-0.06, 0.06), (-0.05, 0.0), (-0.04, 0.0)])
    def test_within_the_margin_or_uncertain_it_does_not(self, gain, probability):
        assert judge(gate_report(slices=(sliced("dusk", gain, probability_better=probability),)), ACTIVE).allowed

    def test_a_large_loss_refuses_even_if_uncertain(self):
        assert failed(judge(gate_report(slices=(sliced("dusk", -0.13, probability_better=0.3),)), ACTIVE)) == {"slices"}

    def test_small_slices_are_listed_and_not_judged(self):
        verdict = judge(gate_report(slices=(sliced("dusk", -0.5, n=19, probability_better=0.0),)), ACTIVE)
        assert verdict.allowed
        assert check(verdict, "slices")["too_small"] == [{"slice": "phase dusk", "n": 19}]
        assert [each["slice"] for each in check(verdict, "slices")["checked"]] == ["phase sunset", "phase sunrise"]


class TestServing:
    @pytest.mark.parametrize(
        "parity",
        [
            {"n": 43, "max_abs_difference": 2e-3, "self_test": {"n": 11, "tolerance": 1e-4}},
            {"n": None, "max_abs_difference": None, "self_test": {"n": 11, "tolerance": 1e-4}},
            {"n": 43, "max_abs_difference": 0.0, "self_test": {"n": 0, "tolerance": 1e-4}},
        ],
    )
    def test_parity_must_be_measured_and_within_its_limit(self, parity):
        assert failed(judge(gate_report(parity=parity), ACTIVE)) == {"parity"}

    @pytest.mark.parametrize(("model_ms", "ratio"), [(501.0, 1.0), (20.0, 2.01)])
    def test_too_slow_is_refused(self, model_ms, ratio):
        latency = {"model_ms": model_ms, "active_ms": model_ms / ratio, "ratio": ratio}
        verdict = judge(gate_report(latency=latency), ACTIVE)
        assert failed(verdict) == {"latency"}
        assert "ms an image on one thread" in verdict.sentence

    def test_the_limit_is_a_setting(self):
        latency = {"model_ms": 501.0, "active_ms": 501.0, "ratio": 1.0}
        assert judge(gate_report(latency=latency), ACTIVE, Limits(latency_ms=600.0)).allowed


def test_what_is_better_than_the_raters_allow_is_a_leak():
    report = gate_report()
    report["noise"] = {"subsets": {"test": {"better_than_floor": True, "mae_floor": 0.55}}}
    verdict = judge(report, ACTIVE)
    assert failed(verdict) == {"noise floor"}
    assert "a leak, not a success" in verdict.sentence


class TestLeaks:
    def test_a_version_whose_splits_leak_is_refused_with_the_numbers(self):
        report = gate_report()
        report["audit"] = audit_of(near_duplicates=3)
        verdict = judge(report, ACTIVE)
        assert failed(verdict) == {"leaks"}
        assert "3 of 200 train rows are near-duplicates of test rows" in verdict.sentence
        (between,) = check(verdict, "leaks")["near_duplicates"]
        assert between == {"learned": "train", "judged": "test", "n": 200, "near_duplicates": 3}

    def test_a_version_whose_splits_were_not_audited_is_refused(self):
        report = gate_report()
        del report["audit"]
        verdict = judge(report, None)
        assert failed(verdict) == {"leaks"}
        assert "evaluate it again" in verdict.sentence


def decided(only_model_right, only_active_right, p_value, n=200):
    report = gate_report()
    report["gate"]["against_active"]["decisions"] |= {
        "only_model_right": only_model_right, "only_active_right": only_active_right, "p_value": p_value, "n": n,
    }  # fmt: skip
    return judge(report, ACTIVE)


def test_decisions_that_are_worse_beyond_chance_are_refused_in_words():
    verdict = decided(1, 12, 0.003)
    assert not verdict.allowed
    assert check(verdict, "decisions")["required"] is True
    assert (
        "it decides worse than the active old_1: of 200 decisions at the thresholds only this model is right in 1"
        in (verdict.sentence)
    )


@pytest.mark.parametrize(
    ("mine", "theirs", "p_value", "n", "passed"),
    [(1, 5, 0.22, 200, False), (1, 12, 0.003, 99, False), (12, 1, 0.003, 200, True), (4, 4, 1.0, 200, True)],
)
def test_decisions_that_are_better_or_worse_by_chance_or_few_are_told(mine, theirs, p_value, n, passed):
    verdict = decided(mine, theirs, p_value, n)
    assert verdict.allowed
    assert (check(verdict, "decisions")["passed"], check(verdict, "decisions")["required"]) == (passed, False)


def test_few_rows_do_not_decide_but_the_sentence_says_so():
    report = gate_report()
    report["subsets"]["test"]["insufficient"] = "only 9 rows"
    verdict = judge(report, ACTIVE)
    assert verdict.allowed
    assert check(verdict, "evidence")["passed"] is False
    assert "the evidence is thin: only 9 rows" in verdict.sentence
    assert "thin" not in judge(gate_report(), ACTIVE).sentence


NUMBERS = st.floats(-0.4, 0.4)


@given(
    NUMBERS, st.floats(0.01, 0.3), st.floats(0, 1), NUMBERS, NUMBERS, NUMBERS, st.floats(0, 1), st.integers(0, 60),
    st.floats(0, 0.002), st.floats(1, 1000), st.floats(0.1, 3), st.booleans(), st.integers(1, 6), st.integers(0, 6),
)  # fmt: skip
def test_it_never_allows_when_a_required_check_fails(
    gain, spread, probability, mean, ridge, slice_gain, slice_probability, n, parity, ms, ratio, leak, place, theirs
):
    report = gate_report(
        compared(ACTIVE, gain, spread, probability), compared(MEAN, mean, spread), compared(RIDGE, ridge, spread),
        model_place=place, active_place=theirs, slices=(sliced("dusk", slice_gain, n, slice_probability),),
        parity={"n": 43, "max_abs_difference": parity, "self_test": {"n": 11, "tolerance": 1e-4}},
        latency={"model_ms": ms, "active_ms": ms / ratio, "ratio": ratio},
    )  # fmt: skip
    report["noise"] = {"subsets": {"test": {"better_than_floor": leak, "mae_floor": 0.3}}}
    verdict = judge(report, ACTIVE)
    assert verdict.allowed == (failed(verdict) == set())
    if verdict.allowed:
        # Said once more without the gate's own functions.
        assert mean > spread
        assert place <= 3 or ridge > spread
        assert probability >= 0.95 or (gain - spread >= -0.03 and (place < theirs or ratio <= 0.8))
        assert n < 20 or slice_gain >= -0.125 - 1e-9
        assert parity <= 1e-3
        assert ms <= 500
        assert ratio <= 2
        assert not leak
    assert verdict.sentence.startswith(MODEL)
