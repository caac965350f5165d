"""Runs one verb of `ml` in a fresh process and follows its JSON lines.

Never a fork: a process that used torch cannot be forked safely. The child is in a process group of its own, is asked
to end on cancel and killed after a grace time, and dies with its supervisor.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from worker.jobs import JobCancelled, JobContext, JobFailed
from worker.settings import worker_settings
from worker.tied import tied

SIGKILL_EXIT = -int(signal.SIGKILL)


class ProcessLost(Exception):
    """The process ended without a result; it may be tried again."""


def _environment() -> dict[str, str]:
    """The child's environment: no secrets, one hash seed, no network of its own accord."""
    keep = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "TORCH_HOME")
        or name.startswith(("AWS_", "CUDA_", "OMP_"))
    }
    return {**keep, "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}


def run_verb(
    context: JobContext, module: str, arguments: Sequence[str], log_file: Path, span: tuple[float, float] = (0.0, 1.0)
) -> dict[str, Any]:
    """Run `python -m module arguments` to its end and return the result it reports.

    Its progress is mapped into `span` of the job's; its stderr goes to `log_file`.

    Raises:
        JobFailed: The verb says that its input cannot work.
        JobCancelled: A cancel was requested; the process is gone.
        ProcessLost: It crashed or was killed; worth another attempt.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("ab") as errors:
        child = subprocess.Popen(
            tied([sys.executable, "-m", module, *arguments], signal.SIGKILL),
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,
        )
        try:
            last = _follow(context, child, span)
        except JobCancelled:
            _stop(child, worker_settings().cancel_grace_s)
            raise
        finally:
            _stop(child, 0.0)
    if last.get("event") == "done":
        result: dict[str, Any] = last["result"]
        return result
    if last.get("event") == "error":
        message = str(last.get("message", "no message"))
        if child.returncode == 2:
            raise JobFailed(message)
        raise ProcessLost(f"{module}: {message}")
    tail = log_file.read_text(encoding="utf-8", errors="replace")[-1500:].strip()
    how = "was killed (out of memory?)" if child.returncode == SIGKILL_EXIT else f"ended with {child.returncode}"
    raise ProcessLost(f"{module} {how} before it had a result. Last words: {tail or 'none'}")


def _follow(context: JobContext, child: subprocess.Popen[bytes], span: tuple[float, float]) -> dict[str, Any]:
    """Read JSON lines until the process ends, watching for cancel; returns the last event."""
    assert child.stdout is not None
    lines: queue.Queue[bytes | None] = queue.Queue()
    threading.Thread(target=_read_lines, args=(child.stdout, lines), daemon=True).start()
    last: dict[str, Any] = {}
    while True:
        context.check()
        try:
            line = lines.get(timeout=0.25)
        except queue.Empty:
            continue
        if line is None:
            child.wait()
            return last
        try:
            event = json.loads(line)
        except ValueError:
            continue  # a library printed something; the protocol is one JSON object a line
        if isinstance(event, dict):
            last = event
            if event.get("event") in ("progress", "epoch") and "fraction" in event:
                low, high = span
                context.progress(low + (high - low) * float(event["fraction"]), str(event.get("message", "")))


def _read_lines(stream: IO[bytes], lines: queue.Queue[bytes | None]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


def _stop(child: subprocess.Popen[bytes], grace_s: float) -> None:
    """End the child and all its children: SIGTERM, a grace time, SIGKILL. Does nothing when it ended already."""
    if child.poll() is None and grace_s > 0:
        os.killpg(child.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
