import pytest

from ml.thresholds import ThresholdError, check_policy, fixed_policy, passes

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
