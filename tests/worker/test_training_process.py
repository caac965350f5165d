"""Supervision of a verb: its result, its failure, its death, a cancel."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from db.processes import is_alive
from db.queries.jobs import Claim
from tests.conftest import environment
from worker.jobs import FenceLost, JobCancelled, JobContext, JobFailed
from worker.training_process import OutOfMemory, ProcessLost, run_verb

VERBS = {
    "done": 'print(\'{"event": "progress", "fraction": 0.5, "message": "half"}\');'
    'print(\'a library speaks\'); print(\'{"event": "done", "result": {"answer": 42}}\')',
    "refuse": 'import sys; print(\'{"event": "error", "code": "bad_labels", "message": "no labels"}\'); sys.exit(2)',
    "break": 'import sys; print(\'{"event": "error", "code": "internal", "message": "oops"}\'); sys.exit(1)',
    "die": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "capped": "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid())); held = bytearray(400 << 20)",
    "silent": "import sys; print('last words', file=sys.stderr)",
    "endless": "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(600)",
    "hungry": "import time; held = bytearray(400 << 20); time.sleep(600)",
    "refused": 'import sys; print(\'{"event": "error", "code": "internal", "message": "MemoryError: "}\'); sys.exit(1)',
    "family": "import os, subprocess, sys, time; child = subprocess.Popen(['sleep', '600']);"
    "open(sys.argv[1], 'w').write(str(child.pid)); end = sys.argv[2];"
    "print('{\"event\": \"done\", \"result\": {}}' if end == 'done' else '', flush=True);"
    "time.sleep(600) if end == 'stay' else os._exit(3 if end == 'crash' else 0)",
    "feeder": "import subprocess, sys; held = [subprocess.Popen([sys.executable, '-c', "
    "'import time; held = bytearray(150 << 20); time.sleep(600)']) for _ in range(3)]; held[0].wait()",
    "events": 'print(\'{"event": "checkpoint", "file": "a", "epoch": 1}\\n{"event": "done", "result": {}}\')',
    "secrets": "import json, os; print(json.dumps({'event': 'done', 'result': dict(os.environ)}))",
}


@pytest.fixture
def verbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, code in VERBS.items():
        (tmp_path / f"verb_{name}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("AFTERGLOW_SECRET", "secret")
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
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
        ("die", ProcessLost, "ended by signal 9"),
        ("refused", OutOfMemory, r"refused memory: MemoryError.*smaller image_size"),
        ("silent", ProcessLost, "last words"),
    ],
)
def test_each_bad_end_is_told_apart(
    verbs: Path, context: JobContext, name: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        run_verb(context, f"verb_{name}", [], verbs / "log")


@pytest.fixture
def memory_cgroup() -> Iterator[Path]:
    """A control group whose processes may hold 64 MiB; skips where none can be made."""
    for root, limit in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        group = Path("/sys/fs/cgroup") / root / f"afterglow-test-{os.getpid()}"
        try:
            group.mkdir()
            (group / limit).write_text(str(64 << 20))
        except OSError:
            if group.is_dir():
                group.rmdir()
            continue
        yield group
        group.rmdir()
        return
    pytest.skip("no control group can be made here: that takes root and a writable /sys/fs/cgroup")


def test_a_process_that_the_kernel_kills_for_memory_is_told_from_one_that_somebody_killed(
    verbs: Path, context: JobContext, memory_cgroup: Path
) -> None:
    with pytest.raises(OutOfMemory, match=r"no memory left for it.*smaller image_size"):
        run_verb(context, "verb_capped", [str(memory_cgroup / "cgroup.procs")], verbs / "log")


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


@pytest.mark.parametrize(
    "name", ["hungry", "feeder"], ids=["one process", "three processes that are within the limit each"]
)
def test_a_verb_that_holds_more_memory_than_it_may_is_ended_and_says_so(
    verbs: Path, context: JobContext, name: str
) -> None:
    with environment(AFTERGLOW_TRAIN_MEMORY_MIB="300"), pytest.raises(OutOfMemory, match=r"held \d+ MiB") as caught:
        run_verb(context, f"verb_{name}", [], verbs / "log")
    assert "more than the 300 MiB of AFTERGLOW_TRAIN_MEMORY_MIB. Let it need less" in str(caught.value)


@pytest.mark.parametrize("end", ["done", "crash", "stay"])
def test_nothing_that_a_verb_started_outlives_it(verbs: Path, context: JobContext, end: str) -> None:
    """Its child holds the pipe open when the verb is dead already, and is in its group."""
    pid_file = verbs / "grandchild"
    if end == "done":
        assert run_verb(context, "verb_family", [str(pid_file), end], verbs / "log") == {}
    elif end == "crash":
        with pytest.raises(ProcessLost, match="ended with 3"):
            run_verb(context, "verb_family", [str(pid_file), end], verbs / "log")
    else:
        thread = threading.Thread(target=lambda: (_wait_for(pid_file), context.cancelled.set()), daemon=True)
        thread.start()
        with pytest.raises(JobCancelled):
            run_verb(context, "verb_family", [str(pid_file), end], verbs / "log")
        thread.join()
    assert not is_alive(int(pid_file.read_text()))


def _wait_for(path: Path) -> None:
    while not path.exists() or not path.read_text():
        threading.Event().wait(0.01)


def test_every_event_is_told_in_order_and_an_error_of_the_listener_ends_the_verb(
    verbs: Path, context: JobContext
) -> None:
    heard: list[str] = []
    run_verb(context, "verb_events", [], verbs / "log", on_event=lambda event: heard.append(event["event"]))
    assert heard == ["checkpoint", "done"]

    def refuse(event: dict[str, Any]) -> None:
        raise OSError("the store is full")

    with pytest.raises(OSError, match="the store is full"):
        run_verb(context, "verb_events", [], verbs / "log", on_event=refuse)


def test_no_secret_reaches_the_verb(verbs: Path, context: JobContext) -> None:
    passed = run_verb(context, "verb_secrets", [], verbs / "log")
    assert "DATABASE_URL" not in passed
    assert not {name for name in passed if "SECRET" in name or "TOKEN" in name}
    assert passed["PYTHONHASHSEED"] == "0"
