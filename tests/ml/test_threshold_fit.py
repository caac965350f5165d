from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml import metrics
from ml.threshold_fit import Asked, HeldOut, achieved, fit_policy, policy_note
from ml.thresholds import applied, check_policy, fixed_policy, passes
from tests.ml.rows import START, row

STARS = fixed_policy(4.0, "ai_rating", (0, 5))


def held_out(stars, good, p_good=None, days=None, groups=None):
    rows = [
        row(
            place, is_good=None if good is None else bool(good[place]),
            group_id=f"g{place if groups is None else groups[place]}",
            captured_at=START + timedelta(days=0 if days is None else int(days[place])),
        )
        for place in range(len(stars))
    ]  # fmt: skip
    outputs = {"ai_rating": np.asarray(stars, dtype=np.float64)}
    return HeldOut(rows, outputs if p_good is None else {**outputs, "p_good": np.asarray(p_good)}, "oof")


def ranked(n=200):
    """Scores that rise, of which the upper half is good but for every tenth."""
    stars = np.linspace(0.0, 5.0, n)
    return stars, (stars > 2.5) & (np.arange(n) % 10 != 0)


class TestFixed:
    def test_the_number_stays_and_what_it_achieves_is_told(self):
        stars, good = ranked()
        policy = fit_policy(Asked(), STARS, held_out(stars, good))
        assert (policy["kind"], policy["threshold"]) == ("fixed", 4.0)
        assert policy["fitted_on"] == {"rows": "oof", "n": 200, "n_groups": 200, "n_good": int(good.sum())}
        assert policy["achieved"]["recall"]["value"] == pytest.approx((good & (stars >= 4)).sum() / good.sum())

    def test_without_held_out_rows_nothing_is_claimed(self):
        assert fit_policy(Asked(), STARS, None) == STARS


class TestPrecisionTarget:
    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 10_000), st.floats(0.05, 0.95), st.integers(1, 150))
    def test_the_lower_end_reaches_the_target_and_no_smaller_threshold_does(self, seed, target, n):
        random = np.random.default_rng(seed)
        stars = np.round(random.uniform(0, 5, n), 1)  # many ties
        good = random.random(n) < stars / 5
        policy = fit_policy(Asked("precision_target", target=target), STARS, held_out(stars, good))
        lowers = {t: float(metrics.wilson(good[stars >= t].sum(), (stars >= t).sum())[0]) for t in np.unique(stars)}
        reached = [t for t, lower in lowers.items() if lower >= target]
        if not reached:
            assert policy["instead_of"] == {"kind": "precision_target", "target": target}
            assert (policy["kind"], policy["threshold"]) == ("fixed", 4.0)
            assert "could not be fitted" in policy_note(policy)
            return
        passed = stars >= policy["threshold"]
        assert stars[passed].min() == min(reached)
        assert policy["achieved"]["precision"]["wilson"][0] >= target
        note = policy_note(policy)
        assert (note is None) == bool(passed.any() and not passed.all())

    def test_the_threshold_lies_between_rows_so_that_a_last_digit_turns_nothing(self):
        stars, good = np.array([1.0] * 20 + [3.0] * 40), np.array([False] * 20 + [True] * 40)
        assert fit_policy(Asked("precision_target", target=0.9), STARS, held_out(stars, good))["threshold"] == 2.0

    def test_what_cannot_be_reached_says_the_best_there_is(self):
        stars = np.linspace(0, 5, 40)
        policy = fit_policy(Asked("precision_target", target=0.9), STARS, held_out(stars, np.arange(40) % 2 == 0))
        assert (
            "no threshold has a precision of 0.9 for certain on 40 held-out rows, 20 of them good" in policy["reason"]
        )
        assert policy["achieved"]["n_passed"] == 8

    def test_labels_without_an_idea_of_good_have_no_precision(self):
        policy = fit_policy(Asked("precision_target"), STARS, held_out([1.0, 4.5], None))
        assert "do not say what is good" in policy["reason"]
        assert policy["achieved"]["precision"] is None
        assert policy["achieved"]["share_passed"]["value"] == 0.5


