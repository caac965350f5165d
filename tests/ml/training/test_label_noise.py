import csv
import json
import math

import numpy as np
import pytest
import torch

from ml.events import Progress
from ml.features.backbones import load_backbone
from ml.judgements import judgement
from ml.judgements.rating_labels import label_from_votes
from ml.noise import MAX_WEIGHT, Ratings
from ml.report import BASELINE, MODEL, Scores, table
from ml.train import train
from ml.training.dataset import FeatureInputs, load_items
from ml.training.label_noise import with_label_noise
from ml.training.learner import Learner
from ml.training.loop import fit
from ml.training.recipe import Recipe
from tests.ml.rows import row
from tests.ml.tiny_training import make_dataset, train_in_process, write_recipe

RATING = judgement("rating")
BIASES = (0.9, 0.3, -0.4, -0.8)


def world(n=240, seed=0, sd=0.7, counts=(1, 2, 6), splits=("train", "train", "val", "test")):
    """Rows whose labels are means of biased, noisy votes; these votes; and the true ratings."""
    random = np.random.default_rng(seed)
    truth = random.uniform(1.5, 4.5, n)
    raters = np.repeat(np.arange(len(BIASES)), 2)  # two of each bias
    rows, ids, names, stars = [], [], [], []
    for number in range(n):
        chosen = random.choice(len(raters), counts[number % len(counts)], replace=False)
        votes = np.clip(
            np.round(truth[number] + np.array(BIASES)[raters[chosen]] + random.normal(0, sd, len(chosen))), 1, 5
        )
        label = label_from_votes([int(vote) for vote in votes])[0]
        rows.append(row(number + 1, label_value=label, target_label=label, split=splits[number // 3 % len(splits)],
                        group_id=f"g{number // 3}"))  # fmt: skip
        ids += [number + 1] * len(votes)
        names += [f"rater {each}" for each in chosen]
        stars += votes.tolist()
    return rows, Ratings(np.array(ids), np.array(names), np.array(stars)), truth


def learned(rows, ratings, head="regression", mode="auto"):
    return with_label_noise(load_items(rows, RATING, head), rows, RATING, head, ratings, mode)


class TestTargets:
    def test_corrected_means_are_nearer_the_truth_than_plain_ones(self):
        rows, ratings, truth = world()
        items, told = learned(rows, ratings)
        plain, corrected = np.abs(items.targets - truth).mean(), np.abs(items.learned - truth).mean()
        assert corrected < 0.85 * plain
        assert told["used"] is True
        assert (told["num_corrected"], told["num_plain"]) == (len(rows), 0)
        assert items.learned.mean() == pytest.approx(items.targets.mean(), abs=0.05)
        assert items.taught == pytest.approx(items.learned / 5.0, abs=1e-6)

    def test_they_are_not_shrunk(self):
        rows, ratings, truth = world(sd=0.01, counts=(2, 3))
        items, _ = learned(rows, ratings)
        assert np.polyfit(truth, items.learned, 1)[0] == pytest.approx(1.0, abs=0.05)

    def test_many_votes_weigh_more_and_nothing_weighs_above_the_limit(self):
        rows, ratings, _ = world(counts=(1, 6))
        weights = learned(rows, ratings)[0].weights
        assert weights[1::2].min() > weights[0::2].max()
        assert weights.mean() == pytest.approx(1.0, abs=1e-5)
        assert weights.max() <= MAX_WEIGHT + 1e-5

    def test_who_said_not_a_sunset_and_was_outvoted_makes_a_mean_of_stars_no_more_precise(self):
        rows, ratings, _ = world(counts=(2, 3))
        outvoted = Ratings(
            np.append(ratings.snapshot_ids, rows[0].snapshot_id), np.append(ratings.raters, "nobody else"),
            np.append(ratings.stars, np.nan),
        )  # fmt: skip
        (before, _), (after, told) = learned(rows, ratings), learned(rows, outvoted)
        assert told["num_corrected"] == len(rows)
        assert after.weights[0] == pytest.approx(after.weights[2])  # two stars each
        assert after.weights.tolist() == pytest.approx(before.weights.tolist())

    def test_votes_on_test_rows_decide_neither_biases_nor_noise(self):
        rows, ratings, _ = world()
        is_test = np.isin(ratings.snapshot_ids, [each.snapshot_id for each in rows if each.split == "test"])
        other = Ratings(ratings.snapshot_ids, ratings.raters, np.where(is_test, 1.0, ratings.stars))
        (before, told), (after, told_again) = learned(rows, ratings), learned(rows, other)
        pool = before.rows("train", "val")
        np.testing.assert_array_equal(before.learned[pool], after.learned[pool])
        assert (told["sigma_w"], told["num_ratings"]) == (told_again["sigma_w"], told_again["num_ratings"])

    def test_labels_that_are_not_the_mean_of_votes_stay_as_they_are(self):
        rows, ratings, _ = world()
        seeds = [each.snapshot_id for each in rows[:30]]
        kept = ~np.isin(ratings.snapshot_ids, seeds[:15])
        rows = [row(each.snapshot_id, label_value=4.44, target_label=4.44, group_id=each.group_id, split=each.split,
                    label_source="manual_seed") if each.snapshot_id in seeds else each for each in rows]  # fmt: skip
        items, told = learned(rows, Ratings(ratings.snapshot_ids[kept], ratings.raters[kept], ratings.stars[kept]))
        assert items.learned[:30].tolist() == [4.44] * 30
        assert items.weights[:30].tolist() == [1.0] * 30
        assert told["num_plain"] == 30
        assert "30 have no votes behind them" in told["sentence"]

    def test_a_binary_head_learns_how_sure_a_good_is(self):
        rows, ratings, truth = world()
        rows = [row(each.snapshot_id, label_value=each.label_value, target_label=float(each.label_value >= 4.0),
                    group_id=each.group_id, split=each.split) for each in rows]  # fmt: skip
        items, _ = learned(rows, ratings, "binary")
        assert ((items.learned >= 0) & (items.learned <= 1)).all()
        assert set(items.targets) == {0.0, 1.0}
        assert ((items.learned > 0.1) & (items.learned < 0.9)).any()
        is_good = truth >= 4.0
        assert ((items.learned - is_good) ** 2).mean() < 0.7 * ((items.targets - is_good) ** 2).mean()
        assert (items.weights == 1.0).all()

    @pytest.mark.parametrize(
        ("mode", "given", "words"),
        [("off", True, "the recipe says label_noise: off"), ("auto", False, "no raw ratings were given"),
         ("auto", True, "no item has stars from two raters")],
    )  # fmt: skip
    def test_without_known_noise_all_count_alike_and_it_is_said_why(self, mode, given, words):
        rows, ratings, _ = world(counts=(1,))
        items, told = learned(rows, ratings if given else None, mode=mode)
        assert told["used"] is False
        assert words in told["sentence"]
        assert items.learned is items.targets
        assert (items.weights == 1.0).all()


class TestTrainings:
    @pytest.mark.parametrize("solver", ["lbfgs", "adamw"])
    def test_what_is_learned_from_them_is_nearer_the_truth(self, solver):
        errors = {"auto": [], "off": []}
        for seed in range(3):
            rows, ratings, truth = world(n=180, seed=seed, splits=("train", "val"))
            random = np.random.default_rng(seed)
            features = np.column_stack([truth, *random.normal(0, 1, (12, len(truth)))]).astype(np.float32)
            for mode, found in errors.items():
                items, _ = learned(rows, ratings, mode=mode)
                recipe = Recipe(backbone="resnet18", solver=solver, epochs=60, learning_rate=0.01, dropout=0.0)
                learner = Learner(
                    RATING, recipe, RATING.scale, items, FeatureInputs(torch.from_numpy(features)), _SIZED
                )
                fitted = fit(learner, items.rows("train"), items.rows("val"), Progress())
                said = learner.scores(learner.predict(fitted.model, np.arange(len(items))), learner.identity())
                found.append(np.abs(said - truth).mean())
        assert np.mean(errors["auto"]) < np.mean(errors["off"])

    def test_the_run_says_what_it_learned_and_from_which_ratings(self, tmp_path):
        dataset = make_dataset(tmp_path)
        lines = ["snapshot_id,rater,rating,verdict,label_source"]
        for each in dataset.rows:  # whole stars around labels that are none: no label is the mean of its votes
            lines += [f"{each.snapshot_id},{name},{stars},sunset,test" for name, stars in (("ann", 2), ("bob", 4))]
        votes = tmp_path / "ratings.csv"
        votes.write_text("\n".join(lines) + "\n")
        recipe = write_recipe(tmp_path / "r.json", evaluation="test")
        arguments = ("rating", dataset.manifest, recipe, dataset.store, tmp_path / "cache", tmp_path / "run")
        facts = train(*arguments, ratings=votes)
        noise = facts["label_noise"]
        assert noise["used"] is True
        assert len(noise["ratings_sha256"]) == 64
        assert noise["sentence"] in facts["notes"]
        assert json.loads((tmp_path / "run" / "training.json").read_text())["label_noise"] == noise
        with (tmp_path / "run" / "labels.csv").open(newline="") as opened:
            told = list(csv.DictReader(opened))
        assert [int(each["snapshot_id"]) for each in told] == [each.snapshot_id for each in dataset.rows]
        off = [row for row, each in zip(told, dataset.rows, strict=True) if abs(each.label_value - 3.0) > 0.01]
        assert {each["weight"] for each in off} == {"1.0"}
        assert len(told) - len(off) == noise["num_corrected"]

    def test_a_permuted_label_run_has_no_skill(self, tmp_path):
        dataset = make_dataset(tmp_path, n=80)
        lines = [line.split(",") for line in dataset.manifest.read_text().splitlines()]
        labels = [cells[3:6] for cells in lines[1:]]
        for cells, place in zip(lines[1:], np.random.default_rng(1).permutation(len(labels)), strict=True):
            cells[3:6] = labels[place]
        dataset.manifest.write_text("\n".join(",".join(cells) for cells in lines) + "\n")
        train_in_process(dataset, tmp_path / "run", backbone="handmade", image_size=128, evaluation="kfold")
        with (tmp_path / "run" / "oof.csv").open(newline="") as opened:
            told = list(csv.DictReader(opened))
        scores, targets = (np.array([float(each[name]) for each in told]) for name in ("score", "target"))
        entries = [Scores("it", MODEL, scores), Scores("mean", BASELINE, np.full(len(told), targets.mean()))]
        skill = table(RATING, "regression", entries, targets, [each["group_id"] for each in told], 400)["skill"]
        assert math.isfinite(skill["value"])
        assert skill["interval"][0] <= 0.0
        assert skill["certain"] is False


class _Sized:
    """Only what a head needs to know of its features."""

    num_features = 13
    source = load_backbone("handmade", "none", 0).source


_SIZED = _Sized()
