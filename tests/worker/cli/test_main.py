"""The command line as a program: words in any order, services of its own, Ctrl-C, shells."""

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
from worker.cli.main import with_common_options_first

ROOT = Path(__file__).parents[3]
PROGRAM = [sys.executable, "-m", "worker.cli.main"]


HEARS_CTRL_C = (
    sys.executable, "-c",
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])",
)  # fmt: skip
"""What a shell starts in the background ignores SIGINT, and so does all that it starts."""


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="agc-", dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


def _environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL", "STORE_URL")}


def _run(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *words, "--data-dir", str(home / "var")],
        capture_output=True, text=True, cwd=ROOT, env=_environment(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "moved"),
    [
        (["up", "--data-dir", "d", "--port", "1"], ["--data-dir", "d", "up", "--port", "1"]),
        (["--data-dir=d", "up"], ["--data-dir=d", "up"]),
        (["up"], ["up"]),
        (["models", "-q", "--debug"], ["-q", "--debug", "models"]),
        (["score", "--", "--data-dir", "x"], ["score", "--", "--data-dir", "x"]),
        (["up", "--data-dir"], ["up", "--data-dir"]),
    ],
)
def test_the_options_of_all_commands_may_stand_anywhere(words: list[str], moved: list[str]) -> None:
    assert with_common_options_first(words) == moved


def test_commands_start_the_database_for_themselves_and_stop_it_again(home: Path) -> None:
    made = json.loads(_run(home, "keys", "create", "--scopes", "score,rate", "--name", "cron", "--json").stdout)
    assert made["key"].startswith(f"ag_{made['key_id']}_")
    (listed,) = json.loads(_run(home, "keys", "list", "--json").stdout)
    assert (listed["name"], listed["scopes"]) == ("cron", ["rate", "score"])
    assert made["key"] not in json.dumps(listed)
    assert not (home / "var" / "postgres" / "postmaster.pid").exists()


def test_the_version_is_told() -> None:
    done = subprocess.run([*PROGRAM, "--version"], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.startswith("afterglow ")
    assert done.returncode == 0


def test_help_loads_nothing_heavy() -> None:
    heavy = ("torch", "sqlmodel", "sqlalchemy", "onnxruntime", "celery", "numpy", "pydantic_settings", "PIL", "alembic")
    code = (
        "import sys\nfrom worker.cli.main import run\n"
        "for words in (['--help'], ['train', '--help'], ['keys', 'create', '--help'], ['doctor', '--help'], ['jobs', '-h']):\n"
        "    assert run(words) == 0\n"
        f"loaded = [name for name in {heavy!r} if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_a_reader_that_had_enough_is_no_error(home: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {' '.join(PROGRAM)} train --help | true"],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.stderr == ""


def test_ctrl_c_in_a_training_that_runs_its_own_workers_ends_the_job(home: Path) -> None:
    frames = home / "frames"
    frames.mkdir()
    table = write_generated_labels(frames, num_webcams=8, num_days=3)
    imported = _run(home, "import", "snapshots", str(table), "--images", str(frames))
    assert imported.returncode == 0
    assert "importing: 24 of 24 rows" in imported.stderr
    endless = ["--set", "trainable=all", "--set", "epochs=10000", "--set", "patience=10000", "--set", "image_size=32"]
    command = [*HEARS_CTRL_C, *PROGRAM, "train", "rating", *endless, "--data-dir", str(home / "var")]
    training = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=_environment()
    )
    while not list((home / "var").glob("work/job-*/attempt-1/train.log")):
        assert training.poll() is None
        time.sleep(0.1)
    training.send_signal(signal.SIGINT)
    _, said = training.communicate(timeout=90)
    assert training.returncode == 130
    assert "is cancelled" in said
    assert said.rstrip().endswith("stopped")
    job = json.loads(_run(home, "jobs", "list", "--json").stdout)[0]
    assert (job["kind"], job["state"]) == ("train", "cancelled")


def test_a_shell_completes_commands_options_and_kinds_and_starts_nothing(home: Path) -> None:
    def complete(line: str) -> set[str]:
        words = line.split(" ")
        asked = {"_AFTERGLOW_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
        empty = {"AFTERGLOW_DATA_DIR": str(home / "nothing")}
        done = subprocess.run(
            PROGRAM, capture_output=True, text=True, cwd=ROOT, env={**_environment(), **asked, **empty}
        )
        assert done.stderr == ""
        return set(done.stdout.split())

    assert complete("afterglow do") == {"doctor"}
    assert "--scopes" in complete("afterglow keys create --")
    assert complete("afterglow train ra") == {"rating"}
    assert complete("afterglow promote ") == set()
    assert not (home / "nothing").exists()


def test_the_script_of_completion_is_shown() -> None:
    environment = {**_environment(), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(
        [*PROGRAM, "--show-completion", "bash"], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert "_AFTERGLOW_COMPLETE" in done.stdout
