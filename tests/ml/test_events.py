import json
import math
import os

import pytest

from ml.bundle import BundleError
from ml.events import Progress, VerbError, emit, run_verb
from ml.judgements.base import JudgementError
from ml.manifest import ManifestError
from ml.training.recipe import RecipeError


def events(capfd):
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def raising(error):
    def main():
        raise error

    return main


def test_numbers_that_json_cannot_say_become_null(capfd):
    emit({"event": "done", "result": {"auc": math.nan, "list": [math.inf, 1.0]}})
    assert events(capfd) == [{"event": "done", "result": {"auc": None, "list": [None, 1.0]}}]


def test_what_libraries_print_never_reaches_the_protocol(capfd):
    def main():
        print("chatter")
        os.write(1, b"chatter from C\n")
        return {"n": 1}

    assert run_verb(main) == 0
    captured = capfd.readouterr()
    assert [json.loads(line) for line in captured.out.splitlines()] == [{"event": "done", "result": {"n": 1}}]
    assert "chatter from C" in captured.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (JudgementError("x"), "bad_labels"),
        (RecipeError("x"), "bad_recipe"),
        (ManifestError("x"), "bad_manifest"),
        (BundleError("x"), "bad_bundle"),
    ],
)
def test_what_the_user_can_mend_has_a_code_and_exits_2(capfd, error, code):
    assert run_verb(raising(error)) == 2
    assert events(capfd) == [{"event": "error", "code": code, "message": "x"}]


def test_an_error_of_a_verb_names_its_own_code(capfd):
    class Weights(VerbError):
        code = "bad_weights"

    assert run_verb(raising(Weights("no file"))) == 2
    assert events(capfd)[-1]["code"] == "bad_weights"


def test_a_fault_of_ours_is_internal_and_exits_1(capfd):
    assert run_verb(raising(KeyError("x"))) == 1
    assert events(capfd) == [{"event": "error", "code": "internal", "message": "KeyError: 'x'"}]


def test_progress_is_written_a_few_times_a_second_at_most_and_parts_nest(capfd):
    whole = Progress()
    part = whole.part(0.5, 1.0).part(0.0, 0.5)
    for _ in range(1000):
        part.report(0.5, "half")
    lines = events(capfd)
    assert len(lines) <= 3
    assert lines[0]["fraction"] == 0.625