class TestCost:
    def test_passes_from_the_probability_at_which_passing_is_cheaper(self):
        stars, good = ranked()
        policy = fit_policy(Asked("cost", cost_fp=3.0, cost_fn=1.0), STARS, held_out(stars, good, p_good=stars / 5))
        assert (policy["threshold"], policy["on"], policy["scale"]) == (0.75, "p_good", [0.0, 1.0])
        assert passes(policy, {"ai_rating": 1.0, "p_good": 0.8}, (0.0, 5.0)) is True

    def test_a_model_without_a_probability_says_so(self):
        policy = fit_policy(Asked("cost"), STARS, held_out(*ranked()))
        assert "no output p_good" in policy["reason"]
        assert policy["on"] == "ai_rating"


class TestBudget:
    @pytest.mark.parametrize("days", [1, 10, 100])
    def test_at_most_the_share_of_the_traffic_passes_on_however_many_days_rows_were_labelled(self, days):
        stars, good = ranked(100)
        asked = Asked("budget", per_day=30, frames_per_day=1000)
        policy = fit_policy(asked, STARS, held_out(stars, good, days=np.arange(100) % days))
        assert (stars >= policy["threshold"]).sum() == 3
        assert policy["achieved"]["n_passed"] == 3

    def test_ties_never_break_the_budget(self):
        policy = fit_policy(
            Asked("budget", per_day=2, frames_per_day=4), STARS, held_out([1.0, 2.0, 2.0, 5.0], [False] * 4)
        )
        assert policy["achieved"]["n_passed"] == 1

    def test_a_tie_larger_than_the_budget_is_said(self):
        policy = fit_policy(Asked("budget", per_day=1, frames_per_day=2), STARS, held_out([5.0, 5.0], [True, True]))
        assert "the highest score alone is 2 of 2 held-out rows" in policy["reason"]
        assert (policy["kind"], policy["threshold"]) == ("fixed", 4.0)

    def test_a_budget_for_all_lets_all_pass(self):
        asked = Asked("budget", per_day=99, frames_per_day=50)
        assert fit_policy(asked, STARS, held_out([1.0, 2.0], [True, False]))["threshold"] == 0.0


@pytest.mark.parametrize(("stars", "words"), [([1.0, 2.0], "none of the 2"), ([4.5, 5.0], "all of the 2")])
def test_a_threshold_that_decides_nothing_is_told(stars, words):
    assert words in policy_note(fit_policy(Asked(), STARS, held_out(stars, [True, False])))


def test_no_rows_to_fit_on_is_said():
    policy = fit_policy(Asked("budget"), STARS, None)
    assert policy["reason"] == "there are no held-out rows to fit it on"


@pytest.mark.parametrize("kind", ["fixed", "precision_target", "cost", "budget"])
def test_every_kind_is_whole_and_decides_as_a_short_policy(kind):
    stars, good = ranked()
    policy = fit_policy(Asked(kind), STARS, held_out(stars, good, p_good=stars / 5))
    check_policy(policy, (0.0, 5.0))
    short = applied(policy)
    assert {"fitted_on", "achieved"}.isdisjoint(short)
    for value in (0.1, 2.6, 4.9):
        outputs = {"ai_rating": value, "p_good": value / 5}
        assert passes(short, outputs, (0.0, 5.0)) == passes(policy, outputs, (0.0, 5.0))


class TestAchieved:
    def test_intervals_draw_groups_not_rows(self):
        # Two groups of fifty rows that agree inside: rows would give a narrow interval, groups cannot.
        good = np.arange(100) < 50
        rows = [row(place, is_good=bool(good[place]), group_id=f"g{place // 50}") for place in range(100)]
        found = achieved(rows, np.ones(100, dtype=bool))
        assert found["precision"]["value"] == 0.5
        assert found["precision"]["interval"] == [0.0, 1.0]

    def test_wilson_stays_honest_where_every_row_agrees(self):
        rows = [row(place, is_good=True) for place in range(10)]
        precision = achieved(rows, np.ones(10, dtype=bool))["precision"]
        assert precision["interval"] == [1.0, 1.0]
        assert precision["wilson"][0] == pytest.approx(0.722, abs=1e-3)

    def test_nothing_passed_has_no_precision(self):
        found = achieved([row(1), row(2)], np.zeros(2, dtype=bool))
        assert (found["precision"], found["n_passed"], found["recall"]["value"]) == (None, 0, 0.0)

    def test_one_unknown_label_makes_all_unknown(self):
        found = achieved([row(1), replace(row(2), is_good=None)], np.ones(2, dtype=bool))
        assert (found["n_good"], found["recall"]) == (None, None)
