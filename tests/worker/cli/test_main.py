"""The command line: words in any order, plain errors, quick help."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worker.conftest import write_generated_labels
from worker.cli.main import with_data_dir_first

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="agc-", dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


def _run(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL", "STORE_URL")}
    return subprocess.run(
        [sys.executable, "-m", "worker.cli.main", *words, "--data-dir", str(home / "var")],
        capture_output=True, text=True, cwd=ROOT, env=environment,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "moved"),
    [
        (["up", "--data-dir", "d", "--port", "1"], ["--data-dir", "d", "up", "--port", "1"]),
        (["--data-dir=d", "up"], ["--data-dir=d", "up"]),
        (["up"], ["up"]),
        (["score", "--", "--data-dir", "x"], ["score", "--", "--data-dir", "x"]),
        (["up", "--data-dir"], ["up", "--data-dir"]),
    ],
)
def test_the_data_directory_may_be_named_anywhere(words: list[str], moved: list[str]) -> None:
    assert with_data_dir_first(words) == moved


def test_commands_start_the_database_for_themselves_and_stop_it_again(home: Path) -> None:
    made = json.loads(_run(home, "keys", "create", "--scopes", "score,rate", "--name", "cron", "--json").stdout)
    assert made["key"].startswith(f"ag_{made['key_id']}_")
    (listed,) = json.loads(_run(home, "keys", "list", "--json").stdout)
    assert (listed["name"], listed["scopes"]) == ("cron", ["rate", "score"])
    assert made["key"] not in json.dumps(listed)
    assert not (home / "var" / "postgres" / "postmaster.pid").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["promote", "nothing"], "There is no model version nothing"),
        (["rollback", "rating"], "nothing to roll back to"),
        (["score", "frame.jpg"], "no rating model is active"),
        (["train", "raiting"], "Did you mean 'rating'?"),
        (["train", "rating", "--set", "bakbone=resnet18"], "did you mean 'backbone'?"),
        (["train", "rating", "--set", "backbone=resnet99"], "backbone"),
        (["train", "rating", "--set", "epochs=many"], "epochs"),
        (["train", "rating", "--set", "backbone"], "KEY=VALUE"),
        (["train", "rating", "--set", "weights=/no/such/file.pth"], "no file /no/such/file.pth"),
        (["train", "rating", "--config", "/no/such/recipe.yaml"], "/no/such/recipe.yaml"),
        (["train", "rating", "--dataset", "7"], "no dataset 7"),
        (["import", "snapshots", "/no/such.csv"], "/no/such.csv"),
        (["keys", "create", "--scopes", "fly"], "unknown scope fly"),
        (["jobs", "cancel", "7"], "no job 7"),
    ],
)
def test_what_people_can_mend_is_one_plain_line(home: Path, words: list[str], said: str) -> None:
    done = _run(home, *words)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_training_without_labels_says_how_to_get_some(home: Path) -> None:
    done = _run(home, "train", "rating")
    assert done.returncode == 1
    assert "no" in done.stderr
    assert "label" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_version_is_told() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "worker.cli.main", "--version"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.startswith("afterglow ")


def test_ctrl_c_in_a_training_that_runs_its_own_workers_ends_the_job(home: Path) -> None:
    frames = home / "frames"
    frames.mkdir()
    table = write_generated_labels(frames, num_webcams=8, num_days=3)
    assert _run(home, "import", "snapshots", str(table), "--images", str(frames)).returncode == 0
    environment = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL", "STORE_URL")}
    endless = ["--set", "trainable=all", "--set", "epochs=10000", "--set", "patience=10000", "--set", "image_size=32"]
    command = [sys.executable, "-m", "worker.cli.main", "train", "rating", *endless, "--data-dir", str(home / "var")]
    training = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )
    while not list((home / "var").glob("work/job-*/attempt-1/train.log")):
        assert training.poll() is None
        time.sleep(0.1)
    training.send_signal(signal.SIGINT)
    _, said = training.communicate(timeout=90)
    assert training.returncode == 130
    assert "is cancelled" in said
    job = json.loads(_run(home, "jobs", "list", "--json").stdout)[0]
    assert (job["kind"], job["state"]) == ("train", "cancelled")
