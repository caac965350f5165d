"""Watching jobs to their end, with those that they submit in turn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from db.engine import session_scope
from db.queries import jobs
from db.tables import Job
from worker.cli.output import remarks

POLL_S = 0.3


class JobEndedBadly(Exception):
    """A job failed, died or was cancelled; the message is its reason."""


class JobBars(AbstractContextManager["JobBars"]):
    """A bar for each job on a terminal; elsewhere a plain line when something changed; nothing when quiet.

    Jobs of a chain whose `steps` are known are numbered: how far the whole of it is.
    """

    def __init__(self, steps: Sequence[str] = ()) -> None:
        self._steps = steps
        self._bars: Progress | None = None
        if remarks.is_terminal and not remarks.quiet:
            self._bars = Progress(
                TextColumn("{task.fields[title]:<18}"), BarColumn(bar_width=24), TaskProgressColumn(),
                TimeElapsedColumn(), TextColumn("{task.description}"), console=remarks,
            )  # fmt: skip
        self._tasks: dict[int, TaskID] = {}
        self._said: dict[int, tuple[str, int]] = {}

    def __enter__(self) -> Self:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()

    def show(self, job: Job) -> None:
        """Show how far a job is."""
        assert job.id is not None
        now = "waiting for a worker" if job.state == "queued" else job.state
        if job.state == "running":
            now = job.message or now
            if job.attempt > 1:
                now += f" (attempt {job.attempt} of {job.max_attempts})"
        if self._bars:
            if job.id not in self._tasks:
                self._tasks[job.id] = self._bars.add_task(
                    now, total=1.0, title=f"{self._place(job)}{job.kind} {job.id}"
                )
            self._bars.update(self._tasks[job.id], completed=job.progress, description=escape(now))
            return
        tenth = int(job.progress * 10)
        if (job.state, tenth) != self._said.get(job.id):
            self._said[job.id] = (job.state, tenth)
            remarks.print(f"job {job.id} {self._place(job)}{job.kind}: {job.progress:.0%} {now}", markup=False)

    def _place(self, job: Job) -> str:
        return f"{self._steps.index(job.kind) + 1}/{len(self._steps)} " if job.kind in self._steps else ""


def follow(job_id: int, *, runs_here: bool, steps: Sequence[str] = ()) -> list[Job]:
    """Show progress of a job and of all jobs that follow from it, until the last has ended.

    What failed and is tried again is followed in its new job. `steps` are the kinds of the whole chain, where known.

    Ctrl-C cancels the job when its worker ends with this command (`runs_here`); else it only ends the watching.

    Raises:
        JobEndedBadly: One of them did not succeed.
    """
    done: list[Job] = []
    waiting = [job_id]
    with JobBars(steps) as bars:
        while waiting:
            current = waiting.pop(0)
            try:
                job = _follow_one(bars, current)
            except KeyboardInterrupt:
                _interrupted(current, runs_here)
                raise
            if job.state == "succeeded":
                done.append(job)
            waiting += [number for number in _next_jobs(job) if number not in waiting]
    return done


def _next_jobs(job: Job) -> list[int]:
    """What the success of a job submitted, or the job that tries it again."""
    assert job.id is not None
    with session_scope() as session:
        if job.state == "succeeded":
            return [each.id for each in jobs.follow_up_jobs(session, job.id) if each.id is not None]
        again = jobs.find_retry(session, job.id)
    if again is None or again.id is None:
        raise JobEndedBadly(f"job {job.id} ({job.kind}) {job.state}: {job.reason}. See `afterglow jobs show {job.id}`.")
    return [again.id]


def _interrupted(job_id: int, runs_here: bool) -> None:
    if not runs_here:
        remarks.print(f"job {job_id} goes on; `afterglow jobs cancel {job_id}` ends it")
        return
    with session_scope() as session:
        state = jobs.get_job(session, job_id).state
        if not jobs.is_final(state):
            state = jobs.cancel_job(session, job_id).state
    remarks.print(f"stopping job {job_id}; press Ctrl-C again to leave at once")
    while not jobs.is_final(state):
        time.sleep(POLL_S)
        with session_scope() as session:
            state = jobs.get_job(session, job_id).state
    remarks.print(f"job {job_id} is {state}")


def _follow_one(bars: JobBars, job_id: int) -> Job:
    while True:
        with session_scope() as session:
            job = jobs.get_job(session, job_id)
        bars.show(job)
        if jobs.is_final(job.state):
            return job
        time.sleep(POLL_S)
