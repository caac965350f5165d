"""Runs one verb of `ml` in a fresh process and follows its JSON lines.

Never a fork: a process that used torch cannot be forked safely. The child is in a process group of its own, is asked
to end on cancel and killed after a grace time, dies with its supervisor, and is ended when it holds too much memory.
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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from worker.job_context import JobCancelled, JobContext, JobFailed, OutOfMemory, ProcessLost
from worker.process_group import end_group, has_ended, kill_group, memory_mib, num_memory_kills
from worker.settings import worker_settings
from worker.tied import tied

__all__ = ["OutOfMemory", "ProcessLost", "run_verb"]

SIGKILL_EXIT = -int(signal.SIGKILL)
WATCH_INTERVAL_S = 0.25
"""How often the child is looked at: whether to stop it, and its memory."""
DRAIN_S = 2.0
"""How long its last lines are waited for after its end; only a descendant that left its session can hold them back."""
TAIL_CHARACTERS = 1500

LESS_MEMORY = (
    "Let it need less (a smaller image_size or batch_size, or trainable: head), or give it more: a machine with more "
    "memory, or a higher AFTERGLOW_TRAIN_MEMORY_MIB if that is set."
)
MEMORY_ERRORS = ("MemoryError", "OutOfMemoryError", "can't allocate memory", "Cannot allocate memory", "out of memory")
"""What Python, torch and CUDA say in an error when an allocation was refused."""


FLAGS = (
    "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS",
    "OPENBLAS_CORETYPE", "OMP_NUM_THREADS", "MKL_NUM_THREADS",
)  # fmt: skip
"""Variables that choose vector instructions or threads, and with them the last digits; recorded with a training."""


def present_flags() -> dict[str, str]:
    """Those of `FLAGS` that are set here."""
    return {name: os.environ[name] for name in FLAGS if name in os.environ}


def _environment(flags: Mapping[str, str]) -> dict[str, str]:
    """The child's environment: no secrets but those of the store, one hash seed, no network of its own accord."""
    keep = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "TORCH_HOME")
        or (name.startswith(("AWS_", "CUDA_", "OMP_")) and name not in FLAGS)
    }
    return {**keep, **flags, "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}


def run_verb(
    context: JobContext,
    module: str,
    arguments: Sequence[str],
    log_file: Path,
    span: tuple[float, float] = (0.0, 1.0),
    on_event: Callable[[dict[str, Any]], None] | None = None,
    flags: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run `python -m module arguments` to its end and return the result it reports.

    Its progress is mapped into `span` of the job's; its stderr goes to `log_file`. `on_event` is called with every
    event in the calling thread, one after the other, before the next one is read; what it raises ends the process.
    `flags` stand in for those of `FLAGS` that are set here; None leaves them as they are.
    When this returns or raises, the process and all that it started are gone.

    Raises:
        JobFailed: The verb says that its input cannot work.
        JobCancelled: A cancel was requested.
        FenceLost: The job is another attempt's, or may soon be.
        WorkerStops: This worker was told to stop.
        OutOfMemory: It held more than `AFTERGLOW_TRAIN_MEMORY_MIB`, was refused memory, or was killed while the kernel
            killed for memory.
        ProcessLost: It crashed or was killed by somebody; worth another attempt.
    """
    memory_kills = num_memory_kills()
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("ab") as errors:
        child = subprocess.Popen(
            tied([sys.executable, "-m", module, *arguments], signal.SIGKILL),
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            env=_environment(present_flags() if flags is None else flags),
            start_new_session=True,
        )
        try:
            last = _follow(context, child, span, on_event)
        except JobCancelled:
            end_group(child, worker_settings().cancel_grace_s)
            raise
        finally:
            end_group(child, 0.0)
    if last.get("event") == "done":
        result: dict[str, Any] = last["result"]
        return result
    raise _reason(module, child.returncode, last, log_file, num_memory_kills() > memory_kills)


def _reason(
    module: str, exit_status: int, last: dict[str, Any], log_file: Path, kernel_killed_for_memory: bool
) -> Exception:
    """Why there is no result."""
    if last.get("event") == "error":
        message = str(last.get("message", "no message"))
        if exit_status == 2:
            return JobFailed(message)
        if any(words in message for words in MEMORY_ERRORS):
            return OutOfMemory(f"{module} was refused memory: {message} {LESS_MEMORY}")
        return ProcessLost(f"{module}: {message}")
    tail = log_file.read_text(encoding="utf-8", errors="replace")[-TAIL_CHARACTERS:].strip()
    told = f"Last words: {tail or 'none'}"
    if exit_status == SIGKILL_EXIT and kernel_killed_for_memory:
        return OutOfMemory(f"{module} was killed by the system, which had no memory left for it. {LESS_MEMORY} {told}")
    how = f"was ended by signal {-exit_status}" if exit_status < 0 else f"ended with {exit_status}"
    return ProcessLost(f"{module} {how} before it had a result. {told}")


def _follow(
    context: JobContext,
    child: subprocess.Popen[bytes],
    span: tuple[float, float],
    on_event: Callable[[dict[str, Any]], None] | None,
) -> dict[str, Any]:
    """Read JSON lines until the process ends, watching over it; returns the last event."""
    assert child.stdout is not None
    lines: queue.Queue[bytes | None] = queue.Queue()
    threading.Thread(target=_read_lines, args=(child.stdout, lines), daemon=True).start()
    last: dict[str, Any] = {}
    watched_at, ended_at = 0.0, None
    is_open = True
    while is_open or ended_at is None:
        now = time.monotonic()
        if now - watched_at >= WATCH_INTERVAL_S:
            context.check()
            _check_memory(child)
            watched_at = now
        if ended_at is None and has_ended(child):
            ended_at = now
            kill_group(child)  # what it started and left behind holds the pipe open
        if ended_at is not None and now - ended_at > DRAIN_S:
            break
        if not is_open:
            time.sleep(0.02)
            continue
        try:
            line = lines.get(timeout=WATCH_INTERVAL_S if ended_at is None else 0.02)
        except queue.Empty:
            continue
        if line is None:
            is_open = False
            continue
        event = _event(line)
        if event is not None:
            last = event
            _tell(context, event, span, on_event)
    return last


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None  # a library printed something; the protocol is one JSON object a line
    return event if isinstance(event, dict) else None


def _tell(
    context: JobContext,
    event: dict[str, Any],
    span: tuple[float, float],
    on_event: Callable[[dict[str, Any]], None] | None,
) -> None:
    if on_event is not None:
        on_event(event)
    if event.get("event") in ("progress", "epoch") and "fraction" in event:
        low, high = span
        context.progress(low + (high - low) * float(event["fraction"]), str(event.get("message", "")))


def _check_memory(child: subprocess.Popen[bytes]) -> None:
    # Measured rather than limited by the kernel: RLIMIT_AS counts the address space that CUDA reserves, which is many
    # times the memory, and a limit on each process says nothing of all of them.
    limit = worker_settings().train_memory_mib
    if limit and (held := memory_mib(child.pid)) > limit:
        raise OutOfMemory(
            f"It held {held:.0f} MiB of memory, more than the {limit} MiB of AFTERGLOW_TRAIN_MEMORY_MIB. {LESS_MEMORY}"
        )


def _read_lines(stream: IO[bytes], lines: queue.Queue[bytes | None]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)
