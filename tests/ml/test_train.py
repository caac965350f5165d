import csv
import json
from importlib.metadata import version

import pytest
from safetensors.numpy import load_file

from ml.judgements.base import JudgementError
from ml.train import main, train
from tests.ml.tiny_training import make_dataset, run_train, train_in_process, write_recipe


def facts_of(run):
    return json.loads((run / "training.json").read_text())


class TestFrozen:
    def test_the_process_speaks_json_lines_that_end_with_done(self, trained):
        names = [event["event"] for event in trained.events]
        assert names[-1] == "done"
        assert set(names[:-1]) <= {"surroundings", "progress", "epoch"}
        fractions = [event["fraction"] for event in trained.events if event["event"] == "progress"]
        assert fractions == sorted(fractions)
        assert 0.0 <= fractions[0] <= fractions[-1] <= 1.0
        assert trained.events[-1]["result"]["weights_sha256"] == facts_of(trained.directory)["weights_sha256"]

    def test_it_learns_the_colour(self, trained):
        facts = facts_of(trained.directory)
        with (trained.directory / "oof.csv").open() as opened:
            rows = list(csv.DictReader(opened))
        targets = [float(row["target"]) for row in rows]
        mean = sum(targets) / len(targets)
        error = sum(abs(float(row["score"]) - float(row["target"])) for row in rows)
        assert error < 0.6 * sum(abs(target - mean) for target in targets)
        assert facts["val_metrics"]["spearman"] > 0.8

    def test_too_few_test_rows_are_evaluated_out_of_fold_and_no_group_straddles(self, trained):
        assert facts_of(trained.directory)["method"] == "kfold"
        with (trained.directory / "oof.csv").open() as opened:
            rows = list(csv.DictReader(opened))
        assert len(rows) == 40
        folds_of_group = {}
        for row in rows:
            folds_of_group.setdefault(row["group_id"], set()).add(row["fold"])
        assert all(len(folds) == 1 for folds in folds_of_group.values())
        assert len({row["fold"] for row in rows}) == 3
        for row in rows:
            assert float(row["ai_rating"]) == pytest.approx(float(row["score"]))

    def test_a_small_val_split_is_calibrated_out_of_fold_without_test_rows(self, trained):
        facts = facts_of(trained.directory)
        assert facts["counts"] == {"train": 24, "val": 8, "test": 8}
        assert (facts["calibration"]["fitted_on"], facts["calibration"]["n"]) == ("oof", 32)

    def test_the_best_epoch_of_the_log_is_the_one_kept(self, trained):
        facts = facts_of(trained.directory)
        epochs = [json.loads(line) for line in (trained.directory / "epochs.jsonl").read_text().splitlines()]
        assert facts["best_epoch"] == min(epochs, key=lambda epoch: epoch["val"]["loss"])["epoch"]
        assert epochs[-1]["train_loss"] < 0.5 * epochs[0]["train_loss"]

    def test_a_random_backbone_is_reported_as_one(self, trained):
        facts = facts_of(trained.directory)
        assert facts["weights_source"]["kind"] == "none"
        assert any("no pretrained weights" in note for note in facts["notes"])

    def test_another_process_with_an_empty_cache_ends_with_the_same_weights(self, tiny_dataset, trained, tmp_path):
        status, events = run_train(tiny_dataset, tmp_path / "run", tmp_path / "cache")
        assert status == 0
        assert events[-1]["result"]["weights_sha256"] == facts_of(trained.directory)["weights_sha256"]


class TestSameWeights:
    def test_however_many_images_are_read_at_once_fresh_processes_end_with_the_same_weights(
        self, tiny_dataset, tmp_path
    ):
        keys = {"trainable": "last_block", "evaluation": "test", "epochs": 2, "folds": 2}
        runs = []
        for readers in (0, 2):
            run = tmp_path / str(readers)
            status, events = run_train(tiny_dataset, run, tmp_path / f"cache-{readers}", readers, **keys)
            assert status == 0, events
            runs.append(facts_of(run))
        assert runs[0]["weights_sha256"] == runs[1]["weights_sha256"]
        assert runs[0]["recipe"] == runs[1]["recipe"]

    def test_a_number_of_readers_that_is_none_is_refused_in_plain_words(self, capsys):
        with pytest.raises(SystemExit, match="2"):
            main(["--readers", "-1"])
        assert "'-1' is not a whole number from 0 to 256" in capsys.readouterr().err

    def test_what_decides_the_last_digits_is_recorded(self, trained):
        facts = facts_of(trained.directory)
        assert (facts["threads"], facts["seed"]) == (1, 0)
        assert facts["libraries"]["torch"] == version("torch")
        assert facts["libraries"]["cpu"]
        assert facts["machine"]["architecture"]
        assert len(facts["code"]["source_sha256"]) == 64


