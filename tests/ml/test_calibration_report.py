import json

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from ml.bundle import load_bundle
from ml.calibration import Calibration
from ml.calibration_report import calibration_content, calibration_of
from ml.curves import passed, threshold_score
from ml.evaluated import Evaluated
from ml.judgements.rating import Rating
from ml.report import MODEL, Scores
from tests.ml.brightness import brightness_bundle
from tests.ml.rows import row

TENTHS = [step / 10 for step in range(11)]


def of(values, labels, groups=None, is_probability=True, edges=TENTHS, replicates=200):
    groups = [f"g{place}" for place in range(len(values))] if groups is None else groups
    return calibration_of(np.asarray(values), np.asarray(labels), groups, edges, is_probability, replicates)


def probabilities(n=2000, seed=0):
    """True probabilities and labels drawn by them."""
    random = np.random.default_rng(seed)
    p = random.uniform(0.02, 0.98, n)
    return p, (random.random(n) < p).astype(float)


class TestProbability:
    def test_true_probabilities_have_slope_one_and_hardly_an_error(self):
        found = of(*probabilities())
        assert found["slope_interval"][0] < 1.0 < found["slope_interval"][1]
        assert found["intercept_interval"][0] < 0.0 < found["intercept_interval"][1]
        assert found["ece"] < 0.05
        assert found["brier"] < found["brier_of_base_rate"]
        assert (found["n"], found["bins"]) == (2000, 15)

    def test_slope_and_intercept_are_those_of_a_logistic_regression(self):
        p, y = probabilities(400)
        p = p**2  # not calibrated
        logits = np.log(p / (1 - p))[:, None]
        peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logits, y)
        found = of(p, y)
        assert found["slope"] == pytest.approx(peer.coef_[0, 0], abs=1e-4)
        assert found["intercept"] == pytest.approx(peer.intercept_[0], abs=1e-4)

    def test_too_extreme_probabilities_have_a_slope_below_one(self):
        p, y = probabilities()
        found = of(1 / (1 + np.exp(-3 * np.log(p / (1 - p)))), y)
        assert found["slope_interval"][1] < 1.0
        assert found["slope"] == pytest.approx(1 / 3, abs=0.05)

    def test_the_error_is_the_gap_where_all_are_off_alike(self):
        assert of(np.full(40, 0.9), np.r_[np.ones(20), np.zeros(20)])["ece"] >= 0.4 - 1e-9

    def test_what_chance_alone_would_show_is_what_calibrated_scores_show(self):
        shown, by_chance, is_under = [], [], 0
        for seed in range(60):
            found = of(*probabilities(120, seed))
            low, high = found["ece_interval"]
            assert low <= found["ece"] <= high
            shown.append(found["ece"])
            by_chance.append(found["ece_by_chance"][0])
            is_under += found["ece"] <= found["ece_by_chance"][1]
        assert np.mean(by_chance) == pytest.approx(np.mean(shown), rel=0.1)
        assert is_under >= 51  # 57 expected

    def test_rows_that_err_together_show_more_by_chance_than_as_many_single_ones(self):
        p, y = (np.repeat(each, 4) for each in probabilities(60))
        apart, together = of(p, y), of(p, y, groups=[f"g{place // 4}" for place in range(len(p))])
        assert together["ece_by_chance"][0] > 1.3 * apart["ece_by_chance"][0]

    def test_scores_that_are_off_show_more_than_chance(self):
        p, y = probabilities(400)
        found = of(p**3, y)
        assert found["ece_interval"][0] > found["ece_by_chance"][1]

    @pytest.mark.parametrize("labels", [np.zeros(30), np.r_[np.zeros(15), np.ones(15)]])
    def test_one_class_and_separable_rows_have_no_slope(self, labels):
        found = of(np.linspace(0.1, 0.9, 30), labels)
        assert (found["slope"], found["slope_interval"], found["intercept"]) == (None, None, None)
        assert found["brier"] is not None


