"""Commands for training, evaluation, versions and promotion."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated, Any

import typer


def train(
    kind: Annotated[str, typer.Argument(help="Kind of judgement, e.g. rating.")],
    config: Annotated[Path | None, typer.Option("--config", help="Recipe file (YAML).", metavar="FILE")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="One recipe key, e.g. backbone=resnet18. May be repeated.", metavar="KEY=VALUE"),
    ] = None,
    dataset: Annotated[
        int | None, typer.Option(help="Train on this dataset instead of a new export.", metavar="ID")
    ] = None,
    notes: Annotated[str | None, typer.Option(help="A remark that is kept with the run.")] = None,
    wait: Annotated[bool, typer.Option(help="Follow the run to its evaluation.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a model: export, images, training, ONNX bundle, registration, evaluation.

    Example: afterglow train rating --set backbone=mobilenet_v2 --set weights=/models/mobilenet_v2.pth
    """
    from db.engine import session_scope
    from db.queries import evaluations, models
    from ml.judgements import judgement
    from ml.training.recipe import make_recipe, parse_assignments, read_recipe_file
    from worker.cli.follow import follow
    from worker.cli.output import console, print_json
    from worker.queue import submit_training
    from worker.up import running_services

    about = judgement(kind)
    chosen = {
        **(read_recipe_file(config) if config is not None else {}),
        **parse_assignments(assignments or []),
    }
    make_recipe(about.recipe_defaults, chosen)  # a typo is told before anything is started
    _check_weights(chosen)
    with running_services(jobs=True) as services:
        _store_weights(chosen)
        recipe = make_recipe({"threads": _threads()}, about.recipe_defaults, chosen)
        with session_scope() as session:
            run, job = submit_training(session, kind, recipe, dataset_id=dataset, notes=notes)
        if not wait:
            _print_submitted(as_json, run.model_version, job.id)
            return
        assert job.id is not None
        follow(job.id, runs_here=services.runs_jobs)
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


def _threads() -> int:
    from worker.settings import worker_settings

    return worker_settings().train_threads


def _is_file(weights: Any) -> bool:
    return isinstance(weights, str) and weights not in ("none", "imagenet") and not weights.startswith("sha256:")


def _check_weights(chosen: dict[str, Any]) -> None:
    from ml.training.recipe import RecipeError

    weights = chosen.get("weights")
    if _is_file(weights) and not Path(str(weights)).expanduser().is_file():
        raise RecipeError(
            f"weights: there is no file {weights}; give a .pth or .safetensors file of a torchvision state_dict, "
            f"`imagenet` to download, or `none` for random weights"
        )


def _store_weights(chosen: dict[str, Any]) -> None:
    """A file of weights goes into the store under its sha256, so that every worker, and a later one, finds it."""
    import hashlib

    from worker.places import file_store, weights_key

    if not _is_file(chosen.get("weights")):
        return
    path = Path(str(chosen["weights"])).expanduser()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    suffix = ".safetensors" if path.suffix == ".safetensors" else ".pth"
    file_store().put_file(path, weights_key(digest, suffix))
    chosen["weights"] = f"sha256:{digest}"


def _print_submitted(as_json: bool, model_version: str, job_id: int | None) -> None:
    from worker.cli.output import console, print_json

    if as_json:
        print_json({"model_version": model_version, "job_id": job_id})
    else:
        console.print(f"{model_version} is queued as job {job_id}: watch it with `afterglow jobs show {job_id}`")


def print_report(report: dict[str, Any]) -> None:
    """Print an evaluation's headline table: the model beside its baselines, with n and intervals, and its notes."""
    from ml.judgements import judgement
    from worker.cli.output import console, print_table

    if not report:
        return
    metrics = [spec.name for spec in judgement(report["kind"]).metrics(report["head"])][:4]
    ordered = sorted(report["subsets"].items(), key=lambda item: item[0] != report["headline"])
    for name, subset in ordered:
        mark = ", the headline" if name == report["headline"] else ""
        console.print(
            f"{name}{mark}: n = {subset['n']} in {subset['n_groups']} groups, 95 % intervals by group",
            style="bold" if mark else "",
        )
        print_table(
            ("", *metrics), [[row["name"], *(_cell(row, metric) for metric in metrics)] for row in subset["rows"]]
        )
        console.print()
    for note in report.get("notes", []):
        console.print(f"- {note}")


