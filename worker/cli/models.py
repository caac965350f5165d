"""Commands that decide which version serves, and how an evaluation is printed."""

from __future__ import annotations

import getpass
from typing import Annotated, Any

import typer

from worker.cli.options import Json, KindArgument, VersionArgument


def promote(
    model_version: VersionArgument,
    force: Annotated[bool, typer.Option("--force", help="Promote though the gate says no; recorded as such.")] = False,
    as_json: Json = False,
) -> None:
    """Make a version the active one. Refused when it is not better than the active model and all that is simpler, gets
    worse in a part of the data, or is too slow; what was asked and found is printed, and kept.

    Example: afterglow promote sunset_v2_2026_02_12
    """
    from db.engine import session_scope
    from worker.cli.output import console, print_json
    from worker.services import running_services
    from worker.stages import promote as stage

    try:
        with running_services(), session_scope() as session:
            row = stage.promote(session, model_version, force=force, by=f"cli:{getpass.getuser()}")
    except stage.PromotionRefused as refused:
        if as_json:
            print_json({"model_version": model_version, "verdict": refused.verdict.to_json()})
        else:
            print_checks(refused.verdict.to_json())
        raise
    if as_json:
        print_json({"model_version": row.model_version, "previous_version": row.previous_version,
                    "forced": row.forced, "verdict": row.verdict})  # fmt: skip
        return
    print_checks(row.verdict)
    console.print(row.verdict["sentence"], markup=False)
    console.print(
        f"{row.model_version} is active{' (forced)' if row.forced else ''}; before it: {row.previous_version or 'none'}"
    )
    _say_if_pinned(row.model_version)


def print_checks(verdict: dict[str, Any]) -> None:
    """What the gate asked, and what it found."""
    from worker.cli.output import print_table

    checks = verdict.get("checks", [])
    if checks:
        words = {True: "yes", False: "NO"}
        print_table(
            ("check", "passed", "what was found"),
            [
                (each["name"], words[each["passed"]] + ("" if each["required"] else " (told only)"), each["sentence"])
                for each in checks
            ],
        )


def rollback(
    kind: KindArgument,
    as_json: Json = False,
) -> None:
    """Make the version that served before the active one active again.

    Example: afterglow rollback rating
    """
    from db.engine import session_scope
    from ml.judgements import judgement
    from worker.cli.output import console, print_json
    from worker.services import running_services
    from worker.stages import promote as stage

    judgement(kind)  # a typo is told before anything is started
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