class TestScores:
    def test_the_line_is_that_of_least_squares(self):
        random = np.random.default_rng(1)
        scores = random.uniform(0, 5, 300)
        labels = 0.5 + 0.7 * scores + random.normal(0, 0.5, 300)
        peer = LinearRegression().fit(scores[:, None], labels)
        found = of(scores, labels, is_probability=False, edges=np.linspace(0, 5, 11))
        assert found["slope"] == pytest.approx(peer.coef_[0])
        assert found["intercept"] == pytest.approx(peer.intercept_)
        assert found["slope_interval"][0] < 0.7 < found["slope_interval"][1]
        assert (found["brier"], found["brier_interval"], found["brier_of_base_rate"]) == (None, None, None)

    def test_constant_scores_have_no_slope(self):
        assert of(np.full(20, 2.5), np.arange(20) / 4, is_probability=False, edges=[0, 2.5, 5])["slope"] is None

    def test_buckets_hold_every_row_once_with_the_interval_of_their_mean_label(self):
        p, y = probabilities(500)
        buckets = of(p, y)["buckets"]
        assert sum(each["n"] for each in buckets) == 500
        for each in buckets:
            assert each["low"] <= each["mean_score"] <= each["high"]
            assert each["interval"][0] <= each["mean_label"] <= each["interval"][1]

    def test_a_single_group_of_stars_has_no_interval_and_a_probability_has_wilsons(self):
        scores, groups = [1.0, 1.0, 1.0, 4.0, 4.0, 4.0], ["a", "a", "a", "b", "c", "c"]
        few, some = of(scores, [2.0, 2.5, 3.0, 3.0, 4.0, 5.0], groups, False, [0, 2.5, 5])["buckets"]
        assert (few["n"], few["n_groups"], few["interval"]) == (3, 1, None)
        assert some["interval"][0] < some["mean_label"] < some["interval"][1]
        never, always = of([0.1] * 53 + [0.9], [0.0] * 53 + [1.0])["buckets"]
        assert never["interval"] == pytest.approx([0.0, 0.0676], abs=1e-3)  # Wilson 1927: z^2 / (n + z^2)
        assert always["interval"] == pytest.approx([0.2065, 1.0], abs=1e-3)
        (together,) = of([0.1] * 53, [0.0] * 53, ["one"] * 53)["buckets"]
        assert together["interval"][1] == pytest.approx(0.793, abs=1e-3)  # one group is one trial

    def test_intervals_draw_groups(self):
        p, y = probabilities(400)
        grouped = of(np.repeat(p[:20], 20), np.repeat(y[:20], 20), groups=[f"g{n // 20}" for n in range(400)])
        single = of(np.repeat(p[:20], 20), np.repeat(y[:20], 20))
        width = [each["brier_interval"][1] - each["brier_interval"][0] for each in (grouped, single)]
        assert width[0] > 2 * width[1]


def with_p_good(tmp_path, policy=None):
    """A bundle's facts with a curve of good: no graph has to run for these tables."""
    bundle = brightness_bundle(tmp_path / "b", "v_1")
    facts = json.loads((bundle / "bundle.json").read_text())
    facts["calibration"] = Calibration("none", good=Calibration("platt", slope=10.0, intercept=-7.0)).to_json()
    facts["threshold_policy"] = policy or facts["threshold_policy"]
    facts["outputs"] = ["raw_score", "ai_rating", "p_good"]
    for golden in facts["golden"]:
        golden["expected"]["p_good"] = 0.9
    (bundle / "bundle.json").write_text(json.dumps(facts))
    return load_bundle(bundle)


def test_a_regression_head_has_a_table_of_its_scores_and_one_of_its_probability_of_good(tmp_path):
    bundle = with_p_good(tmp_path)
    raw = np.linspace(0, 1, 60)
    rows = [row(place, target_label=5 * value, is_good=5 * value >= 4) for place, value in enumerate(raw)]
    p_good = bundle.fitted_calibration.good.apply(raw)
    part = Evaluated(rows, [Scores("v_1", MODEL, 5 * raw)], {"p_good": p_good})
    found = calibration_content(Rating(), bundle, part, 100)
    assert found["calibration_table"] == found["calibration"]["score"]["buckets"]
    assert found["calibration"]["score"]["slope"] == pytest.approx(1.0)
    assert found["calibration"]["p_good"]["brier"] == pytest.approx(np.mean((p_good - (raw >= 0.8)) ** 2))
    assert found["calibration"]["p_good_reason"] is None


def test_a_threshold_on_the_probability_of_good_is_told_as_a_score_too(tmp_path):
    policy = {"kind": "cost", "cost_fp": 1.0, "cost_fn": 1.0, "threshold": 0.5, "on": "p_good", "scale": [0.0, 1.0]}
    bundle = with_p_good(tmp_path, policy)
    assert threshold_score(Rating(), bundle) == pytest.approx(3.5)  # 10 * 0.7 - 7 = 0
    raw = np.linspace(0, 1, 101)
    outputs = {"p_good": bundle.fitted_calibration.good.apply(raw)}
    by_output = passed(Rating(), bundle, 5 * raw, outputs)
    assert by_output.tolist() == passed(Rating(), bundle, 5 * raw + 1e-9, {}).tolist()
    assert by_output.sum() == 31
