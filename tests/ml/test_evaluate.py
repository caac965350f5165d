import csv
import json
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest

from ml.baselines import BOOSTING, FROZEN, RIDGE, SINGLE, TIME, Baselines
from ml.evaluate import evaluate
from ml.images.store import FileStore
from ml.judgements.rating import Rating
from ml.manifest import ManifestError, manifest_bytes, manifest_sha256
from ml.report import validate
from ml.splits import folds
from ml.suspects import parse_suspects
from tests.ml.brightness import brightness_bundle, image
from tests.ml.rows import START, row

RATING = Rating()


class World:
    """A store, a manifest of frames whose brightness is nearly their rating, and two bundles."""

    def __init__(self, root, head="regression", test_days=20):
        self.root, self.head = root, head
        self.store = FileStore(str(root / "store"))
        self.rows = []
        random = np.random.default_rng(0)
        for number in range(120):
            stars = float(random.integers(1, 6))
            brightness = min(max(stars / 5 + random.normal(0, 0.05), 0), 1)
            sha256 = self.store.put_image(image(brightness, number))
            day, unseen = number // 3, number % 3 == 0
            is_test = day < test_days
            self.rows.append(
                row(
                    number,
                    label_value=stars,
                    target_label=RATING.target(stars, head),
                    is_good=RATING.is_good(stars),
                    webcam_id=100 + number if is_test and unseen else day % 4,
                    split="test" if is_test else "train",
                    seen=not (is_test and unseen),
                    group_id=f"day {day}{' unseen' if is_test and unseen else ''}",
                    image_sha256=sha256,
                    phase="sunset" if number % 2 else "sunrise",
                    captured_at=START + timedelta(hours=number),
                )
            )
        self.manifest = root / "manifest_full.csv"
        self.manifest.write_bytes(manifest_bytes(self.rows))
        self.bundle = brightness_bundle(root / "bundle", "bright_1", head)

    def evaluate(self, **more):
        evaluate(self.bundle, self.manifest, self.store.url, self.root / "report", replicates=200, **more)
        report = json.loads((self.root / "report" / "report.json").read_text())
        validate(report)
        return report

    def predictions(self):
        with (self.root / "report" / "predictions.csv").open(newline="") as opened:
            return list(csv.DictReader(opened))

    def run(self, method):
        directory = self.root / "run"
        directory.mkdir()
        (directory / "training.json").write_text(json.dumps({"method": method}))
        if method == "kfold":
            dealt = folds([each.group_id for each in self.rows], 5, "s")
            lines = ["snapshot_id,fold,group_id,target,score"]
            lines += [
                f"{each.snapshot_id},{fold},{each.group_id},{each.target_label},{each.target_label * 0.9 + 0.1}"
                for each, fold in zip(self.rows, dealt, strict=True)
            ]
            (directory / "oof.csv").write_text("\n".join(lines) + "\n")
        return directory


def names(content, role):
    return [each["name"] for each in content["rows"] if each["role"] == role]


def write_ratings(folder, votes):
    path = folder / "ratings.csv"
    lines = [f"{snapshot},{rater},{stars},sunset,test" for snapshot, rater, stars in votes]
    path.write_text("\n".join(["snapshot_id,rater,rating,verdict,label_source", *lines]) + "\n")
    return path