def _cell(row: dict[str, Any], metric: str) -> str:
    value, interval = row["metrics"].get(metric), row["intervals"].get(metric)
    if value is None:
        return "-"
    if not interval or interval[0] is None:
        return f"{value:.3f}"
    return f"{value:.3f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def evaluate(
    model_version: Annotated[str, typer.Argument(help="Version to evaluate.")],
    fresh: Annotated[bool, typer.Option("--fresh", help="On current labels, less those it learned from.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Evaluate a version beside its baselines and the active model.

    Example: afterglow evaluate sunset_v2_2026_02_12
    """
    from db.engine import session_scope
    from db.queries import evaluations, models
    from worker.cli.follow import follow
    from worker.cli.output import print_json
    from worker.queue import submit
    from worker.up import running_services

    with running_services(jobs=True) as services:
        with session_scope() as session:
            models.get_version(session, model_version)
            job, _ = submit(session, "evaluate", {"model_version": model_version, "fresh": fresh})
        assert job.id is not None
        follow(job.id, runs_here=services.runs_jobs)
        with session_scope() as session:
            evaluation = evaluations.latest_evaluation(session, model_version)
    assert evaluation is not None
    if as_json:
        print_json(evaluation.report)
    else:
        print_report(evaluation.report)


def list_models(
    kind: Annotated[str | None, typer.Option(help="Only this kind.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List model versions, newest first, and which is active.

    Example: afterglow models --json
    """
    from db.engine import session_scope
    from db.queries import evaluations, models
    from worker.cli.output import print_json, print_table
    from worker.up import running_services

    with running_services(), session_scope() as session:
        active = models.active_versions(session)
        rows: list[dict[str, Any]] = []
        for version in models.list_versions(session, kind=kind):
            evaluation = evaluations.latest_evaluation(session, version.model_version)
            rows.append(
                {
                    "model_version": version.model_version,
                    "kind": version.kind,
                    "head": version.head,
                    "active": active.get(version.kind) == version.model_version,
                    "created_at": version.created_at,
                    "evaluation": _headline(evaluation.report) if evaluation else None,
                }
            )
    if as_json:
        print_json(rows)
        return
    print_table(
        ("version", "kind", "head", "active", "registered", "headline"),
        [
            (r["model_version"], r["kind"], r["head"], "active" if r["active"] else "", f"{r['created_at']:%Y-%m-%d %H:%M}",
             _headline_text(r["evaluation"]))
            for r in rows
        ],
    )  # fmt: skip


def _headline(report: dict[str, Any]) -> dict[str, Any]:
    subset = report["subsets"][report["headline"]]
    model = next(row for row in subset["rows"] if row["role"] == "model")
    metric = report["primary"]["name"]
    return {"metric": metric, "value": model["metrics"][metric], "interval": model["intervals"].get(metric),
            "n": subset["n"], "n_groups": subset["n_groups"], "rows": report["headline"]}  # fmt: skip


def _headline_text(headline: dict[str, Any] | None) -> str:
    if headline is None or headline["value"] is None:
        return "-"
    low, high = headline["interval"] or (None, None)
    spread = f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
    return f"{headline['metric']} {headline['value']:.3f}{spread}, n = {headline['n']} ({headline['rows']})"


def promote(
    model_version: Annotated[str, typer.Argument(help="Version that shall serve.")],
    force: Annotated[bool, typer.Option("--force", help="Promote though the gate says no; recorded as such.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Make a version the active one. Refused when it is worse than the active model or the best baseline.

    Example: afterglow promote sunset_v2_2026_02_12
    """
    from db.engine import session_scope
    from worker.cli.output import console, print_json
    from worker.stages import promote as stage
    from worker.up import running_services

    with running_services(), session_scope() as session:
        row = stage.promote(session, model_version, force=force, by=f"cli:{getpass.getuser()}")
    if as_json:
        print_json({"model_version": row.model_version, "previous_version": row.previous_version,
                    "forced": row.forced, "verdict": row.verdict})  # fmt: skip
        return
    console.print(row.verdict["sentence"])
    console.print(
        f"{row.model_version} is active{' (forced)' if row.forced else ''}; before it: {row.previous_version or 'none'}"
    )
    _say_if_pinned(row.model_version)


def rollback(
    kind: Annotated[str, typer.Argument(help="Kind of judgement, e.g. rating.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Make the version that served before the active one active again.

    Example: afterglow rollback rating
    """
    from db.engine import session_scope
    from worker.cli.output import console, print_json
    from worker.stages import promote as stage
    from worker.up import running_services

    with running_services(), session_scope() as session:
        row = stage.roll_back(session, kind, by=f"cli:{getpass.getuser()}")
    if as_json:
        print_json({"model_version": row.model_version, "previous_version": row.previous_version})
        return
    console.print(f"{row.model_version} is active again, in place of {row.previous_version}")
    _say_if_pinned(row.model_version)


def _say_if_pinned(model_version: str) -> None:
    from worker.cli.output import remarks
    from worker.settings import ServingSettings

    pinned = ServingSettings().model_version
    if pinned and pinned != model_version:
        remarks.print(f"AI_MODEL_VERSION pins the served version to {pinned}: servers with it go on serving that one")
