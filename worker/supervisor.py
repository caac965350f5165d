"""Keeps a list of child processes running: starts them, starts them again when they die, and stops them all."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from db.processes import MAX_LOG_BYTES, private, tail_of
from worker.tied import tied

GRACE_S = 20.0
"""Seconds that a child has to end after SIGTERM before its process group is killed."""

MAX_BACKOFF_S = 30.0
STEADY_S = 60.0
"""A child that lived this long starts its row of delays (1, 2, 4 ... 30 s) anew."""

NUM_FAILURES_EXPLAINED = 3
"""At every so many deaths in a row the report has the end of the child's log."""


@dataclass(frozen=True)
class ChildProcess:
    """One process to keep running."""

    name: str
    """Short and unique; its log is `<name>.log`."""

    argv: tuple[str, ...]
    """Program and arguments."""

    env: Mapping[str, str] = field(default_factory=dict)
    """Variables added to the supervisor's environment."""


@dataclass
class _Child:
    """A child process now: what it is, and its state."""

    what: ChildProcess
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    num_failures: int = 0
    start_again_at: float = 0.0
    log_start: int = 0
    """Where in the log the words of the present process begin."""


class Supervisor:
    """Runs child processes, each in a process group of its own.

    On Linux the children end with the thread that called `start`, even if that is killed: call `start`, `check` and
    `stop` from one thread that lives as long as they shall, or use `in_background`.
    """

    def __init__(
        self,
        processes: Sequence[ChildProcess],
        logs_dir: Path,
        env: Mapping[str, str] | None = None,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`env` is added to our environment for every child; `report` is told in a sentence when a child dies."""
        self.logs_dir = logs_dir
        self._env = dict(env or {})
        self._report = report
        self._children = [_Child(process) for process in processes]

    def start(self) -> None:
        """Start all children."""
        self.logs_dir.mkdir(parents=True, exist_ok=True)
        for child in self._children:
            self._spawn(child)

    def check(self) -> None:
        """Look after all children once; to be called about twice a second."""
        for child in self._children:
            if child.process is None:
                if time.monotonic() >= child.start_again_at:
                    try:
                        self._spawn(child)
                    except OSError as error:  # out of processes or disk: the others go on, this one is tried again
                        child.start_again_at = time.monotonic() + MAX_BACKOFF_S
                        self._report(f"{child.what.name} cannot be started: {error}; trying again.")
            elif (code := child.process.poll()) is not None:
                self._note_death(child, code)

    def stop(self, grace_s: float = GRACE_S, is_urgent: Callable[[], bool] = lambda: False) -> None:
        """End all children: SIGTERM, then after `grace_s` seconds, or as soon as `is_urgent()`, SIGKILL to their groups."""
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            with suppress(ProcessLookupError):
                process.terminate()
        deadline = time.monotonic() + grace_s
        while any(process.poll() is None for process in running) and time.monotonic() < deadline and not is_urgent():
            time.sleep(0.05)
        for process in running:
            _kill_group(process)
            process.wait()
        for child in self._children:
            child.process = None

    def pids(self) -> dict[str, int]:
        """Process id of every child that was started and not yet seen dead."""
        return {child.what.name: child.process.pid for child in self._children if child.process is not None}

    def num_failures(self, name: str) -> int:
        """How often the child `name` died in a row, each time soon after its start."""
        return next(child.num_failures for child in self._children if child.what.name == name)

    def log_path(self, name: str) -> Path:
        """The log of the child `name`."""
        return self.logs_dir / f"{name}.log"

    @contextmanager
    def in_background(self) -> Iterator[None]:
        """Run all children for the duration of the block, looked after by a thread."""
        ended, failure = threading.Event(), []

        def look_after() -> None:
            try:
                self.start()
                while not ended.wait(0.5):
                    self.check()
            except OSError as error:
                failure.append(error)
            finally:
                self.stop()

        thread = threading.Thread(target=look_after, name="supervisor", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        if failure:
            raise failure[0]

    def _spawn(self, child: _Child) -> None:
        log = self.log_path(child.what.name)
        if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
            log.replace(log.with_name(log.name + ".1"))
        with open(log, "ab", opener=private) as stream:
            child.log_start = stream.tell()
            child.process = subprocess.Popen(
                tied(child.what.argv, signal.SIGTERM),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self._env, **child.what.env},
                start_new_session=True,
            )
        child.started_at = time.monotonic()

    def _note_death(self, child: _Child, code: int) -> None:
        assert child.process is not None
        _kill_group(child.process)  # what it left behind must not work beside its successor
        child.process = None
        if time.monotonic() - child.started_at > STEADY_S:
            child.num_failures = 0
        delay_s = min(2.0**child.num_failures, MAX_BACKOFF_S)
        child.num_failures += 1
        child.start_again_at = time.monotonic() + delay_s
        ended = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
        log = self.log_path(child.what.name)
        told = f"{child.what.name} {ended}; starting it again in {delay_s:.0f} s (see {log})"
        if child.num_failures % NUM_FAILURES_EXPLAINED == 0:
            said = tail_of(log, from_byte=child.log_start) or "(nothing)"
            told += f"\nIt has now ended {child.num_failures} times in a row. The last time it said:\n{said}"
        self._report(told)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # The group has the child's number, since each child leads a session of its own.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