class TestOnTestRows:
    def test_the_unseen_webcams_are_the_headline_and_everything_has_its_baselines(self, tmp_path):
        world = World(tmp_path)
        report = world.evaluate()
        assert report["method"] == "test"
        assert report["headline"] == "test_unseen"
        counts = {name: content["n"] for name, content in report["subsets"].items()}
        assert counts == {"test": 60, "test_seen": 40, "test_unseen": 20}
        assert report["manifest_sha256"] == manifest_sha256(world.rows)
        constants, others = ["predict the mean", "predict the median"], [TIME, SINGLE, RIDGE, BOOSTING]
        seen = [*constants, "per-webcam mean", *others]
        expected = {"test": seen, "test_seen": seen, "test_unseen": [*constants, *others]}
        assert {name: names(content, "baseline") for name, content in report["subsets"].items()} == expected
        for content in report["subsets"].values():
            better = {each["against"] for each in content["comparisons"] if each["better"]}
            assert better >= {"predict the mean", "predict the median", TIME}
        assert {each["value"] for each in report["slices"]["phase"]} == {"sunrise", "sunset"}

    def test_predictions_are_what_the_bundle_serves_for_exactly_the_test_rows(self, tmp_path):
        world = World(tmp_path)
        report = world.evaluate()
        predictions = world.predictions()
        assert [int(each["snapshot_id"]) for each in predictions] == list(range(60))
        scores = np.array([float(each["ai_rating"]) for each in predictions])
        targets = np.array([float(each["target"]) for each in predictions])
        model = report["subsets"]["test"]["rows"][0]
        assert model["metrics"]["mae"] == pytest.approx(np.abs(scores - targets).mean(), abs=1e-5)
        np.testing.assert_allclose([float(each["score"]) for each in predictions], scores, atol=1e-5)

    def test_all_rows_are_ranked_as_suspects_and_the_first_are_in_the_report(self, tmp_path):
        report = World(tmp_path).evaluate()
        found = parse_suspects((tmp_path / "report" / "suspects.csv").read_bytes())
        assert {each.snapshot_id for each in found} == set(range(120))
        assert {each.by for each in found if each.snapshot_id < 60} == {"the model, on test rows"}
        assert {each.by for each in found if each.snapshot_id >= 60} == {"a ridge on hand-made features, out of fold"}
        assert [each["snapshot_id"] for each in report["suspects"]] == [each.snapshot_id for each in found[:10]]
        assert report["audit"]["verdict"] in report["notes"]

    def test_a_better_active_model_makes_the_new_one_worse(self, tmp_path):
        world = World(tmp_path)
        good = world.bundle
        world.bundle = brightness_bundle(tmp_path / "inverted", "dark_1", inverted=True)
        content = world.evaluate(active=good)["subsets"]["test_unseen"]
        assert names(content, "active") == ["bright_1"]
        (comparison,) = [each for each in content["comparisons"] if each["against"] == "bright_1"]
        assert comparison["better"] is False
        assert comparison["difference"] > 0

    def test_an_active_model_with_another_head_is_not_compared_and_that_is_said(self, tmp_path):
        world = World(tmp_path)
        report = world.evaluate(active=brightness_bundle(tmp_path / "binary", "b_1", "binary"))
        assert names(report["subsets"]["test"], "active") == []
        assert any("answers another question" in note for note in report["notes"])

    def test_the_active_model_is_not_compared_with_itself(self, tmp_path):
        world = World(tmp_path)
        report = world.evaluate(active=world.bundle)
        assert names(report["subsets"]["test"], "active") == []
        assert any("is the active model itself" in note for note in report["notes"])

    def test_binary_has_confusion_sweep_and_calibration_error(self, tmp_path):
        report = World(tmp_path, head="binary").evaluate()
        confusion = report["confusion"]
        assert confusion["threshold"] == 0.5
        counted = sum(confusion[f"{a}_{b}"] for a in ("true", "false") for b in ("positive", "negative"))
        assert counted == confusion["n"] == 20
        assert len(report["threshold_sweep"]) == 19
        found = report["calibration"]
        assert found["score"] == found["p_good"]
        assert 0 <= found["p_good"]["ece"] <= 1
        assert 0 <= found["p_good"]["brier_interval"][0] <= found["p_good"]["brier"]
        assert sum(bucket["n"] for bucket in report["calibration_table"]) == 20

    def test_the_threshold_is_told_with_what_it_achieves_on_the_headline(self, tmp_path):
        world = World(tmp_path)
        report = world.evaluate()
        rows = {each["snapshot_id"]: each for each in world.predictions()}
        headline = [each for each in world.rows if each.split == "test" and each.seen is False]
        passed = [each for each in headline if float(rows[str(each.snapshot_id)]["ai_rating"]) >= 4.0]
        found = report["threshold_achieved"]
        assert (found["subset"], found["n"], found["n_passed"]) == ("test_unseen", 20, len(passed))
        assert found["precision"]["value"] == pytest.approx(sum(each.is_good for each in passed) / len(passed))
        assert report["confusion"]["true_positive"] == sum(each.is_good for each in passed)
        beside = {each["name"]: each for each in found["baselines"]}
        assert set(beside) == set(names(report["subsets"]["test_unseen"], "baseline"))
        assert beside["predict the mean"]["n_passed"] == 0
        assert beside["predict the mean"]["precision"] is None
        assert beside["predict the mean"]["recall"]["value"] == 0.0
        assert report["subsets"]["test"]["rows"][0]["metrics"]["average_precision_good"] > 0.8
        assert report["calibration"]["p_good"] is None
        assert "no output p_good" in report["calibration"]["p_good_reason"]

    def test_hand_made_features_know_brightness_too_so_the_simpler_model_stays(self, tmp_path):
        report = World(tmp_path).evaluate(cache=tmp_path / "cache")
        skill = report["skill"]
        assert skill["against"] in (SINGLE, RIDGE, BOOSTING)
        assert skill["metric"] == "mae"
        assert skill["certain"] is False
        assert report["notes"][0] == skill["sentence"]
        asked = {each["question"]: each for each in report["verdict"]}
        assert asked["Better than all that is simpler?"]["answer"] == "no"
        assert "the simpler model stays" in asked["Better than all that is simpler?"]["words"]
        assert len(list((tmp_path / "cache").rglob("*.npy"))) == 2 * 120  # features and fingerprints

    @pytest.mark.parametrize(
        ("recipe", "is_simpler"),
        [
            ({"backbone": "handmade"}, {SINGLE: True, RIDGE: False, BOOSTING: False}),
            (
                {"backbone": "resnet18", "image_size": 32, "trainable": "head"},
                {RIDGE: True, BOOSTING: True, FROZEN: False},
            ),
            ({"backbone": "resnet18", "image_size": 32, "trainable": "last_block"}, {BOOSTING: True, FROZEN: True}),
        ],
    )
    def test_what_is_no_simpler_than_the_model_counts_for_its_skill_but_need_not_be_beaten(
        self, tmp_path, recipe, is_simpler
    ):
        path = tmp_path / "recipe.json"
        path.write_text(json.dumps(recipe))
        report = World(tmp_path).evaluate(recipe=path, cache=tmp_path / "cache")
        rows = {each["name"]: each["metrics"]["mae"] for each in report["subsets"][report["headline"]]["rows"]
                if each["role"] == "baseline"}  # fmt: skip
        assert report["skill"]["against"] == min(rows, key=lambda name: rows[name])
        places = report["gate"]["simplicity"]
        assert {name: places["baselines"][name] < places["model"] for name in is_simpler} == is_simpler

    def test_a_recipe_that_is_none_is_refused(self, tmp_path):
        (tmp_path / "recipe.json").write_text(json.dumps({"backbone": "abacus"}))
        with pytest.raises(ManifestError, match="cannot read the recipe"):
            World(tmp_path).evaluate(recipe=tmp_path / "recipe.json")

    def test_a_missing_image_of_a_training_row_is_named(self, tmp_path):
        world = World(tmp_path)
        lost = next(each for each in world.rows if each.split == "train")
        (path,) = (tmp_path / "store").rglob(lost.image_sha256[2:])
        path.unlink()
        with pytest.raises(ManifestError, match=f"snapshot {lost.snapshot_id} cannot be used: the store"):
            world.evaluate()

    def test_the_same_input_gives_the_same_report_but_for_measured_time(self, tmp_path):
        world = World(tmp_path)
        reports = [world.evaluate() for _ in range(2)]
        assert all(report["gate"].pop("latency")["model_ms"] > 0 for report in reports)
        assert json.dumps(reports[0]) == json.dumps(reports[1])

    def test_no_test_rows_is_an_error_that_says_what_to_do(self, tmp_path):
        world = World(tmp_path, test_days=0)
        with pytest.raises(ManifestError, match=r"no test row.*evaluation=kfold"):
            world.evaluate()
        assert not (tmp_path / "report").exists()


