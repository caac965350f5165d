import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from ml import metrics

N = 60


def sample(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with ties, targets 0..5, and how often each row occurs."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, 6, N).astype(float)
    scores = np.round(np.clip(targets + random.normal(0, 1, N), 0, 5) * 2) / 2
    return scores, targets, random.integers(0, 4, N).astype(float)


REGRESSION = {
    "mae": (metrics.mae, lambda s, t: sklearn.metrics.mean_absolute_error(t, s)),
    "rmse": (metrics.rmse, lambda s, t: sklearn.metrics.root_mean_squared_error(t, s)),
    "r2": (metrics.r2, lambda s, t: sklearn.metrics.r2_score(t, s)),
    "pearson": (metrics.pearson, lambda s, t: scipy.stats.pearsonr(s, t).statistic),
    "spearman": (metrics.spearman, lambda s, t: scipy.stats.spearmanr(s, t).statistic),
}
CLASSIFICATION = {
    "auc": (metrics.auc, lambda p, y: sklearn.metrics.roc_auc_score(y, p)),
    "average_precision": (metrics.average_precision, lambda p, y: sklearn.metrics.average_precision_score(y, p)),
    "brier": (metrics.brier, lambda p, y: sklearn.metrics.brier_score_loss(y, p)),
    "log_loss": (metrics.log_loss, lambda p, y: sklearn.metrics.log_loss(y, np.clip(p, 1e-7, 1 - 1e-7))),
}
DECISIONS = {
    "f1": sklearn.metrics.f1_score,
    "precision": sklearn.metrics.precision_score,
    "recall": sklearn.metrics.recall_score,
    "balanced_accuracy": sklearn.metrics.balanced_accuracy_score,
}


@pytest.mark.parametrize("seed", [0, 1, 2])
class TestEqualsTheLibraries:
    @pytest.mark.parametrize("name", REGRESSION)
    def test_regression_plain_and_weighted(self, name, seed):
        ours, theirs = REGRESSION[name]
        scores, targets, times = sample(seed)
        found = ours(scores, targets, np.stack([np.ones(N), times]))
        repeated = np.repeat(np.arange(N), times.astype(int))
        assert found[0] == pytest.approx(theirs(scores, targets), rel=1e-9)
        assert found[1] == pytest.approx(theirs(scores[repeated], targets[repeated]), rel=1e-9)

    @pytest.mark.parametrize("name", CLASSIFICATION)
    def test_probabilities_plain_and_weighted(self, name, seed):
        ours, theirs = CLASSIFICATION[name]
        scores, targets, times = sample(seed)
        probabilities, positive = scores / 5, targets >= 4
        found = ours(probabilities, positive, np.stack([np.ones(N), times]))
        repeated = np.repeat(np.arange(N), times.astype(int))
        assert found[0] == pytest.approx(theirs(probabilities, positive), rel=1e-9)
        assert found[1] == pytest.approx(theirs(probabilities[repeated], positive[repeated]), rel=1e-9)

    @pytest.mark.parametrize("name", DECISIONS)
    def test_decisions(self, name, seed):
        scores, targets, _ = sample(seed)
        found = metrics.decisions(scores >= 3.5, targets >= 4, metrics.once(N))
        assert found[name][0] == pytest.approx(DECISIONS[name](targets >= 4, scores >= 3.5))


class TestConstantPredictor:
    """Closed forms of a predictor that always says the mean."""

    TARGETS = np.array([1.0, 2.0, 4.0, 5.0])
    MEAN = np.full(4, 3.0)

    def test_rmse_is_the_standard_deviation_and_r2_is_zero(self):
        assert metrics.rmse(self.MEAN, self.TARGETS, metrics.once(4))[0] == pytest.approx(self.TARGETS.std())
        assert metrics.r2(self.MEAN, self.TARGETS, metrics.once(4))[0] == pytest.approx(0.0)

    def test_mae_is_the_mean_distance_and_auc_a_coin(self):
        assert metrics.mae(self.MEAN, self.TARGETS, metrics.once(4))[0] == 1.5
        assert metrics.auc(self.MEAN, self.TARGETS >= 4, metrics.once(4))[0] == 0.5

    def test_correlations_are_undefined(self):
        for correlation in (metrics.pearson, metrics.spearman):
            assert np.isnan(correlation(self.MEAN, self.TARGETS, metrics.once(4))[0])
            assert np.isnan(correlation(self.TARGETS, self.MEAN, metrics.once(4))[0])

    def test_average_precision_and_brier_follow_from_the_base_rate(self):
        positive = self.TARGETS >= 5
        rate = np.full(4, 0.25)
        assert metrics.average_precision(rate, positive, metrics.once(4))[0] == pytest.approx(0.25)
        assert metrics.brier(rate, positive, metrics.once(4))[0] == pytest.approx(0.25 * 0.75)


class TestUndefined:
    def test_one_class_has_no_auc_and_no_balanced_accuracy(self):
        scores, none = np.array([1.0, 2.0]), np.array([False, False])
        assert np.isnan(metrics.auc(scores, none, metrics.once(2))[0])
        assert np.isnan(metrics.average_precision(scores, none, metrics.once(2))[0])
        assert np.isnan(metrics.decisions(scores > 1, none, metrics.once(2))["balanced_accuracy"][0])

    def test_a_replicate_without_spread_is_undefined_and_the_others_are_not(self):
        scores, targets = np.array([1.0, 2.0, 3.0]), np.array([1.1, 1.9, 3.2])
        weights = np.array([[1.0, 1.0, 1.0], [3.0, 0.0, 0.0]])
        for correlation in (metrics.pearson, metrics.spearman, metrics.r2):
            assert list(np.isnan(correlation(scores, targets, weights))) == [False, True]

    @pytest.mark.parametrize("metric", [metrics.mae, metrics.rmse, metrics.pearson, metrics.spearman, metrics.r2])
    def test_no_rows_give_no_number(self, metric):
        assert np.isnan(metric(np.array([]), np.array([]), metrics.once(0))[0])


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=2, max_size=30))
def test_auc_counts_pairs(pairs):
    scores = np.array([float(score) for score, _ in pairs])
    positive = np.array([good for _, good in pairs])
    wins = [
        (a > b) + 0.5 * (a == b) for a, good in zip(scores, positive, strict=True) if good
        for b, other in zip(scores, positive, strict=True) if not other
    ]  # fmt: skip
    found = metrics.auc(scores, positive, metrics.once(len(pairs)))[0]
    assert np.isnan(found) if not wins else found == pytest.approx(np.mean(wins))


@given(st.integers(0, 60), st.integers(1, 60))
def test_wilson_is_scipys(hits, n):
    hits = min(hits, n)
    expected = scipy.stats.binomtest(hits, n).proportion_ci(method="wilson")
    low, high = metrics.wilson(hits, n)
    assert (low, high) == (pytest.approx(expected.low, abs=1e-9), pytest.approx(expected.high, abs=1e-9))


def test_wilson_of_nothing_is_everything():
    assert [float(end) for end in metrics.wilson(0, 0)] == [0.0, 1.0]
