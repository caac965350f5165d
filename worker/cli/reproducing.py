"""The command that proves a version's provenance, and how its result is printed."""

from __future__ import annotations

from typing import Any

import typer

from worker.cli.options import Json, VersionArgument


def reproduce(model_version: VersionArgument, as_json: Json = False) -> None:
    """Rebuild a version's rows from provenance, train it again in a fresh process, and compare. Registers nothing.

    On the same machine with the same libraries the weights are identical; otherwise it says how far weights and
    predictions are apart, and what differs between then and now. Exit code 1 when no promise holds. Needs no network.

    Examples:
    afterglow reproduce sunset_v2_2026_02_12
    afterglow reproduce sunset_v2_2026_02_12 --json
    """
    from db.engine import session_scope
    from db.queries import jobs
    from worker.cli.errors import Ending
    from worker.cli.follow import follow
    from worker.cli.output import print_json
    from worker.queue import COMMAND_PRIORITY, check_reproducible, submit
    from worker.services import running_services

    with running_services(jobs=True) as services:
        with session_scope() as session:
            check_reproducible(session, model_version)
            job, _ = submit(session, "reproduce", {"model_version": model_version}, priority=COMMAND_PRIORITY)
        assert job.id is not None
        follow(job.id, runs_here=services.runs_jobs)
        with session_scope() as session:
            result = jobs.get_job(session, job.id).result
    assert result is not None
    if as_json:
        print_json(result)
    else:
        _print(result)
    if not result["holds"]:
        raise typer.Exit(Ending.FAILED)


def _print(result: dict[str, Any]) -> None:
    from worker.cli.output import console, print_table, remarks

    for line in result["warnings"]:
        remarks.print(f"differs from what was recorded: {line}", markup=False)
    rows = [_row(name, result[name]) for name in ("manifest", "weights", "threshold", "graph")]
    if result["out_of_fold"] is not None:
        rows.append(_row("out-of-fold scores", result["out_of_fold"]))
    predictions = result["predictions"]
    rows.append(_row(f"predictions, n = {predictions['n_golden'] + predictions['n_images']}", predictions))
    print_table(("compared", "recorded", "now", ""), rows)
    console.print(f"\n{result['model_version']}: {result['sentence']}", markup=False)


def _row(name: str, about: dict[str, Any]) -> tuple[str, str, str, str]:
    largest = about.get("max_abs_difference")
    how = "identical" if about["identical"] else f"up to {largest:.3g} apart" if largest else "different"
    return name, str(about.get("recorded", "-"))[:12], str(about.get("again", "-"))[:12], how