class TestHeldOut:
    """What calibration and threshold are fitted on, with as many validation rows as would do."""

    @pytest.mark.parametrize(("evaluation", "which", "n"), [("kfold", "oof", 128), ("test", "val", 32)])
    def test_it_is_train_and_val_out_of_fold_where_that_is_known_else_val(self, tmp_path, evaluation, which, n):
        many = make_dataset(tmp_path, n=160)
        facts = train_in_process(many, tmp_path / "run", evaluation=evaluation, threshold="precision_target")
        assert facts["counts"] == {"train": 96, "val": 32, "test": 32}
        assert (facts["calibration"]["fitted_on"], facts["calibration"]["n"]) == (which, n)
        chosen_on = facts["threshold_policy"]["fitted_on"]
        assert (chosen_on["rows"], chosen_on["n"]) == (which, n)


class TestOtherWays:
    def test_binary_is_evaluated_on_test_rows_when_asked(self, tmp_path):
        dataset = make_dataset(tmp_path, head="binary")
        facts = train_in_process(dataset, tmp_path / "run", head="binary", evaluation="test", epochs=20)
        assert facts["method"] == "test"
        assert not (tmp_path / "run" / "oof.csv").exists()
        assert facts["calibration"]["method"] == "platt"
        assert facts["calibration"]["slope"] > 0
        assert facts["threshold_policy"]["on"] == "p_good"

    def test_fine_tuning_changes_the_backbone_and_keeps_what_is_frozen(self, tiny_dataset, tmp_path):
        frozen = train_in_process(tiny_dataset, tmp_path / "frozen", evaluation="test", epochs=1)
        tuned = train_in_process(
            tiny_dataset, tmp_path / "tuned", evaluation="test", epochs=1, trainable="last_block", folds=2
        )
        assert frozen["weights_sha256"] != tuned["weights_sha256"]
        before, after = (load_file(tmp_path / name / "weights.safetensors") for name in ("frozen", "tuned"))
        changed = {name for name in before if (before[name] != after[name]).any() and ".net." in name}
        assert changed
        assert all(name.startswith("encoder.net.layer4.") for name in changed)

    def test_rows_without_val_train_for_a_fixed_number_of_epochs(self, tmp_path):
        dataset = make_dataset(tmp_path, n=6)  # three groups, the last one val
        rows = (tmp_path / "manifest_full.csv").read_text().replace(",val,", ",train,")
        dataset.manifest.write_text(rows)
        facts = train_in_process(dataset, tmp_path / "run", epochs=3, solver="adamw")
        assert facts["method"] == "kfold"
        assert facts["best_epoch"] == 3
        assert any("fixed number of epochs" in note for note in facts["notes"])

    def test_labels_of_one_class_are_refused_before_anything_is_written(self, tmp_path):
        dataset = make_dataset(tmp_path, head="binary")
        lines = [line.split(",") for line in dataset.manifest.read_text().splitlines()]
        for cells in lines[1:]:
            cells[4] = "1.0"  # target_label
        dataset.manifest.write_text("".join(",".join(cells) + "\n" for cells in lines))
        recipe = write_recipe(tmp_path / "recipe.json", head="binary")
        with pytest.raises(JudgementError, match="cannot learn"):
            train("rating", dataset.manifest, recipe, dataset.store, tmp_path / "cache", tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_a_missing_weights_file_is_an_error_in_plain_words_and_exit_2(self, tiny_dataset, tmp_path):
        status, events = run_train(tiny_dataset, tmp_path / "run", tmp_path / "cache", weights="/no/such/file.pth")
        assert status == 2
        assert events[-1]["event"] == "error"
        assert events[-1]["code"] == "bad_weights"
        assert "/no/such/file.pth" in events[-1]["message"]
        assert not (tmp_path / "run" / "training.json").exists()
