"""Removing what jobs left on this machine's disk and in the store, once nobody can go on from it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import structlog

from db.engine import session_scope
from db.queries import jobs
from db.settings import state_settings
from ml.images.store import StoreError
from worker.places import ALL_CHECKPOINTS, UPLOADS, checkpoints_prefix, file_store, sweep_work_directory
from worker.settings import worker_settings

log = structlog.get_logger("sweep")

SWEEP_INTERVAL_S = 3600.0
"""A worker looks for what is left behind at its start, and then after a job, this often at most."""

_sweeping = threading.Lock()
_last_sweep: float | None = None


def sweep_succeeded(job_id: int, kind: str, run_id: int | None) -> None:
    """Remove the work directories of a job that succeeded, and with a training the checkpoints of its run.

    What cannot be removed now is found by a later sweep.
    """
    sweep_work_directory(job_id)
    if kind == "train" and run_id is not None:
        try:
            file_store().delete_under(checkpoints_prefix(run_id))
        except StoreError as error:
            log.warning("checkpoints not swept", run=run_id, error=str(error))


def sweep_if_due() -> bool:
    """Sweep unless that was done a short while ago, or is being done; whether it was."""
    global _last_sweep
    if not _sweeping.acquire(blocking=False):
        return False
    try:
        if _last_sweep is not None and time.monotonic() - _last_sweep < SWEEP_INTERVAL_S:
            return False
        _last_sweep = time.monotonic()
        sweep_work()
        sweep_checkpoints()
        sweep_uploads()
        return True
    except Exception:  # the job before it has succeeded all the same, and a later sweep finds the rest
        log.exception("sweep failed")
        return False
    finally:
        _sweeping.release()


def sweep_work() -> list[int]:
    """Remove the work directories on this machine that nobody needs; returns the ids of their jobs.

    Those of jobs that succeeded go at once, those of others `AFTERGLOW_KEEP_WORK_H` hours after their end; a job that
    waits or runs keeps its own. A directory of a job that the database does not know goes when nothing in it has
    changed for as long.
    """
    work = state_settings().resolved_data_dir / "work"
    found = {_job_id(path): path for path in work.glob("job-*") if _job_id(path) is not None} if work.is_dir() else {}
    with session_scope() as session:
        states = jobs.job_states(session, [job_id for job_id in found if job_id is not None])
    removed = []
    for job_id, path in sorted(found.items(), key=lambda each: each[0] or 0):
        assert job_id is not None
        if _is_done_with(path, states.get(job_id)):
            sweep_work_directory(job_id)
            removed.append(job_id)
    if removed:
        log.info("swept", jobs=removed)
    return removed


def sweep_checkpoints() -> list[int]:
    """Remove the checkpoints of runs that nobody can go on with; returns the ids of the runs.

    Those of a trained run go at once, those of one that ended otherwise `AFTERGLOW_KEEP_WORK_H` hours after its last
    job: until then somebody may try it again. A run with a job that waits or runs keeps its own.
    """
    store = file_store()
    names = {key.split("/")[1] for key in store.list_files(ALL_CHECKPOINTS)}
    found = {int(name.removeprefix("run-")) for name in names if name.removeprefix("run-").isdigit()}
    with session_scope() as session:
        ends = jobs.run_ends(session, found)
    keep_h = worker_settings().keep_work_h
    removed = [
        run_id
        for run_id, (is_trained, ended_h) in sorted(ends.items())
        if ended_h is not None and (is_trained or ended_h >= keep_h)
    ]
    for run_id in removed:
        store.delete_under(checkpoints_prefix(run_id))
    if removed:
        log.info("checkpoints swept", runs=removed)
    return removed


def sweep_uploads() -> list[str]:
    """Remove uploaded archives that no job reads any more; returns their keys.

    A registered one goes at once, since its bundle lies in the store by content; a refused one
    `AFTERGLOW_KEEP_WORK_H` hours after its last job: until then somebody may try it again.
    """
    store = file_store()
    kept = set(store.list_files(UPLOADS))
    with session_scope() as session:
        ends = jobs.upload_ends(session)
    keep_h = worker_settings().keep_work_h
    removed = [
        key
        for key, (is_registered, ended_h) in sorted(ends.items())
        if key in kept and ended_h is not None and (is_registered or ended_h >= keep_h)
    ]
    for key in removed:
        store.delete_file(key)
    if removed:
        log.info("uploads swept", uploads=removed)
    return removed


def _is_done_with(path: Path, state: tuple[str, float | None] | None) -> bool:
    keep_h = worker_settings().keep_work_h
    if state is None:
        return _unchanged_h(path) > keep_h
    name, ended_h = state
    return name == "succeeded" or (ended_h is not None and ended_h >= keep_h)


def _unchanged_h(path: Path) -> float:
    """Hours since something was put into a work directory, by the file system's own times."""
    newest = max(each.stat().st_mtime for each in (path, *path.iterdir()))
    return (time.time() - newest) / 3600


def _job_id(path: Path) -> int | None:
    number = path.name.removeprefix("job-")
    return int(number) if number.isdigit() and path.is_dir() and not path.is_symlink() else None
