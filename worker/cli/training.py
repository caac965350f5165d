"""Commands that train a model and evaluate one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.options import Assignments, Json, KindArgument, VersionArgument

if TYPE_CHECKING:
    from worker.cli.weights import WeightsFile


def train(
    kind: KindArgument,
    config: Annotated[
        Path | None, typer.Option("--config", help="Recipe file (YAML); default: the kind's recipe.", metavar="FILE")
    ] = None,
    assignments: Assignments = None,
    dataset: Annotated[
        int | None,
        typer.Option(help="Train on this dataset, as `afterglow datasets` lists it; default: a new export.",
                     metavar="ID"),
    ] = None,
    notes: Annotated[str | None, typer.Option(help="A remark that is kept with the run.", metavar="TEXT")] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Follow the run to its evaluation, or only submit it.")
    ] = True,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Train a model: export, images, training, ONNX bundle, registration, evaluation.

    Pretrained weights are `weights=imagenet` (downloaded), `weights=FILE` (a .pth or .safetensors state_dict), or
    `weights=none` (random, said so in the report).

    Examples:
    afterglow train rating
    afterglow train rating --set backbone=mobilenet_v2 --set weights=/models/mobilenet_v2.pth
    afterglow train rating --dataset 3 --notes "more autumn" --no-wait
    """
    from db.engine import session_scope
    from db.queries import evaluations, models
    from ml.judgements import judgement
    from ml.training.recipe import make_recipe
    from worker.cli.models import print_report
    from worker.cli.output import console, print_json, remarks
    from worker.cli.weights import store_weights
    from worker.queue import COMMAND_PRIORITY, submit_training
    from worker.services import running_services
    from worker.settings import worker_settings

    about = judgement(kind)
    chosen, weights = chosen_recipe(kind, config, assignments)
    with running_services(jobs=wait) as services:
        if weights is not None:
            chosen["weights"] = store_weights(weights)
        recipe = make_recipe({"threads": worker_settings().train_threads}, about.recipe_defaults, chosen)
        with session_scope() as session:
            run, job = submit_training(
                session, kind, recipe, dataset_id=dataset, notes=notes, priority=COMMAND_PRIORITY if wait else None
            )
        assert job.id is not None
        if not wait:
            _print_submitted(as_json, run.model_version, job.id, job.queue, services.data_dir)
            return
        _follow(job.id, services.runs_jobs, weights)
        with session_scope() as session:
            evaluation = evaluations.latest_evaluation(session, run.model_version)
            finished = models.get_run(session, run.id)  # type: ignore[arg-type]
    report = evaluation.report if evaluation else {}
    if as_json:
        print_json({"model_version": run.model_version, "run_id": run.id, "job_id": job.id,
                    "dataset_id": finished.dataset_id, "report": report})  # fmt: skip
        return
    console.print(f"\n{run.model_version} is registered. Promote it with: afterglow promote {run.model_version}\n")
    print_report(report)
    remarks.print(f"as a page: afterglow report {run.model_version}")


def chosen_recipe(
    kind: str, config: Path | None, assignments: list[str] | None
) -> tuple[dict[str, Any], WeightsFile | None]:
    """The recipe keys of a command line, and the file of weights that they name; checked before anything is started.

    Raises:
        UnknownKind: There is no such kind.
        RecipeError: A file, a key or a value cannot be used.
    """
    from ml.judgements import judgement
    from ml.training.recipe import make_recipe, parse_assignments, read_recipe_file
    from worker.cli.weights import check_weights

    chosen = {**(read_recipe_file(config) if config is not None else {}), **parse_assignments(assignments or [])}
    make_recipe(judgement(kind).recipe_defaults, chosen)
    return chosen, check_weights(chosen)


def _follow(job_id: int, runs_here: bool, weights: WeightsFile | None) -> None:
    """Follow to the end; a reason that names the stored copy of the weights names the user's own file instead."""
    from worker.cli.follow import JobEndedBadly, follow

    try:
        follow(job_id, runs_here=runs_here)
    except JobEndedBadly as error:
        raise JobEndedBadly(weights.with_own_name(str(error)) if weights else str(error)) from error


def _print_submitted(as_json: bool, model_version: str, job_id: int, queue: str, data_dir: Path) -> None:
    from worker.cli.output import console, print_json
    from worker.cli.workers import warn_if_nobody_works

    if as_json:
        print_json({"model_version": model_version, "job_id": job_id})
        return
    console.print(f"{model_version} is queued as job {job_id}: watch it with `afterglow jobs watch {job_id}`")
    warn_if_nobody_works(data_dir, {queue})


def evaluate(
    model_version: VersionArgument,
    fresh: Annotated[bool, typer.Option("--fresh", help="On current labels, less those it learned from.")] = False,
    as_json: Json = False,
) -> None:
    """Evaluate a version beside its baselines and the active model.

    Examples:
    afterglow evaluate sunset_v2_2026_02_12
    afterglow evaluate sunset_v2_2026_02_12 --fresh --json
    """
    from db.engine import session_scope
    from db.queries import evaluations, models
    from worker.cli.follow import follow
    from worker.cli.models import print_report
    from worker.cli.output import print_json, remarks
    from worker.queue import COMMAND_PRIORITY, submit
    from worker.services import running_services

    with running_services(jobs=True) as services:
        with session_scope() as session:
            models.get_version(session, model_version)
            job, _ = submit(
                session, "evaluate", {"model_version": model_version, "fresh": fresh}, priority=COMMAND_PRIORITY
            )
        assert job.id is not None
        follow(job.id, runs_here=services.runs_jobs)
        with session_scope() as session:
            evaluation = evaluations.latest_evaluation(session, model_version)
    assert evaluation is not None
    if as_json:
        print_json(evaluation.report)
        return
    print_report(evaluation.report)
    remarks.print(f"as a page: afterglow report {model_version}")