class TestNoise:
    def test_without_ratings_the_floor_is_unknown_and_the_report_says_why(self, tmp_path):
        report = World(tmp_path).evaluate()
        assert report["noise"]["known"] is False
        assert "were not given" in report["noise"]["reason"]
        assert report["noise"]["sentence"] in report["notes"]

    def test_raters_who_never_overlap_leave_it_unknown(self, tmp_path):
        world = World(tmp_path)
        votes = [(each.snapshot_id, "ann", int(each.label_value)) for each in world.rows]
        noise = world.evaluate(ratings=write_ratings(tmp_path, votes))["noise"]
        assert noise["known"] is False
        assert "no item has stars from two raters" in noise["reason"]

    def test_a_result_below_the_floor_is_called_a_leak(self, tmp_path):
        # The frames show the mean of two votes, which differ: only who has seen the labels can be this good.
        world = World(tmp_path)
        pairs = {1: (1, 1), 2: (1, 3), 3: (1, 5), 4: (3, 5), 5: (5, 5)}
        votes = [
            (each.snapshot_id, rater, pairs[int(each.label_value)][(which + each.snapshot_id) % 2])
            for each in world.rows
            for which, rater in enumerate(("ann", "bob"))
        ]
        report = world.evaluate(ratings=write_ratings(tmp_path, votes))
        table = report["noise"]["subsets"]["test_unseen"]
        assert table["better_than_floor"] is True
        assert table["mae_model_interval"][1] < table["mae_floor"]
        assert "That is a leak, not a success" in report["noise"]["sentence"]
        assert {each["rater"] for each in report["noise"]["raters"]} == {"ann", "bob"}

    def test_labels_that_the_votes_do_not_explain_are_left_out(self, tmp_path):
        world = World(tmp_path)
        votes = [
            (each.snapshot_id, rater, int(each.label_value) if each.snapshot_id % 2 else 1 + int(each.label_value) % 5)
            for each in world.rows
            for rater in ("ann", "bob")
        ]
        table = world.evaluate(ratings=write_ratings(tmp_path, votes))["noise"]["subsets"]["test"]
        assert (table["n"], table["n_left_out"]) == (30, 30)

    def test_yes_and_no_has_raters_but_no_floor(self, tmp_path):
        world = World(tmp_path, head="binary")
        votes = [(each.snapshot_id, rater, int(each.label_value)) for each in world.rows for rater in ("ann", "bob")]
        noise = world.evaluate(ratings=write_ratings(tmp_path, votes))["noise"]
        assert noise["known"] is True
        assert noise["subsets"] == {}
        assert "not in stars" in noise["reason"]


