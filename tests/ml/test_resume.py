"""A training that was killed and goes on ends where one that was never stopped ends, to the last bit."""

import json
import shutil

import pytest

from tests.ml.tiny_training import make_dataset, train_and_kill, train_in_process

TUNED = {
    "backbone": "mobilenet_v3_small", "trainable": "all", "epochs": 6, "patience": 6, "folds": 2, "batch_size": 8,
    "learning_rate": 0.02, "seed": 1,
}  # fmt: skip
TEST_SPLIT = {**TUNED, "evaluation": "test", "color_jitter": 0.1}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("resume"), n=20)


def log_of(run):
    return [json.loads(line) for line in (run / "epochs.jsonl").read_text().splitlines()]


def events_of(capfd):
    return [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]


def same_but_for_the_attempts(one, other, directory, other_directory):
    """The same weights, calibration and metrics, and the same log of epochs."""
    for name in ("weights_sha256", "calibration", "best_epoch", "val_metrics", "method"):
        assert json.dumps(one[name]) == json.dumps(other[name]), name  # NaN is not NaN, but `NaN` is `NaN`
    logs = [[{**line, "attempt": None} for line in log_of(each)] for each in (directory, other_directory)]
    assert json.dumps(logs[0]) == json.dumps(logs[1])
    assert [line["epoch"] for line in logs[0]] == list(range(1, len(logs[0]) + 1))
    oof = [(each / "oof.csv") for each in (directory, other_directory)]
    assert oof[0].exists() == oof[1].exists()
    assert not oof[0].exists() or oof[0].read_bytes() == oof[1].read_bytes()


@pytest.fixture(scope="module")
def never_stopped(dataset, tmp_path_factory):
    """The facts and the directory of a training, whose checkpoints lie beside it."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return train_in_process(dataset, out, out.with_name("resume"), "1", **TEST_SPLIT), out


@pytest.fixture
def resume(never_stopped, tmp_path):
    """A copy of the checkpoints of a training that is over."""
    return shutil.copytree(never_stopped[1].with_name("resume"), tmp_path / "resume")


def test_keeping_checkpoints_changes_nothing(dataset, never_stopped, tmp_path):
    facts = train_in_process(dataset, tmp_path / "run", **TEST_SPLIT)
    same_but_for_the_attempts(facts, never_stopped[0], tmp_path / "run", never_stopped[1])
    assert facts["best_epoch"] < TEST_SPLIT["epochs"], "the best epoch must not be the last, or its weights are no test"


class TestWithATestSplit:
    def test_killed_twice_it_ends_with_the_same_weights_and_log(self, dataset, never_stopped, tmp_path):
        resume = tmp_path / "resume"
        train_and_kill(dataset, tmp_path / "a", resume, "1.1", "the final training", 2, **TEST_SPLIT)
        train_and_kill(dataset, tmp_path / "b", resume, "1.2", "the final training", 3, **TEST_SPLIT)
        facts = train_in_process(dataset, tmp_path / "run", resume, "2.1", **TEST_SPLIT)
        same_but_for_the_attempts(facts, never_stopped[0], tmp_path / "run", never_stopped[1])
        assert [line["attempt"] for line in log_of(tmp_path / "run")] == ["1.1", "1.1", "1.2", "2.1", "2.1", "2.1"]
        assert [(each["attempt"], each["epoch"]) for each in facts["resumed_from"]] == [("1.1", 2), ("1.2", 3)]
        assert {each["fit"] for each in facts["resumed_from"]} == {"the final training"}

    def test_what_is_finished_is_not_trained_again(self, dataset, never_stopped, resume, tmp_path, capfd):
        facts = train_in_process(dataset, tmp_path / "run", resume, "2", **TEST_SPLIT)
        assert not [event for event in events_of(capfd) if event["event"] in ("checkpoint", "epoch")]
        same_but_for_the_attempts(facts, never_stopped[0], tmp_path / "run", never_stopped[1])
        assert {line["attempt"] for line in log_of(tmp_path / "run")} == {"1"}

    @pytest.mark.parametrize("damage", ["cut short", "a byte changed", "of another fit", "empty"])
    def test_a_checkpoint_that_cannot_be_used_is_said_and_the_fit_starts_anew(
        self, dataset, never_stopped, resume, tmp_path, capfd, damage
    ):
        file = resume / "final.safetensors"
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        other = (resume / "calibration-fold-1-2.safetensors").read_bytes()
        shorter = data[: len(data) // 2]
        file.write_bytes({"cut short": shorter, "empty": b"", "of another fit": other, "a byte changed": data}[damage])
        facts = train_in_process(dataset, tmp_path / "run", resume, "2", **TEST_SPLIT)
        same_but_for_the_attempts(facts, never_stopped[0], tmp_path / "run", never_stopped[1])
        assert {line["attempt"] for line in log_of(tmp_path / "run")} == {"2"}
        assert facts["resumed_from"] == []
        assert any("cannot be used" in note for note in facts["notes"])
        assert any("cannot be used" in event.get("message", "") for event in events_of(capfd))

    def test_checkpoints_of_another_recipe_are_refused(self, dataset, resume, tmp_path):
        keys = {**TEST_SPLIT, "seed": 7, "epochs": 1, "patience": 1}
        facts = train_in_process(dataset, tmp_path / "run", resume, "2", **keys)
        assert {line["attempt"] for line in log_of(tmp_path / "run")} == {"2"}
        assert any("of another run" in note for note in facts["notes"])


def test_killed_in_a_fold_and_in_the_final_fit_it_ends_the_same(dataset, tmp_path, capfd):
    keys = {**TUNED, "evaluation": "kfold", "epochs": 3, "patience": 1}
    whole = train_in_process(dataset, tmp_path / "whole", **keys)
    resume = tmp_path / "resume"
    train_and_kill(dataset, tmp_path / "a", resume, "1", "evaluation fold 2/2", 1, **keys)
    events = train_and_kill(dataset, tmp_path / "b", resume, "2", "the final training", 1, **keys)
    assert "evaluation fold 1/2" not in {event["fit"] for event in events if event["event"] == "checkpoint"}
    events_of(capfd)
    facts = train_in_process(dataset, tmp_path / "run", resume, "3", **keys)
    same_but_for_the_attempts(facts, whole, tmp_path / "run", tmp_path / "whole")
    trained = {event["fit"] for event in events_of(capfd) if event["event"] == "checkpoint"}
    assert "evaluation fold 1/2" not in trained and "evaluation fold 2/2" not in trained
    assert trained == {"the final training"}  # the calibration is of what the folds said
    assert ("the final training", "2") in {(each["fit"], each["attempt"]) for each in facts["resumed_from"]}


def test_frozen_features_need_no_checkpoints(dataset, tmp_path):
    train_in_process(dataset, tmp_path / "run", tmp_path / "resume", evaluation="test")
    assert list((tmp_path / "resume").iterdir()) == []
    assert {line["attempt"] for line in log_of(tmp_path / "run")} == {"1"}


def test_a_checkpoint_that_cannot_be_written_does_not_stop_the_training(dataset, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ml.training.checkpoints.save_file", full)
    keys = {**TUNED, "evaluation": "test", "calibration": "none", "epochs": 2}
    facts = train_in_process(dataset, tmp_path / "run", tmp_path / "resume", **keys)
    assert len([note for note in facts["notes"] if "No space left" in note]) == 1
