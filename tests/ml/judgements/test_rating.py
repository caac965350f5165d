import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ml.calibration import Calibration
from ml.judgements import judgement
from ml.judgements.base import JudgementError, Scale
from ml.judgements.rating import Rating
from ml.judgements.rating_labels import RatingLabel, RatingPrediction, label_from_votes
from ml.thresholds import fixed_policy
from tests.ml.rows import row

RATING = Rating()
STARS = Scale(0.0, 5.0)
ONE_TO_FIVE = Scale(1.0, 5.0)


class TestLabelFromVotes:
    @pytest.mark.parametrize(
        ("votes", "expected"),
        [
            ([5], (5.0, 1, True)),
            ([4, 5], (4.5, 2, True)),
            ([4, 4, 3], (3.67, 3, False)),
            ([None], (0.0, 0, False)),
            ([5, None], (0.0, 1, False)),  # a tie is "not a sunset"
            ([5, 5, None], (5.0, 2, True)),
            ([5, None, None], (0.0, 1, False)),
            ([], (None, 0, None)),
        ],
    )
    def test_mean_of_ratings_unless_most_say_not_a_sunset(self, votes, expected):
        assert label_from_votes(votes) == expected

    def test_rounds_half_up_as_the_column_does(self):
        votes = [4] * 7 + [3]  # 3.875
        assert label_from_votes(votes)[0] == 3.88

    def test_label_and_good_never_contradict_after_rounding(self):
        votes = [4] * 199 + [3]  # 3.995, stored as 4.00
        assert label_from_votes(votes) == (4.0, 200, True)

    def test_a_rating_of_seven_is_refused(self):
        with pytest.raises(JudgementError, match="got 7"):
            label_from_votes([4, 7])

    @given(st.lists(st.one_of(st.none(), st.integers(1, 5)), min_size=1, max_size=20), st.randoms())
    def test_the_order_of_votes_does_not_matter(self, votes, random):
        before = label_from_votes(votes)
        random.shuffle(votes)
        assert label_from_votes(votes) == before


class TestLabel:
    def test_out_of_range_is_refused(self):
        with pytest.raises(ValidationError):
            RatingLabel(rating=7)

    def test_not_a_sunset_has_no_stars(self):
        with pytest.raises(ValidationError, match="not a sunset"):
            RatingLabel(rating=3, is_sunset=False)


class TestCheckTargets:
    def test_no_rows_says_how_to_add_labels(self):
        with pytest.raises(JudgementError, match="afterglow import snapshots"):
            RATING.check_targets(np.array([]), "regression")

    @pytest.mark.parametrize(("value", "rate"), [(0.0, "positive rate 0"), (1.0, "positive rate 1")])
    def test_one_class_names_rate_and_threshold_with_scale(self, value, rate):
        with pytest.raises(JudgementError, match=rf"{rate}.*threshold 4 on the scale 0\.\.5"):
            RATING.check_targets(np.full(5, value), "binary")

    def test_equal_ratings_are_refused(self):
        with pytest.raises(JudgementError, match="same rating"):
            RATING.check_targets(np.full(5, 3.0), "regression")

    @pytest.mark.parametrize("head", ["regression", "binary"])
    def test_two_values_are_enough(self, head):
        RATING.check_targets(np.array([0.0, 1.0]), head)

    def test_an_unknown_head_lists_the_known_ones(self):
        with pytest.raises(JudgementError, match="regression, binary"):
            RATING.check_targets(np.array([0.0, 1.0]), "ranking")


