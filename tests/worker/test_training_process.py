"""Supervision of a verb: its result, its failure, its death, a cancel."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from db.queries.jobs import Claim
from worker.jobs import FenceLost, JobCancelled, JobContext, JobFailed
from worker.training_process import ProcessLost, run_verb

VERBS = {
    "done": 'print(\'{"event": "progress", "fraction": 0.5, "message": "half"}\');'
    'print(\'a library speaks\'); print(\'{"event": "done", "result": {"answer": 42}}\')',
    "refuse": 'import sys; print(\'{"event": "error", "code": "bad_labels", "message": "no labels"}\'); sys.exit(2)',
    "break": 'import sys; print(\'{"event": "error", "code": "internal", "message": "oops"}\'); sys.exit(1)',
    "die": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "silent": "import sys; print('last words', file=sys.stderr)",
    "endless": "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(600)",
    "secrets": "import json, os; print(json.dumps({'event': 'done', 'result': dict(os.environ)}))",
}


@pytest.fixture
def verbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, code in VERBS.items():
        (tmp_path / f"verb_{name}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    return tmp_path


@pytest.fixture
def context() -> JobContext:
    return JobContext(Claim(1, "train", {}, 1, "test", None))


def test_the_result_is_what_the_last_line_says(verbs: Path, context: JobContext) -> None:
    assert run_verb(context, "verb_done", [], verbs / "log", (0.2, 0.4)) == {"answer": 42}
    assert context._progress == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("refuse", JobFailed, "no labels"),
        ("break", ProcessLost, "oops"),
        ("die", ProcessLost, "killed"),
        ("silent", ProcessLost, "last words"),
    ],
)
def test_each_bad_end_is_told_apart(
    verbs: Path, context: JobContext, name: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        run_verb(context, f"verb_{name}", [], verbs / "log")


@pytest.mark.parametrize(("flag", "error"), [("cancelled", JobCancelled), ("fenced", FenceLost)])
def test_a_cancel_or_a_lost_fence_ends_the_process(
    verbs: Path, context: JobContext, flag: str, error: type[Exception]
) -> None:
    pid_file = verbs / "pid"

    def raise_flag() -> None:
        while not pid_file.exists() or not pid_file.read_text():
            threading.Event().wait(0.01)
        getattr(context, flag).set()

    thread = threading.Thread(target=raise_flag, daemon=True)
    thread.start()
    with pytest.raises(error):
        run_verb(context, "verb_endless", [str(pid_file)], verbs / "log")
    thread.join()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_no_secret_reaches_the_verb(verbs: Path, context: JobContext) -> None:
    environment = run_verb(context, "verb_secrets", [], verbs / "log")
    assert "DATABASE_URL" not in environment
    assert environment["PYTHONHASHSEED"] == "0"
