import copy

import numpy as np
import pytest

from ml.judgements.rating import Rating
from ml.report import (
    ACTIVE,
    BASELINE,
    MODEL,
    ReportError,
    Scores,
    draws,
    insufficient,
    interval,
    skill_sentence,
    table,
    validate,
)
from ml.training.recipe import Recipe

RATING = Rating()


def make_table(seed=0, groups=40, per_group=5, noise=0.5, replicates=300, **extra):
    random = np.random.default_rng(seed)
    targets = random.integers(0, 6, groups * per_group).astype(float)
    ids = np.repeat([f"g{i}" for i in range(groups)], per_group).tolist()
    entries = [
        Scores("m", MODEL, np.clip(targets + random.normal(0, noise, len(targets)), 0, 5)),
        Scores("predict the mean", BASELINE, np.full(len(targets), targets.mean())),
        *(Scores(name, role, targets + shift, remark) for name, (role, shift, remark) in extra.items()),
    ]
    return table(RATING, "regression", entries, targets, ids, replicates)


class TestDraws:
    def test_groups_are_drawn_whole_and_rows_keep_their_number_on_average(self):
        ids = ["a", "a", "b", "c", "c", "c"]
        weights = np.concatenate(list(draws(ids, 500, 0)))
        assert weights.shape == (500, 6)
        assert (weights[:, 0] == weights[:, 1]).all()
        assert (weights[:, 3] == weights[:, 5]).all()
        assert (weights[:, 0] + weights[:, 2] + weights[:, 3] == 3).all()
        assert weights.mean() == pytest.approx(1.0, abs=0.1)

    def test_the_seed_decides(self):
        same = [next(draws(["a", "b", "c"], 50, seed)) for seed in (1, 1, 2)]
        assert (same[0] == same[1]).all()
        assert not (same[0] == same[2]).all()

    def test_one_group_draws_rows(self):
        assert next(draws(["a"] * 4, 50, 0)).std(axis=1).max() > 0


class TestInterval:
    def test_covers_the_truth_about_as_often_as_it_says(self):
        # Groups that share an error: intervals over rows would be far too narrow.
        random = np.random.default_rng(0)
        covered = 0
        for seed in range(200):
            shared = np.repeat(random.normal(0.0, 1.0, 40), 5)
            values = shared + random.normal(0.0, 0.2, 200)
            weights = np.concatenate(list(draws(np.repeat(np.arange(40), 5).astype(str).tolist(), 300, seed)))
            low, high = interval(weights @ values / weights.sum(axis=1))
            covered += low <= 0.0 <= high
        assert 0.88 <= covered / 200 <= 0.99

    def test_leaves_undefined_replicates_out(self):
        assert interval(np.array([1.0, np.nan, 1.0])) == [1.0, 1.0]
        assert interval(np.array([np.nan])) is None


class TestTable:
    def test_point_lies_in_its_interval_and_the_model_beats_the_mean(self):
        content = make_table()
        model = content["rows"][0]
        for name, value in model["metrics"].items():
            low, high = model["intervals"][name]
            assert low < value < high
        (comparison,) = content["comparisons"]
        assert comparison["against"] == "predict the mean"
        assert comparison["better"] is comparison["certain"] is True
        assert comparison["difference"] < 0  # mae: lower is better

    def test_differences_are_paired(self):
        # The same scores shifted a little: each has a wide interval, their difference has nearly none.
        content = make_table(other=(ACTIVE, 0.0, ""))
        mae = content["rows"][0]["intervals"]["mae"]
        difference = content["comparisons"][1]["interval"]
        assert difference == pytest.approx(mae)  # the other one's error is 0 in every draw

    def test_equal_to_the_active_is_good_enough_and_equal_to_a_baseline_is_not(self):
        targets = np.array([1.0, 2.0, 4.0, 5.0] * 10)
        ids = [f"g{i}" for i in range(40)]
        scores = np.full(40, 3.0)
        entries = [Scores("m", MODEL, scores), Scores("a", ACTIVE, scores), Scores("b", BASELINE, scores)]
        content = table(RATING, "regression", entries, targets, ids, 50)
        assert [(each["against"], each["better"]) for each in content["comparisons"]] == [("a", True), ("b", False)]

    def test_what_must_not_be_compared_is_not(self):
        content = make_table(old=(ACTIVE, 0.1, "in sample"))
        assert [each["against"] for each in content["comparisons"]] == ["predict the mean"]
        assert content["rows"][-1]["comparable"] is False

    def test_an_undefined_metric_is_null(self):
        content = make_table()
        constant = content["rows"][1]
        assert constant["metrics"]["pearson"] is constant["intervals"]["pearson"] is None
        assert constant["replicates"]["pearson"] == 0

    def test_few_rows_are_called_few(self):
        words = "only 15 rows in 3 groups, under 100 rows or 8 groups: read these numbers as a hint"
        assert make_table(groups=3)["insufficient"] == words
        assert "too narrow" in (insufficient(100, 1) or "")
        assert insufficient(100, 8) is None

    def test_a_single_row_has_no_figure_rather_than_an_interval_without_width(self):
        found = make_table(groups=1, per_group=1)
        assert {value for row in found["rows"] for value in (*row["metrics"].values(), *row["intervals"].values())} == {
            None
        }
        assert found["skill"]["value"] is None
        assert "undefined on these rows" in skill_sentence(MODEL, found)

    def test_what_has_rows_and_groups_enough_is_not_called_insufficient(self):
        assert insufficient(100, 8) is None
        assert insufficient(99, 8) and insufficient(100, 7)

    def test_a_table_is_called_insufficient_where_training_would_have_gone_over_to_k_fold(self):
        recipe = Recipe()
        assert insufficient(recipe.min_test_rows, recipe.min_test_groups) is None
        assert insufficient(recipe.min_test_rows - 1, recipe.min_test_groups)
        assert insufficient(recipe.min_test_rows, recipe.min_test_groups - 1)


