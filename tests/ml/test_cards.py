import json
import shlex
from typing import get_args, get_type_hints

import numpy as np
import pytest

from ml.bundle import load_bundle
from ml.cards import LICENCES, data_card, how_to_reproduce, model_card
from ml.features.backbones import WeightsSource
from ml.manifest import ManifestError, manifest_sha256
from ml.noise import Ratings
from tests.ml.brightness import brightness_bundle
from tests.ml.rows import row

ROWS = [
    row(1, label_value=4.0, rating_count=2, webcam_id=1),
    row(2, label_value=0.0, is_good=False, rating_count=0, split="val", webcam_id=1),
    row(3, label_value=4.5, split="test", seen=True, webcam_id=1, label_source="manual_seed"),
    row(4, label_value=5.0, split="test", seen=False, webcam_id=2),
    row(5).excluded("no-image"),
    row(6).excluded("no-image"),
    row(7).excluded("rating-count-below-minimum"),
]
NAN = float("nan")


class TestDataCard:
    def test_every_candidate_is_counted_once_and_every_exclusion_has_its_reason(self):
        card = data_card(ROWS, None)
        assert (card["candidates"], card["kept"], card["excluded"]) == (7, 4, 3)
        reasons = {each["reason"]: each["n"] for each in card["exclusions"]}
        assert reasons == {"no-image": 2, "rating-count-below-minimum": 1}
        assert sum(reasons.values()) + card["kept"] == card["candidates"]
        for part in ("splits", "sources", "labels", "ratings_per_row"):
            assert sum(each["n"] for each in card[part]) == card["kept"], part

    def test_splits_tell_webcams_seen_from_not_seen(self):
        splits = {each["name"]: (each["n"], each["webcams"]) for each in data_card(ROWS, None)["splits"]}
        assert splits == {
            "train": (1, 1), "val": (1, 1), "test, webcams seen": (1, 1), "test, webcams not seen": (1, 1),
        }  # fmt: skip

    def test_labels_are_counted_in_half_units_with_empty_ones_in_between(self):
        labels = data_card(ROWS, None)["labels"]
        assert [each["low"] for each in labels] == [step / 2 for step in range(11)]
        assert {each["low"]: each["n"] for each in labels if each["n"]} == {0.0: 1, 4.0: 1, 4.5: 1, 5.0: 1}

    def test_ratings_are_those_of_kept_rows(self):
        stars = np.array([4.0, 4.0, NAN, 5.0, 1.0])
        votes = Ratings(np.array([1, 1, 2, 4, 5]), np.array(["ann", "bob", "ann", "bob", "eve"]), stars)
        ratings = data_card(ROWS, votes)["ratings"]
        assert (ratings["n"], ratings["raters"]) == (4, 2)
        assert {each["rating"]: each["n"] for each in ratings["histogram"]} == {
            "not a sunset": 1, "1": 0, "2": 0, "3": 0, "4": 2, "5": 1,
        }  # fmt: skip

    def test_it_names_rows_dataset_and_time(self):
        card = data_card(ROWS, None, {"id": 3, "as_of": "2026-03-01T00:00:00+00:00"})
        assert card["manifest_sha256"] == manifest_sha256(ROWS)
        assert card["dataset"] == {"id": 3, "as_of": "2026-03-01T00:00:00+00:00"}
        assert card["first_captured_at"] < card["last_captured_at"]
        assert data_card(ROWS, None)["dataset"] is None


class TestModelCard:
    def card(self, folder, run=None, **training):
        directory = brightness_bundle(folder / "bundle", "bright_1")
        description = directory / "bundle.json"
        description.write_text(json.dumps(json.loads(description.read_text()) | {"training": training}))
        return model_card(load_bundle(directory), "b" * 64, run)

    def test_what_was_not_recorded_is_null_and_its_licence_unknown(self, tmp_path):
        card = self.card(tmp_path)
        assert (card["bundle_sha256"], card["code"], card["libraries"], card["seed"]) == ("b" * 64, None, None, None)
        assert card["backbone_weights"]["licence"].startswith("unknown")

    @pytest.mark.parametrize(
        ("source", "licence"),
        [
            ({"kind": "none", "sha256": None, "path_name": None}, "none: the weights are random"),
            ({"kind": "imagenet", "sha256": "a" * 64, "path_name": "x.pth"}, "published by torchvision"),
            ({"kind": "file", "sha256": "a" * 64, "path_name": "x.pth"}, "unknown: the weights were given as a file"),
            ({"kind": "file", "sha256": "7ebf99e0" + "a" * 56, "path_name": "x.pth"}, "torchvision's mobilenet_v2-7eb"),
        ],
    )
    def test_the_licence_of_the_weights_is_said_as_far_as_it_is_known(self, tmp_path, source, licence):
        weights = self.card(tmp_path, weights_source=source)["backbone_weights"]
        assert licence in weights["licence"]
        assert (weights["source"], weights["sha256"], weights["file"]) == (
            source["kind"], source["sha256"], source["path_name"],
        )  # fmt: skip

    def test_every_source_of_weights_has_its_licence(self):
        assert set(get_args(get_type_hints(WeightsSource)["kind"])) == set(LICENCES)

    def test_a_bundle_from_elsewhere_may_say_anything_of_its_training(self, tmp_path):
        odd = dict.fromkeys(("recipe", "weights_source", "counts", "groups", "notes"), "odd")
        card = self.card(tmp_path, **odd, libraries=[1, {"a": None}], threads={"x": [2]})
        assert (card["recipe"], card["counts"], card["groups"], card["notes"]) == ({}, None, None, [])
        assert card["backbone_weights"]["source"] == "unknown"

    def test_the_runs_own_record_of_the_code_is_taken(self, tmp_path):
        (tmp_path / "training.json").write_text(json.dumps({"code": {"version": "1.2", "commit": "abc"}, "seed": 3}))
        card = self.card(tmp_path, tmp_path)
        assert (card["code"], card["seed"]) == ({"version": "1.2", "commit": "abc"}, 3)

    def test_a_run_without_its_record_is_refused(self, tmp_path):
        with pytest.raises(ManifestError, match="is not a finished run"):
            self.card(tmp_path, tmp_path / "nowhere")


class TestHowToReproduce:
    CARD = {
        "model_version": "v1",
        "kind": "rating",
        "recipe": {"weights": "a b; rm -rf /", "scale_low": None, "flip": True},
    }

    def test_texts_from_elsewhere_are_quoted_for_the_shell(self):
        steps = how_to_reproduce(self.CARD, {"dataset": {"id": 3, "as_of": "x"}}, "test")
        assert steps[0]["command"] == "afterglow reproduce v1"
        words = shlex.split(steps[1]["command"])
        assert words[:5] == ["afterglow", "train", "rating", "--dataset", "3"]
        assert words[words.index("weights=a b; rm -rf /") - 1] == "--set"
        assert "scale_low=null" in words
        assert "flip=true" in words

    def test_rows_that_the_model_was_not_trained_on_are_not_named_as_those_to_train_on(self):
        data = {"dataset": {"id": 11, "as_of": "x", "fresh": True}}
        commands = [step["command"] for step in how_to_reproduce(self.CARD, data, "test")]
        assert not any("--dataset" in command for command in commands)
        assert "afterglow evaluate v1 --fresh" in commands

    def test_without_a_dataset_only_the_evaluation_can_be_told(self):
        commands = [step["command"] for step in how_to_reproduce(self.CARD, {"dataset": None}, "kfold")]
        assert not any("--dataset" in command for command in commands)
        assert "afterglow evaluate v1" in commands
        assert any("--run RUN" in command for command in commands)
