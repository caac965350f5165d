import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from ml.calibration import Calibration, fit_isotonic, fit_linear, fit_platt, knot_form

GRID = np.linspace(-5, 6, 2001)


def noisy(seed: int, n: int = 900) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.normal(0.4, 0.3, n)
    return x, np.clip(x**2 + random.normal(0, 0.1, n), 0, 1)


def by_knots(calibration: Calibration, x: np.ndarray) -> np.ndarray:
    k0, y0, s0, bends = knot_form(calibration)
    return np.clip(y0 + s0 * (x - k0) + sum(change * np.maximum(x - knot, 0.0) for knot, change in bends), 0.0, 1.0)


class TestKnotForm:
    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("fit", [fit_isotonic, fit_linear])
    def test_equals_interpolation(self, fit, seed):
        calibration = fit(*noisy(seed))
        np.testing.assert_allclose(by_knots(calibration, GRID), calibration.apply(GRID), atol=1e-6)

    def test_none_is_the_clipped_identity(self):
        np.testing.assert_allclose(by_knots(Calibration("none"), GRID), np.clip(GRID, 0, 1))

    def test_a_curve_has_no_knots(self):
        with pytest.raises(ValueError, match="no knots"):
            knot_form(Calibration("platt"))


class TestMonotone:
    @settings(max_examples=40, deadline=None)
    @given(
        st.lists(st.tuples(st.floats(-10, 10), st.floats(0, 1)), min_size=1, max_size=80),
        st.sampled_from(["linear", "platt", "isotonic"]),
    )
    def test_never_falls_and_stays_in_zero_to_one(self, points, method):
        x, y = np.array([p[0] for p in points]), np.array([p[1] for p in points])
        if method == "isotonic":
            calibration = fit_isotonic(x, y, min_block=5)
        else:
            calibration = {"linear": fit_linear, "platt": fit_platt}[method](x, y)
        scores = calibration.apply(np.linspace(-12, 12, 400))
        assert np.isfinite(scores).all()
        assert scores.min() >= 0.0
        assert scores.max() <= 1.0
        assert (np.diff(scores) >= -1e-9).all()


class TestLinear:
    def test_finds_the_line(self):
        x = np.linspace(0, 1, 50)
        calibration = fit_linear(x, 0.2 + 0.5 * x)
        np.testing.assert_allclose(calibration.apply(x), 0.2 + 0.5 * x, atol=1e-9)

    def test_a_falling_line_corrects_the_mean_only(self):
        x = np.linspace(0.4, 0.6, 50)
        scores = fit_linear(x, 1.0 - x).apply(x)
        assert scores.mean() == pytest.approx(0.5)
        assert (np.diff(scores) > 0).all()


class TestPlatt:
    def test_is_near_the_library_on_many_rows(self):
        random = np.random.default_rng(0)
        x = random.normal(0, 2, 5000)
        y = (random.random(5000) < 1 / (1 + np.exp(-(0.7 * x - 0.5)))).astype(float)
        ours, theirs = fit_platt(x, y), LogisticRegression(C=np.inf).fit(x[:, None], y)
        assert ours.slope == pytest.approx(theirs.coef_[0, 0], abs=0.01)
        assert ours.intercept == pytest.approx(theirs.intercept_[0], abs=0.01)

    def test_separable_rows_give_a_finite_curve(self):
        calibration = fit_platt(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([0.0, 0.0, 1.0, 1.0]))
        assert 0 < calibration.slope < 100

    def test_rows_of_reverse_order_do_not_turn_the_model_round(self):
        assert fit_platt(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([1.0, 1.0, 0.0, 0.0])).slope == 1.0

    def test_large_logits_do_not_overflow(self):
        np.testing.assert_allclose(Calibration("platt").apply(np.array([-1e4, 1e4])), [0.0, 1.0])


class TestIsotonic:
    def test_every_knot_stands_on_enough_rows(self):
        x, y = noisy(1, 300)
        assert len(fit_isotonic(x, y).knots_x) <= 300 // 30 + 2

    def test_knots_rise_strictly(self):
        calibration = fit_isotonic(*noisy(2))
        assert (np.diff(calibration.knots_x) > 0).all()
        assert (np.diff(calibration.knots_y) > 0).all()

    def test_beats_the_line_on_a_curved_relation(self):
        x, y = noisy(3, 3000)
        train, test = slice(0, 2000), slice(2000, None)

        def error(calibration: Calibration) -> float:
            return float(np.mean((calibration.apply(x[test]) - y[test]) ** 2))

        assert error(fit_isotonic(x[train], y[train])) < error(fit_linear(x[train], y[train]))

    def test_too_few_rows_give_a_line(self):
        assert fit_isotonic(*noisy(4, 50)).method == "linear"


def test_json_round_trip():
    calibration = fit_isotonic(*noisy(5))
    assert Calibration.from_json(calibration.to_json()) == calibration


def test_a_number_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="finite"):
        fit_linear(np.array([0.0, np.nan, 1.0]), np.zeros(3))