class TestSkill:
    def test_is_the_share_of_the_best_baselines_error_that_is_done_away_with(self):
        content = make_table(close=(BASELINE, 1.0, ""))
        rows = {each["name"]: each["metrics"]["mae"] for each in content["rows"]}
        skill = content["skill"]
        assert skill["against"] == "close"
        assert skill["value"] == pytest.approx(1 - rows["m"] / rows["close"])
        assert skill["interval"][0] < skill["value"] < skill["interval"][1]
        assert skill["certain"] is True
        assert "is better than the best baseline, close" in skill_sentence("m", content)

    def test_within_its_interval_it_is_no_better_than_the_best_baseline(self):
        content = make_table(close=(BASELINE, 0.35, ""))
        assert content["skill"]["certain"] is False
        assert "m is not better beyond its interval than the best baseline, close: skill" in skill_sentence(
            "m", content
        )

    def test_of_a_rate_is_the_share_of_what_was_left_to_gain(self):
        positive = np.array([0.0, 1.0] * 30)
        scores = np.where(np.arange(60) % 5 == 0, 1 - positive, positive)
        entries = [Scores("m", MODEL, positive), Scores("b", BASELINE, scores)]
        skill = table(RATING, "binary", entries, positive, [f"g{i}" for i in range(60)], 50)["skill"]
        assert skill["metric"] == "auc"
        assert skill["value"] == 1.0

    def test_a_baseline_without_error_leaves_it_undefined(self):
        content = make_table(perfect=(BASELINE, 0.0, ""))
        assert content["skill"]["against"] == "perfect"
        assert content["skill"]["value"] is None
        assert "cannot be compared" in skill_sentence("m", content)

    def test_what_must_not_be_compared_is_no_best_baseline(self):
        content = make_table(old=(ACTIVE, 0.0, ""), other=(BASELINE, 0.0, "in sample"))
        assert content["skill"]["against"] == "predict the mean"


class TestValidate:
    REPORT = {
        "headline": "test",
        "subsets": {"test": make_table()},
        "slices": {"phase": [{"value": "x", **make_table()}]},
    }

    def test_a_whole_report_passes(self):
        validate(self.REPORT)

    def broken(self, change):
        report = copy.deepcopy(self.REPORT)
        change(report)
        return report

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda r: r["subsets"]["test"]["rows"].pop(1), "no baseline row"),
            (lambda r: r["subsets"]["test"].pop("n"), "does not say its n"),
            (lambda r: r["subsets"]["test"]["rows"][0]["intervals"].pop("mae"), "mae of 'm' has no interval"),
            (lambda r: r["subsets"]["test"]["rows"][0]["intervals"].update(mae=None), "mae of 'm' has no interval"),
            (lambda r: r["subsets"]["test"]["rows"].pop(0), "no row of the model"),
            (lambda r: r["slices"]["phase"][0]["rows"].pop(1), "slice phase=x has no baseline row"),
            (lambda r: r.update(headline="else"), "no table for its headline"),
        ],
    )
    def test_a_number_without_baseline_n_or_interval_is_an_error(self, change, message):
        with pytest.raises(ReportError, match=message):
            validate(self.broken(change))
