"""The Celery application with one more stage: a verb that sleeps until it is ended."""

from __future__ import annotations

from worker.app import app
from worker.job_context import Finish, JobContext
from worker.jobs import STAGES
from worker.places import work_directory
from worker.training_process import run_verb

__all__ = ["app"]


def sleep(context: JobContext) -> Finish:
    log = work_directory(context.claim.job_id, context.claim.attempt) / "sleep.log"
    run_verb(context, "tests.faults.sleeping_verb", [str(context.params["pid_file"])], log)
    return Finish({})


STAGES["sleep"] = f"{__name__}:sleep"