class TestDisagreement:
    @given(st.floats(0, 5))
    def test_is_zero_when_equal(self, stars):
        prediction = RatingPrediction(raw_score=stars / 5, ai_rating=stars)
        assert RATING.disagreement(RatingLabel(rating=stars), prediction) == pytest.approx(0.0, abs=1e-12)

    @given(st.floats(0, 5), st.floats(0, 1))
    def test_lies_in_zero_to_one(self, stars, raw):
        label = RatingLabel(rating=stars)
        for prediction in (
            RatingPrediction(raw_score=raw, ai_rating=5 * raw),
            RatingPrediction(raw_score=raw, p_good=raw),
        ):
            assert 0.0 <= RATING.disagreement(label, prediction) <= 1.0

    def test_is_the_rating_distance_over_five(self):
        prediction = RatingPrediction(raw_score=0.5, ai_rating=2.5)
        assert RATING.disagreement(RatingLabel(rating=4.0), prediction) == pytest.approx(0.3)

    def test_a_model_on_one_to_five_is_compared_fairly(self):
        prediction, _ = RATING.from_raw_score(0.8, ONE_TO_FIVE, "regression", Calibration("none"))
        assert RATING.disagreement(RatingLabel(rating=4.0), prediction) == pytest.approx(0.0)

    def test_binary_compares_the_probability_with_good(self):
        prediction = RatingPrediction(raw_score=0.3, p_good=0.3)
        assert RATING.disagreement(RatingLabel(rating=4.0), prediction) == pytest.approx(0.7)
        assert RATING.disagreement(RatingLabel(rating=3.9), prediction) == pytest.approx(0.3)


class TestScales:
    def test_threshold_is_written_on_the_models_scale(self):
        assert RATING.threshold_policy("regression", STARS) == fixed_policy(4.0, "ai_rating", (0, 5))
        assert RATING.threshold_policy("regression", ONE_TO_FIVE) == fixed_policy(4.2, "ai_rating", (1, 5))

    def test_scores_are_on_the_labels_scale_whatever_the_models(self):
        raw = np.array([0.0, 0.5, 1.0])
        for scale in (STARS, ONE_TO_FIVE):
            outputs = RATING.outputs_from_head(raw, Calibration("none"), scale, "regression")
            np.testing.assert_allclose(RATING.scores(outputs, "regression"), [0.0, 2.5, 5.0])

    def test_encode_maps_stars_to_raw(self):
        np.testing.assert_allclose(RATING.encode(np.array([0.0, 4.0, 5.0]), "regression"), [0.0, 0.8, 1.0], atol=1e-7)

    @pytest.mark.parametrize("head", ["regression", "binary"])
    def test_from_raw_score_agrees_with_decode(self, head):
        calibration = Calibration("none") if head == "regression" else Calibration("platt")
        outputs = RATING.outputs_from_head(np.array([0.3]), calibration, ONE_TO_FIVE, head)
        again, named = RATING.from_raw_score(float(outputs["raw_score"][0]), ONE_TO_FIVE, head, calibration)
        assert again == RATING.decode(outputs, ONE_TO_FIVE, head)[0]
        assert named == {name: pytest.approx(float(values[0])) for name, values in outputs.items()}


def fitted(method: str, head: str) -> Calibration:
    random = np.random.default_rng(3)
    x = random.normal(0.5, 0.2, 600)
    y = np.clip(x + random.normal(0, 0.1, 600), 0, 1)
    return RATING.fit_calibration(x, (y > 0.6).astype(float) if head == "binary" else y, head, method)


def with_good_ones() -> tuple[np.ndarray, np.ndarray]:
    """Head outputs and encoded labels, a third of them good."""
    random = np.random.default_rng(4)
    x = random.uniform(0.0, 1.2, 600)
    return x, np.clip(x + random.normal(0, 0.15, 600), 0, 1).astype(np.float32).astype(np.float64)


