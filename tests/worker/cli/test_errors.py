"""Exit codes and errors: one plain sentence on stderr, results alone on stdout, JSON where it was asked for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.worker.cli.conftest import Afterglow
from worker.cli.errors import Ending, without_password
from worker.cli.main import run

ROOT = Path(__file__).parents[3]

WRONG, REFUSED, NOT_FOUND, FAILED = Ending.WRONG_INPUT, Ending.REFUSED, Ending.NOT_FOUND, Ending.FAILED


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("promote nothing", NOT_FOUND, "There is no model version nothing"),
        ("jobs cancel 7777", NOT_FOUND, "no job 7777"),
        ("jobs show 7777", NOT_FOUND, "no job 7777"),
        ("jobs retry 7777 --no-wait", NOT_FOUND, "no job 7777"),
        ("keys revoke zz", NOT_FOUND, "no key zz"),
        ("train rating --dataset 7777 --no-wait", NOT_FOUND, "no dataset 7777"),
        ("rollback rating", REFUSED, "nothing to roll back to"),
        ("score frame.jpg", REFUSED, "no rating model is active"),
        ("train raiting", WRONG, "Did you mean 'rating'?"),
        ("rollback raiting", WRONG, "Did you mean 'rating'?"),
        ("models --kind raiting", WRONG, "Did you mean 'rating'?"),
        ("train rating --set bakbone=resnet18", WRONG, "did you mean 'backbone'?"),
        ("train rating --set backbone=resnet99", WRONG, "backbone"),
        ("train rating --set epochs=many", WRONG, "epochs"),
        ("train rating --set backbone", WRONG, "KEY=VALUE"),
        ("train rating --set weights=/no/such/file.pth", WRONG, "no file /no/such/file.pth"),
        ("train rating --config /no/such/recipe.yaml", WRONG, "/no/such/recipe.yaml"),
        ("import snapshots /no/such.csv", WRONG, "/no/such.csv"),
        ("import snapshots /tmp", WRONG, "not a file"),
        ("keys create --scopes fly", WRONG, "unknown scope fly"),
        ("keys create --scopes score --expires-in 3y", WRONG, "as 12h, 90d or 4w"),
        ("keys create --scopes score --expires-in 0d", WRONG, "as 12h, 90d or 4w"),
        ("jobs --state runing", WRONG, "choose from queued, running"),
        ("jobs --kind tarin", WRONG, "choose from"),
        ("score x.jpg --phase noon", WRONG, "choose from sunrise, sunset"),
        ("jobs show seven", WRONG, "'JOB'"),
        ("jobs --limit 0", WRONG, "--limit"),
        ("train", WRONG, "Missing argument 'KIND'"),
        ("models --colour", WRONG, "--colour"),
    ],
)
def test_what_people_can_mend_is_one_plain_line_with_its_exit_code(
    database: str, afterglow: Afterglow, words: str, code: Ending, said: str
) -> None:
    done = afterglow(*words.split())
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert done.err.startswith("afterglow: ")
    assert len(done.err.strip().splitlines()) == 1
    told = afterglow(*words.split(), "--json")
    assert (told.code, told.out) == (code, "")
    assert (told.error["code"], told.error["exit_code"]) == (code.word, code)
    assert said in told.error["message"]


def test_a_command_that_worked_ends_with_0_and_says_nothing_on_stderr(database: str, afterglow: Afterglow) -> None:
    for command in ("models", "runs", "datasets", "jobs", "keys list"):
        done = afterglow(*command.split(), "--json")
        assert (done.code, done.json, done.err) == (0, [], "")


def test_a_database_that_is_away_is_told_without_its_password(
    afterglow: Afterglow, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    from tests.conftest import environment

    with environment(DATABASE_URL="postgresql://afterglow:geheim@127.0.0.1:1/x"):
        done = afterglow("models")
    assert done.code == FAILED
    assert "the database does not answer" in done.err
    assert "geheim" not in done.err
    assert len(done.err.splitlines()) == 1


def test_a_setting_that_is_nonsense_is_told_by_its_name_and_not_by_its_value(
    database: str, afterglow: Afterglow
) -> None:
    from tests.conftest import environment

    with environment(AFTERGLOW_JOB_LEASE_S="geheim"):
        done = afterglow("jobs", "--json")
    assert done.code == WRONG
    assert "AFTERGLOW_JOB_LEASE_S" in done.error["message"]
    assert "geheim" not in done.err


def test_a_fault_of_ours_keeps_its_trace_for_those_who_ask(
    database: str, afterglow: Afterglow, monkeypatch: pytest.MonkeyPatch
) -> None:
    from db.queries import models

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the bottom fell out")

    monkeypatch.setattr(models, "list_datasets", broken)
    plain = afterglow("datasets")
    assert (plain.code, plain.out) == (FAILED, "")
    assert "the bottom fell out" in plain.err
    assert "--debug" in plain.err
    assert "Traceback" not in plain.err
    assert "Traceback" in afterglow("datasets", "--debug").err
    monkeypatch.setenv("AFTERGLOW_DEBUG", "1")
    assert "Traceback" in afterglow("datasets").err


def test_up_that_runs_already_ends_with_3(afterglow: Afterglow, data_dir: Path) -> None:
    from worker.up_lock import only_up

    with only_up(data_dir):
        assert afterglow("up").code == REFUSED


def test_ctrl_c_ends_with_130(database: str) -> None:
    code = (
        "import os, signal, sys\nfrom db.queries import models\n"
        "models.list_datasets = lambda *_, **__: os.kill(os.getpid(), signal.SIGINT)\n"
        "from worker.cli.main import run\nsys.exit(run(['datasets']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=dict(os.environ),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped\n")


def test_nothing_but_help_follows_from_no_words_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == WRONG
    assert "First steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("postgresql://me:geheim@h/x is away", "postgresql://me:***@h/x is away"),
        ("redis://:geheim@h:1/0", "redis://:***@h:1/0"),
        ("host=h password=geheim", "host=h password=***"),
        ("http://host:80/path", "http://host:80/path"),
    ],
)
def test_passwords_are_taken_out_of_texts(text: str, without: str) -> None:
    assert without_password(text) == without
