from dataclasses import replace

import numpy as np
import pytest
import torch

from ml.calibration import fit_good
from ml.calibration_report import calibration_of
from ml.events import Progress
from ml.features.backbones import load_backbone
from ml.judgements import judgement
from ml.training.dataset import FeatureInputs, load_items
from ml.training.label_noise import with_label_noise
from ml.training.learner import Learner
from ml.training.loop import fit
from ml.training.outoffold import OutOfFold, calibrate
from ml.training.recipe import Recipe
from ml.training.threshold import choose_threshold
from tests.ml.training.test_label_noise import world

RATING = judgement("rating")


@pytest.fixture(scope="module")
def noisy():
    """A model that learned from means freed of biases, its calibration, the rows and what is good of them by labels."""
    rows, ratings, truth = world(n=2400, counts=(1, 1, 2), splits=("train", "val", "test", "test"))
    rows = [replace(each, is_good=RATING.is_good(each.label_value)) for each in rows]
    items, told = with_label_noise(load_items(rows, RATING, "regression"), rows, RATING, "regression", ratings)
    assert told["used"]
    random = np.random.default_rng(0)
    features = np.column_stack([truth, *random.normal(0, 1, (3, len(truth)))]).astype(np.float32)
    recipe = Recipe(backbone="resnet18", epochs=60, dropout=0.0, threshold="precision_target", threshold_precision=0.5)

    class Sized:
        num_features = features.shape[1]
        source = load_backbone("handmade", "none", 0).source

    learner = Learner(RATING, recipe, RATING.scale, items, FeatureInputs(torch.from_numpy(features)), Sized())
    fitted = fit(learner, items.rows("train"), items.rows("val"), Progress())
    calibrated = calibrate(learner, fitted, items.rows("train", "val"), items.rows("val"), Progress(), retrain=True)
    return learner, fitted, calibrated, rows, np.array([each.is_good for each in rows])


def test_p_good_is_the_chance_of_a_good_label_as_people_give_it(noisy):
    learner, fitted, calibrated, rows, good = noisy
    test = learner.items.rows("test")
    named = learner.named(learner.predict(fitted.model, test), calibrated.calibration)
    labels, groups = good[test].astype(float), [rows[place].group_id for place in test]

    def told(p_good):
        return calibration_of(p_good, labels, groups, np.linspace(0, 1, 11), True, 20)

    found = told(named["p_good"])
    assert found["ece"] < 0.05
    assert 0.8 < found["slope"] < 1.25  # the curve itself was fitted on 600 rows
    assert named["p_good"].mean() == pytest.approx(labels.mean(), abs=0.03)
    # A curve fitted on what is learned, means freed of biases, would not say what people will say.
    raw = calibrated.calibration.apply(calibrated.outputs)
    other, _ = fit_good(raw, learner.items.learned[calibrated.rows] >= 4.0)
    assert told(other.apply(named["raw_score"]))["ece"] > 2 * found["ece"]


def test_the_threshold_is_chosen_on_the_labels_that_reports_count(noisy):
    learner, _, calibrated, rows, good = noisy
    policy = choose_threshold(learner, calibrated, rows)
    val = learner.items.rows("val")
    assert (policy["fitted_on"]["n"], policy["fitted_on"]["n_good"]) == (len(val), int(good[val].sum()))
    passed = learner.named(calibrated.outputs, calibrated.calibration)[policy["on"]] >= policy["threshold"]
    assert policy["kind"] == "precision_target"
    assert policy["achieved"]["precision"]["value"] == pytest.approx(good[val][passed].mean())


def test_what_is_known_out_of_fold_is_calibrated_on_and_no_test_row_is(noisy):
    learner, fitted, *_ = noisy
    items = learner.items
    everything, pool = np.arange(len(items)), items.rows("train", "val")
    known = OutOfFold(everything, everything % 2, items.encoded.astype(np.float64), np.full(len(items), np.nan))
    known.outputs[items.rows("test")] = np.nan  # would spoil the curve
    found = calibrate(learner, fitted, pool, items.rows("val"), Progress(), retrain=True, known=known)
    assert (found.calibration.fitted_on, found.calibration.good.fitted_on) == ("oof", "oof")
    assert found.rows.tolist() == pool.tolist()
    assert found.outputs.tolist() == items.encoded[pool].tolist()