class TestTorch:
    @pytest.mark.parametrize(
        ("head", "method"),
        [("regression", method) for method in ("none", "linear", "isotonic", "platt")]
        + [("binary", method) for method in ("none", "platt", "isotonic")],
    )
    def test_graph_outputs_equal_numpy(self, head, method):
        calibration = fitted(method, head)
        x = np.linspace(-3, 4, 501, dtype=np.float32)
        graph = RATING.graph_outputs(torch.from_numpy(x)[:, None], calibration, ONE_TO_FIVE, head)
        plain = RATING.outputs_from_head(x, calibration, ONE_TO_FIVE, head)
        assert list(graph) == list(plain)
        for name, values in plain.items():
            assert graph[name].shape == (501,)
            assert graph[name].dtype == torch.float32
            np.testing.assert_allclose(graph[name].numpy(), values, atol=2e-5)

    @pytest.mark.parametrize("method", ["none", "linear", "isotonic", "platt"])
    def test_the_probability_of_good_is_in_the_graph_and_follows_from_the_raw_score(self, method):
        x, y = with_good_ones()
        calibration = RATING.fit_calibration(x, y, "regression", method)
        assert Calibration.from_json(calibration.to_json()) == calibration
        graph = RATING.graph_outputs(torch.from_numpy(x.astype(np.float32))[:, None], calibration, STARS, "regression")
        plain = RATING.outputs_from_head(x, calibration, STARS, "regression")
        assert list(graph) == list(plain) == ["raw_score", "ai_rating", "p_good"]
        np.testing.assert_allclose(graph["p_good"].numpy(), plain["p_good"], atol=1e-4)
        prediction, named = RATING.from_raw_score(float(plain["raw_score"][7]), STARS, "regression", calibration)
        assert prediction == RATING.decode({k: v[7:8] for k, v in plain.items()}, STARS, "regression")[0]
        assert named["p_good"] == pytest.approx(plain["p_good"][7])

    @pytest.mark.parametrize("head", ["regression", "binary"])
    def test_loss_falls_on_eight_items(self, head):
        torch.manual_seed(0)
        features = torch.randn(8, 4)
        targets = torch.tensor([0.0, 1.0] * 4)
        module = RATING.build_head(4, head, dropout=0.0)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        losses = []
        for _ in range(20):
            loss = RATING.loss(module(features), targets, torch.ones(8), head)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0]

    def test_loss_weights_count(self):
        outputs, targets = torch.tensor([[0.0], [1.0]]), torch.tensor([0.0, 0.0])
        assert RATING.loss(outputs, targets, torch.tensor([1.0, 0.0]), "regression").item() == 0.0


class TestCalibrationChoice:
    def test_auto_is_linear_under_300_rows_and_isotonic_from_there(self):
        x = np.linspace(0, 1, 300)
        assert RATING.fit_calibration(x[:299], x[:299], "regression", "auto").method == "linear"
        assert RATING.fit_calibration(x, x, "regression", "auto").method == "isotonic"

    def test_binary_logits_always_become_probabilities(self):
        for method in ("none", "auto"):
            calibration = RATING.fit_calibration(
                np.array([-9.0, 9.0, 8.0]), np.array([0.0, 1.0, 1.0]), "binary", method
            )
            assert calibration.method == "platt"

    def test_linear_is_refused_for_logits(self):
        with pytest.raises(JudgementError, match="auto, none, platt, isotonic"):
            RATING.fit_calibration(np.zeros(3), np.zeros(3), "binary", "linear")


