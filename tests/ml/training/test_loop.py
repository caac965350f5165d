from dataclasses import replace

import numpy as np
import pytest
import torch

from ml.events import Progress
from ml.features.backbones import load_backbone
from ml.judgements import judgement
from ml.training.dataset import FeatureInputs, Items
from ml.training.learner import Learner, NonFiniteLossError
from ml.training.loop import fit
from ml.training.outoffold import predict_out_of_fold
from ml.training.recipe import Recipe
from ml.training.solver import PENALTIES

N = 200


@pytest.fixture(scope="module")
def learner():
    """A linear problem: 512 noisy views of one hidden number, which the rating follows."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(0.0, 1.0, N)
    features = (3.0 + hidden[:, None] * rng.normal(0.0, 1.0, 512) + rng.normal(0.0, 3.0, (N, 512))).astype(np.float32)
    targets = np.clip(2.5 + hidden + rng.normal(0.0, 0.3, N), 0.0, 5.0)
    kind = judgement("rating")
    items = Items(
        snapshot_ids=np.arange(N),
        image_sha256=tuple(f"{number:064x}" for number in range(N)),
        targets=targets,
        encoded=kind.encode(targets, "regression"),
        learned=targets,
        taught=kind.encode(targets, "regression"),
        weights=np.ones(N, dtype=np.float32),
        group_ids=tuple(f"group:{number // 4}" for number in range(N)),
        fold_groups=tuple(f"group:{number // 4}" for number in range(N)),
        splits=np.array(["train"] * N),
    )
    recipe = Recipe(backbone="resnet18", solver="adamw", epochs=40, patience=8, learning_rate=0.001, dropout=0.5)
    inputs = FeatureInputs(torch.from_numpy(features))
    return Learner(kind, recipe, kind.scale, items, inputs, load_backbone("resnet18", "none", seed=0))


TRAIN, VAL = np.arange(150), np.arange(150, N)


def test_the_loss_falls(learner):
    epochs = fit(learner, TRAIN, VAL, Progress()).epochs
    assert epochs[-1]["train_loss"] < 0.5 * epochs[0]["train_loss"]


def test_the_model_returned_is_the_best_on_val_not_the_last(learner):
    overfitting = replace(learner, recipe=learner.recipe.model_copy(update={"dropout": 0.0, "patience": 40}))
    done = fit(overfitting, TRAIN, VAL, Progress())
    best = min(done.epochs, key=lambda epoch: epoch["val"]["mae"])
    assert done.best_epoch == best["epoch"] < len(done.epochs)
    outputs = learner.predict(done.model, VAL)
    measured = learner.kind.measure(
        learner.scores(outputs, learner.identity()), learner.items.targets[VAL], "regression"
    )
    assert measured["mae"] == pytest.approx(best["val"]["mae"], abs=1e-6)


def test_training_stops_when_val_does_not_improve(learner):
    impatient = replace(learner, recipe=learner.recipe.model_copy(update={"patience": 2, "epochs": 500}))
    done = fit(impatient, TRAIN, VAL, Progress())
    assert len(done.epochs) == done.best_epoch + 2 < 500


def test_without_val_rows_all_epochs_are_trained(learner):
    done = fit(learner, TRAIN, VAL[:0], Progress(), epochs=7)
    assert done.best_epoch == len(done.epochs) == 7
    assert done.val_metrics == {}


def test_few_val_rows_are_judged_by_their_loss(learner):
    done = fit(learner, TRAIN, VAL[:5], Progress())
    assert done.best_epoch == min(done.epochs, key=lambda epoch: epoch["val"]["loss"])["epoch"]


def test_a_loss_that_is_not_finite_stops_before_the_update(learner):
    taught = learner.items.taught.copy()
    taught[3] = np.nan
    broken = replace(learner, items=replace(learner.items, taught=taught))
    with pytest.raises(NonFiniteLossError, match="lower learning_rate"):
        fit(broken, TRAIN, VAL, Progress())
    assert NonFiniteLossError.code == "non_finite_loss"


def test_the_same_seed_gives_the_same_weights_and_another_does_not(learner):
    first, second = (fit(learner, TRAIN, VAL, Progress()).model.state_dict() for _ in range(2))
    other_recipe = learner.recipe.model_copy(update={"seed": 1})
    other = fit(replace(learner, recipe=other_recipe), TRAIN, VAL, Progress()).model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_row_of_weight_zero_teaches_nothing(learner):
    weights = learner.items.weights.copy()
    weights[:75] = 0.0
    lighter = replace(learner, items=replace(learner.items, weights=weights))
    outputs = torch.zeros(150, 1)
    half = lighter.loss_of(outputs, TRAIN)
    assert float(half) == pytest.approx(float(learner.loss_of(outputs[75:], TRAIN[75:])), rel=1e-5)


def test_out_of_fold_scores_beat_the_mean_and_every_row_has_one(learner):
    found = predict_out_of_fold(learner, np.arange(N), Progress(), calibrated=True, name="test ")
    targets = learner.items.targets
    assert np.isfinite(found.scores).all()
    assert np.abs(found.scores - targets).mean() < 0.8 * np.abs(targets - targets.mean()).mean()


class TestSolver:
    """The exact solver of a head on frozen features."""

    @pytest.fixture
    def solving(self, learner):
        return replace(learner, recipe=learner.recipe.model_copy(update={"solver": "lbfgs"}))

    @pytest.fixture
    def binary(self, solving):
        targets = (solving.items.targets > 2.5).astype(np.float64)
        encoded = solving.kind.encode(targets, "binary")
        recipe = solving.recipe.model_copy(update={"head": "binary"})
        return replace(
            solving,
            recipe=recipe,
            items=replace(solving.items, targets=targets, encoded=encoded, learned=targets, taught=encoded),
        )

    def test_it_finds_what_logistic_regression_finds(self, binary):
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        done = fit(binary, TRAIN, VAL[:0], Progress(), epochs=3)
        features = StandardScaler().fit(binary.inputs.batch(TRAIN, None).numpy())
        # Mean loss + p |w|^2 is the sum of losses * C + |w|^2 / 2 at C = 1 / (2 p N).
        known = LogisticRegression(C=1 / (2 * PENALTIES[2] * len(TRAIN)), max_iter=5000, tol=1e-8)
        known.fit(features.transform(binary.inputs.batch(TRAIN, None).numpy()), binary.items.targets[TRAIN])
        expected = known.decision_function(features.transform(binary.inputs.batch(VAL, None).numpy()))
        assert binary.predict(done.model, VAL) == pytest.approx(expected, abs=1e-3)

    def test_a_weaker_penalty_fits_the_training_rows_better(self, solving):
        losses = [epoch["train_loss"] for epoch in fit(solving, TRAIN, VAL, Progress()).epochs]
        assert len(losses) == len(PENALTIES)
        assert losses == sorted(losses, reverse=True)

    def test_the_penalty_is_the_one_that_is_best_on_val(self, solving):
        done = fit(solving, TRAIN, VAL, Progress())
        assert done.best_epoch == min(done.epochs, key=lambda epoch: epoch["val"]["mae"])["epoch"]
        outputs = learner_scores(solving, done)
        assert np.mean(np.abs(outputs - solving.items.targets[VAL])) == pytest.approx(done.val_metrics["mae"], abs=1e-6)

    def test_the_same_numbers_give_the_same_weights(self, solving):
        first, second = (fit(solving, TRAIN, VAL, Progress()).model.state_dict() for _ in range(2))
        assert all(torch.equal(first[name], second[name]) for name in first)


def learner_scores(learner, done):
    return learner.scores(learner.predict(done.model, VAL), learner.identity())
