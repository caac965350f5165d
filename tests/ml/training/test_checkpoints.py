import json

import pytest
import torch

from ml.events import Progress
from ml.images.atomic import TEMPORARY
from ml.training import checkpoints as module
from ml.training.checkpoints import Checkpoints, file_name

TENSORS = {"model/weight": torch.arange(12.0).reshape(3, 4), "random/order": torch.zeros(5, dtype=torch.uint8)}
STATE = {"loss": 0.1 + 0.2, "nothing": float("nan"), "worst": -float("inf")}


def of_attempt(directory, attempt="1", **changes):
    facts = {"identity": "run", "every_s": 0.0, "libraries": {"torch": "2"}, **changes}
    return Checkpoints(directory, attempt=attempt, **facts)


def test_what_is_written_comes_back_to_the_last_bit(tmp_path):
    of_attempt(tmp_path).write("fold 1/2, ", 3, False, STATE, TENSORS)
    saved = of_attempt(tmp_path).read("fold 1/2, ", Progress())
    assert (saved.epoch, saved.finished, saved.attempt) == (3, False, "1")
    assert json.dumps(saved.facts) == json.dumps(STATE)
    assert saved.facts["loss"] == STATE["loss"]
    assert saved.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(saved.tensors[name], TENSORS[name]) for name in TENSORS)


def test_each_fit_has_a_file_of_a_plain_name():
    names = ["", "evaluation fold 1/5, ", "evaluation fold 1/5, calibration fold 1/5, ", "calibration fold 1/5, "]
    assert len({file_name(name) for name in names}) == 4
    assert file_name("") == "final.safetensors"
    assert file_name(names[2]) == "evaluation-fold-1-5-calibration-fold-1-5.safetensors"


def test_a_write_that_fails_leaves_the_checkpoint_before_it(tmp_path, monkeypatch):
    checkpoints = of_attempt(tmp_path)
    checkpoints.write("", 1, False, STATE, TENSORS)

    def half(tensors, path, metadata):
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(module, "save_file", half)
    checkpoints.write("", 2, False, STATE, TENSORS)
    checkpoints.write("", 3, False, STATE, TENSORS)
    assert [path.name for path in tmp_path.iterdir()] == ["final.safetensors"]
    assert checkpoints.notes == [
        "checkpoints could not be written (No space left on device); a resume has to start from earlier ones"
    ]
    assert checkpoints.read("", Progress()).epoch == 1


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    (tmp_path / f"{TEMPORARY}x").write_bytes(b"half")
    of_attempt(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_every_resume_is_remembered_and_other_libraries_are_noted(tmp_path):
    of_attempt(tmp_path, "1").write("", 1, False, STATE, TENSORS)
    second = of_attempt(tmp_path, "2", libraries={"torch": "3"})
    assert second.read("", Progress()).attempt == "1"
    second.write("", 4, False, STATE, TENSORS)
    third = of_attempt(tmp_path, "3", libraries={"torch": "3"})
    third.read("", Progress())
    assert [(each["attempt"], each["epoch"]) for each in third.resumed_from] == [("1", 1), ("2", 4)]
    (note,) = third.notes
    assert "after epoch 1 with other libraries (torch 2 -> 3)" in note


def test_a_checkpoint_that_does_not_fit_the_model_leaves_no_trace_in_the_history(tmp_path):
    of_attempt(tmp_path, "1").write("", 1, False, STATE, TENSORS)
    second = of_attempt(tmp_path, "2")
    second.read("", Progress())
    second.refuse("", RuntimeError("other shapes"), Progress())
    assert second.resumed_from == []
    assert "RuntimeError: other shapes" in second.notes[0]


@pytest.mark.parametrize(("every_s", "due"), [(0.0, True), (3600.0, False)])
def test_the_first_is_due_at_once_and_the_next_after_a_while(tmp_path, every_s, due):
    checkpoints = of_attempt(tmp_path, every_s=every_s)
    assert checkpoints.is_due()
    checkpoints.write("", 1, False, STATE, TENSORS)
    assert checkpoints.is_due() is due


def test_without_a_directory_nothing_is_due_read_or_written():
    checkpoints = Checkpoints()
    checkpoints.write("", 1, True, STATE, TENSORS)
    assert not checkpoints.is_due()
    assert checkpoints.read("", Progress()) is None