class TestProbabilityOfGood:
    def test_it_is_calibrated_on_rows_it_was_not_fitted_on(self):
        x, y = with_good_ones()
        calibration = RATING.fit_calibration(x[:300], y[:300], "regression", "auto")
        p_good = RATING.outputs_from_head(x[300:], calibration, STARS, "regression")["p_good"]
        assert p_good.mean() == pytest.approx((y[300:] >= 0.8).mean(), abs=0.05)
        assert np.all(np.diff(p_good[np.argsort(x[300:])]) >= -1e-12)

    def test_a_label_of_exactly_four_stars_is_good_though_encoded_in_float32(self):
        encoded = RATING.encode(np.array([4.0] * 10 + [3.9] * 10), "regression").astype(np.float64)
        outputs = np.r_[np.full(10, 0.9), np.full(10, 0.1)]
        good = RATING.fit_calibration(outputs, encoded, "regression", "none").good
        assert good is not None
        assert good.n == 20
        assert good.apply(np.array([0.9, 0.1])) == pytest.approx([11 / 12, 1 / 12], abs=0.01)  # Platt's prior

    def test_with_too_few_good_rows_it_is_left_out_and_the_reason_said(self):
        x, y = with_good_ones()
        y = np.where(np.arange(600) < 591, np.minimum(y, 0.7), 0.9)
        calibration = RATING.fit_calibration(x, y, "regression", "auto")
        assert calibration.good is None
        assert calibration.good_missing.startswith("9 of 600 held-out rows are good")
        assert list(RATING.outputs_from_head(x, calibration, STARS, "regression")) == ["raw_score", "ai_rating"]
        assert RATING.from_raw_score(0.5, STARS, "regression", calibration)[0].p_good is None

    def test_a_calibration_written_before_there_was_one_is_read_as_it_was(self):
        old = {
            "method": "none",
            "knots_x": [],
            "knots_y": [],
            "slope": 1.0,
            "intercept": 0.0,
            "n": 3,
            "fitted_on": "val",
        }
        assert Calibration.from_json(old) == Calibration("none", n=3, fitted_on="val")


class TestBaselines:
    TRAIN = (row(1, target_label=1.0), row(2, target_label=3.0), row(3, webcam_id=2, target_label=5.0))

    def test_mean_median_and_mean_of_the_webcam(self):
        test = [row(10, webcam_id=1), row(11, webcam_id=9)]
        found = RATING.baselines(self.TRAIN, test, "regression")
        assert {name: list(values) for name, values in found.items()} == {
            "predict the mean": [3.0, 3.0],
            "predict the median": [3.0, 3.0],
            "per-webcam mean": [2.0, 3.0],
        }

    def test_no_mean_of_the_webcam_where_none_was_seen(self):
        assert "per-webcam mean" not in RATING.baselines(self.TRAIN, [row(10, webcam_id=9)], "regression")

    def test_binary_predicts_the_base_rate(self):
        train = [row(1, target_label=1.0), row(2, target_label=0.0)]
        found = RATING.baselines(train, [row(3, webcam_id=9)], "binary")
        assert {name: list(values) for name, values in found.items()} == {"predict the base rate": [0.5]}


class TestMeasures:
    @pytest.mark.parametrize("head", ["regression", "binary"])
    def test_reports_exactly_the_named_metrics_within_their_ranges(self, head):
        random = np.random.default_rng(1)
        targets = random.integers(0, 2, 40).astype(float) * (5 if head == "regression" else 1)
        scores = random.random(40) * (5 if head == "regression" else 1)
        measured = RATING.measure(scores, targets, head)
        specs = RATING.metrics(head)
        assert list(measured) == [spec.name for spec in specs]
        assert all(spec.low <= measured[spec.name] <= spec.high for spec in specs)

    def test_many_weightings_equal_repeated_rows(self):
        random = np.random.default_rng(2)
        scores, targets = random.integers(0, 11, 30) / 2, random.integers(0, 6, 30).astype(float)
        weights = random.integers(0, 4, (5, 30)).astype(float)
        fast = RATING.measure_many(scores, targets, weights, "regression")
        slow = super(Rating, RATING).measure_many(scores, targets, weights, "regression")
        for name, values in slow.items():
            np.testing.assert_allclose(fast[name], values, rtol=1e-9, atol=1e-12)


def test_review_keys_are_those_of_the_labelling_page():
    assert set(RATING.review.keys) == {"1", "2", "3", "4", "5", "n", "0", "space", "z"}


def test_the_registry_finds_it_without_loading_torch():
    code = (
        "import sys; from ml.judgements import judgement; judgement('rating'); "
        "print([m for m in ('torch', 'sklearn', 'scipy', 'celery') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    assert isinstance(judgement("rating"), Rating)
