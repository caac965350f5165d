"""The command that makes a new version of the labels as they are now, and promotes it if the gate allows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.options import Assignments, Json, complete_kinds

if TYPE_CHECKING:
    from worker.cli.weights import WeightsFile
    from worker.retraining import RetrainCycle


def retrain(
    kind: Annotated[
        str, typer.Argument(help="Kind of judgement.", metavar="[KIND]", autocompletion=complete_kinds)
    ] = "rating",
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Recipe file (YAML) with what differs; default: the active version's recipe.",
                     metavar="FILE"),
    ] = None,
    assignments: Assignments = None,
    promote: Annotated[
        bool, typer.Option("--promote/--no-promote", help="Promote if the gate allows it, or only hear its verdict.")
    ] = True,
    force: Annotated[
        bool,
        typer.Option("--force", help="Train though nothing is new, promote though the gate says no; recorded as such."),
    ] = False,
    key: Annotated[
        str | None,
        typer.Option(help="Any text: the same command with it again follows the same cycle; default: a new one.", metavar="TEXT"),
    ] = None,
    notes: Annotated[str | None, typer.Option(help="A remark that is kept with the run.", metavar="TEXT")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow it to the verdict, or only submit it.")] = True,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Retrain: export the labels as they are now, train with the recipe of the version that serves, evaluate beside it
    on the same rows, register, and promote if the gate allows it.

    It is a chain of jobs: a kill costs nothing that was done, `afterglow jobs retry JOB` goes on after a failure. Exit
    code 3 when the gate says no, or when there is nothing new to learn; what it asked and found is printed, and kept.

    Examples:
    afterglow retrain
    afterglow retrain rating --key autumn --no-promote
    """
    import getpass

    from db.engine import session_scope
    from db.errors import Conflict
    from db.tables.jobs import RETRIABLE_STATES
    from worker.cli.errors import NotDone, WrongInput
    from worker.cli.output import remarks
    from worker.cli.training import chosen_recipe
    from worker.cli.weights import store_weights
    from worker.queue import COMMAND_PRIORITY
    from worker.retraining import RetrainRequest, cycle_of, submit_retraining
    from worker.services import running_services

    if force and not promote:
        raise WrongInput("--force promotes and --no-promote does not: give one of them")
    chosen, weights = chosen_recipe(kind, config, assignments)
    with running_services(jobs=wait) as services:
        if weights is not None:
            chosen["weights"] = store_weights(weights)
        with session_scope() as session:
            job, is_new = submit_retraining(
                session, RetrainRequest(kind, chosen, promote, force, notes), by=f"cli:{getpass.getuser()}", idempotency_key=key,
                priority=COMMAND_PRIORITY if wait else None,
            )  # fmt: skip
        assert job.id is not None
        if not is_new:
            remarks.print(f"job {job.id} began this cycle before, under the same key", markup=False)
        if wait:
            _follow(job.id, services.runs_jobs, weights)
        with session_scope() as session:
            cycle = cycle_of(session, job.id)
    if cycle.state in RETRIABLE_STATES:
        raise NotDone(str(cycle.reason))
    _print(cycle, as_json, stays=not promote)
    if cycle.state == "nothing-new":
        raise Conflict(str(cycle.reason))
    if promote and cycle.state == "not-promoted":  # as `afterglow promote` ends
        raise Conflict(str(cycle.reason))


def _follow(job_id: int, runs_here: bool, weights: WeightsFile | None) -> None:
    """Follow to the verdict; what broke the chain is told with how to go on."""
    from db.engine import session_scope
    from worker.cli.follow import JobEndedBadly, follow
    from worker.retraining import STEPS, cycle_of

    try:
        follow(job_id, runs_here=runs_here, steps=STEPS)
    except JobEndedBadly as error:
        with session_scope() as session:
            reason = cycle_of(session, job_id).reason or str(error)
        raise JobEndedBadly(weights.with_own_name(reason) if weights else reason) from error


def _print(cycle: RetrainCycle, as_json: bool, *, stays: bool) -> None:
    from worker.cli.data import count_lines
    from worker.cli.models import print_checks
    from worker.cli.output import console, print_json, remarks

    facts: dict[str, Any] = {
        "job_id": cycle.job_id, "state": cycle.state, "progress": cycle.progress, "model_version": cycle.model_version,
        "dataset_id": cycle.dataset_id, "reason": cycle.reason, "verdict": cycle.verdict,
        "jobs": [job.id for job in cycle.jobs],
    }  # fmt: skip
    if as_json:
        print_json(facts)
        return
    if cycle.state == "nothing-new":
        return
    if cycle.verdict is None:
        console.print(f"retraining began with job {cycle.job_id}: watch it with `afterglow jobs watch {cycle.job_id}`")
        return
    console.print(f"\ndataset {cycle.dataset_id}:")
    for line in count_lines(next(job.result["counts"] for job in cycle.jobs if job.result)):
        console.print(line)
    print_checks(cycle.verdict)
    if cycle.state == "promoted":
        console.print(f"{cycle.model_version} is active. {cycle.reason}", markup=False)
    elif stays:
        console.print(str(cycle.reason), markup=False)
    remarks.print(f"as a page: afterglow report {cycle.model_version}")