class TestOutOfFold:
    def test_rows_of_webcams_seen_and_not_seen_in_other_folds_have_a_table_each(self, tmp_path):
        world = World(tmp_path)
        report = world.evaluate(run=world.run("kfold"))
        fold_of = dict(zip(range(120), folds([each.group_id for each in world.rows], 5, "s"), strict=True))
        for name, is_seen in (("out_of_fold_seen", True), ("out_of_fold_unseen", False)):
            expected = [
                each.snapshot_id
                for each in world.rows
                if is_seen
                == any(
                    other.webcam_id == each.webcam_id and fold_of[other.snapshot_id] != fold_of[each.snapshot_id]
                    for other in world.rows
                )
            ]
            content = report["subsets"][name]
            assert content["n"] == len(expected) > 0
            assert content["rows"][0]["intervals"]["mae"]
            assert ("per-webcam mean" in names(content, "baseline")) == is_seen

    def test_ranks_within_a_webcam_stand_beside_those_of_baselines(self, tmp_path):
        world = World(tmp_path)
        found = world.evaluate(run=world.run("kfold"))["within_webcam"]
        assert (found["subset"], found["n_webcams"], found["n_left_out"]) == ("out_of_fold", 4, 20)
        values = {each["name"]: each["value"] for each in found["rows"]}
        assert values["bright_1"] == pytest.approx(1.0)  # the scores of this run are the labels, moved and stretched
        assert values["per-webcam mean"] == 0.0
        assert 0.5 < values[RIDGE] < 1.0

    def test_all_rows_are_judged_and_the_active_model_is_compared_on_test_rows_only(self, tmp_path):
        world = World(tmp_path)
        report = world.evaluate(
            run=world.run("kfold"), active=brightness_bundle(tmp_path / "a", "dark_1", inverted=True)
        )
        assert report["method"] == "kfold"
        assert report["headline"] == "out_of_fold"
        content = report["subsets"]["out_of_fold"]
        assert content["n"] == 120
        (active,) = [each for each in content["rows"] if each["role"] == "active"]
        assert active["comparable"] is False
        (comparison,) = [each for each in content["comparisons"] if each["against"] == "dark_1"]
        assert comparison["subset"] == "test"
        assert comparison["better"] is True

    def test_out_of_fold_outputs_decide_where_the_run_kept_them(self, tmp_path):
        world = World(tmp_path, head="binary")
        run = world.run("kfold")
        lines = (run / "oof.csv").read_text().splitlines()
        lines = [lines[0] + ",raw_score,p_good"] + [f"{line},{line.split(',')[4]},0.1" for line in lines[1:]]
        (run / "oof.csv").write_text("\n".join(lines) + "\n")
        report = world.evaluate(run=run)
        assert report["threshold_achieved"]["n"] == 120
        assert report["threshold_achieved"]["n_passed"] == 0
        assert report["calibration"]["p_good"]["n"] == 120

    def test_an_output_that_one_fold_lacks_is_left_out_and_that_is_said(self, tmp_path):
        world = World(tmp_path, head="binary")
        run = world.run("kfold")
        lines = (run / "oof.csv").read_text().splitlines()
        lines = [lines[0] + ",p_good"] + [f"{line},{'' if place == 7 else 0.1}" for place, line in enumerate(lines[1:])]
        (run / "oof.csv").write_text("\n".join(lines) + "\n")
        report = world.evaluate(run=run)
        assert report["threshold_achieved"]["n_passed"] > 0  # by the scores
        assert "not every fold had it" in report["calibration"]["p_good_reason"]

    def test_predictions_tell_served_from_out_of_fold(self, tmp_path):
        world = World(tmp_path)
        world.evaluate(run=world.run("kfold"))
        predictions = world.predictions()
        assert len(predictions) == 120
        assert all(each["out_of_fold_score"] for each in predictions)
        assert {each["split"] for each in predictions if each["score"]} == {"test"}

    def test_without_test_rows_the_active_model_is_not_compared(self, tmp_path):
        world = World(tmp_path, test_days=0)
        active = brightness_bundle(tmp_path / "a", "dark_1", inverted=True)
        report = world.evaluate(run=world.run("kfold"), active=active)
        assert "dark_1" not in [each["against"] for each in report["subsets"]["out_of_fold"]["comparisons"]]
        assert any("cannot be compared fairly" in note for note in report["notes"])

    def test_scores_of_other_rows_are_refused(self, tmp_path):
        world = World(tmp_path)
        run = world.run("kfold")
        (run / "oof.csv").write_text("snapshot_id,fold,group_id,target,score\n999,0,g,1.0,1.0\n")
        with pytest.raises(ManifestError, match="does not fit the manifest"):
            world.evaluate(run=run)

    def test_a_constant_baseline_does_not_rank_rows(self, tmp_path):
        world = World(tmp_path, head="binary")
        dealt = folds([each.group_id for each in world.rows], 5, "s")
        found = {each.name: each.scores for each in Baselines(RATING, "binary").out_of_fold(world.rows, dealt)}
        assert np.ptp(found["predict the base rate"]) == 0.0
        assert np.ptp(found["per-webcam rate"]) > 0.0


class TestVerb:
    def run(self, *arguments):
        done = subprocess.run(
            [sys.executable, "-m", "ml.evaluate", *map(str, arguments)], capture_output=True, text=True, check=False
        )
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]

    def test_ends_with_done_and_the_headline(self, tmp_path):
        world = World(tmp_path)
        status, events = self.run(
            "--bundle", world.bundle, "--manifest", world.manifest, "--store", world.store.url,
            "--out", tmp_path / "report", "--replicates", 50,
        )  # fmt: skip
        assert status == 0
        assert events[-1]["event"] == "done"
        assert events[-1]["result"]["headline"] == "test_unseen"
        assert events[-1]["result"]["n"] == 20

    def test_a_missing_bundle_is_an_error_to_mend(self, tmp_path):
        world = World(tmp_path)
        status, events = self.run(
            "--bundle", tmp_path / "nowhere", "--manifest", world.manifest, "--store", world.store.url,
            "--out", tmp_path / "report",
        )  # fmt: skip
        assert status == 2
        assert events[-1]["code"] == "bad_bundle"
        assert "bundle.json is missing" in events[-1]["message"]
