import pytest

from ml.thresholds import ThresholdError, applied, check_policy, fixed_policy, passes

STARS = fixed_policy(4.0, "ai_rating", (0, 5))


def test_passes_from_the_threshold_on():
    assert passes(STARS, {"ai_rating": 4.0}, (0, 5)) is True
    assert passes(STARS, {"ai_rating": 3.999}, (0, 5)) is False


def test_no_score_gives_no_verdict():
    assert passes(STARS, {"ai_rating": None}) is None
    assert passes(STARS, {"p_good": 0.9}) is None
    assert passes(STARS, {"ai_rating": float("nan")}) is None


def test_a_policy_on_another_scale_than_the_model_is_refused():
    with pytest.raises(ThresholdError, match=r"scale 0\.\.5, but ai_rating of this model is on 1\.\.5"):
        passes(STARS, {"ai_rating": 4.0}, (1, 5))


def test_a_probability_is_on_zero_to_one_whatever_the_models_scale():
    policy = fixed_policy(0.5, "p_good", (0, 1))
    assert passes(policy, {"p_good": 0.5}, (1, 5)) is True


def test_four_stars_on_a_probability_scale_is_refused():
    with pytest.raises(ThresholdError, match=r"4 lies outside its scale 0\.\.1"):
        fixed_policy(4.0, "p_good", (0, 1))


def test_a_threshold_without_its_scale_is_refused():
    with pytest.raises(ThresholdError, match="lacks scale"):
        check_policy({"kind": "fixed", "threshold": 4.0, "on": "ai_rating"})


def test_an_unknown_policy_is_refused():
    with pytest.raises(ThresholdError, match="known: fixed"):
        check_policy({**STARS, "kind": "adaptive"})


@pytest.mark.parametrize(
    ("kind", "number"), [("precision_target", "target"), ("cost", "cost_fn"), ("budget", "per_day")]
)
def test_a_policy_states_what_it_was_chosen_by(kind, number):
    with pytest.raises(ThresholdError, match=f"states {number}, a number above 0"):
        check_policy({**STARS, "kind": kind, "cost_fp": 1.0, number: -1})


def test_a_threshold_set_from_outside_is_a_fixed_one():
    fitted = {**STARS, "kind": "precision_target", "target": 0.8, "achieved": {"n_passed": 3}}
    assert applied(fitted) == {**STARS, "kind": "precision_target", "target": 0.8}
    assert applied(fitted, 3.5) == fixed_policy(3.5, "ai_rating", (0, 5))
    with pytest.raises(ThresholdError, match="outside its scale"):
        applied(fitted, 5.5)
