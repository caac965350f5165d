"""The command that says what changed between two training runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from worker.cli.lineage import RunArgument
from worker.cli.options import Json

SHOWN = 10
"""Rows of each list on the screen; --json and --out have more."""


def diff(
    base: RunArgument,
    other: RunArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Also write a page with pictures of what moved and flipped; default: none.",
            metavar="FILE.html",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """What changed from one run to another: rows added, removed, changed; scores moved; verdicts flipped.

    Scores are compared on rows that neither model learned from, as their evaluations kept them.

    Examples:
    afterglow diff sunset_v2_2026_02_12 sunset_v2_2026_03_01
    afterglow diff 7 9 --out diff.html
    """
    from db.engine import session_scope
    from db.queries import models
    from ml.diff_page import diff_page
    from ml.images.atomic import write_over
    from worker.cli.output import check_out, console, print_json
    from worker.places import file_store
    from worker.services import running_services
    from worker.stages.diff_runs import diff_two_runs, pictures

    check_out(out)
    with running_services(), session_scope() as session:
        before, after = models.named_run(session, base), models.named_run(session, other)
        found = diff_two_runs(session, file_store(), before, after)
        if out is not None:
            write_over(out, diff_page(found, pictures(file_store(), found)).encode())
    if as_json:
        print_json(found)
        return
    _print(found)
    if out is not None:
        console.print(f"with pictures: {out}", markup=False)


def _print(found: dict[str, Any]) -> None:
    from worker.cli.output import console, print_table

    rows, verdicts = found["rows"], found["verdicts"]
    console.print(f"{found['base']} (run {found['base_run']}) to {found['other']} (run {found['other_run']})")
    changes = ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in rows["changes"].items() if n)
    console.print(
        f"rows: {rows['base']} to {rows['other']}, {rows['common']} in both; {rows['added']} added, "
        f"{rows['removed']} removed, {rows['changed']} changed{f' ({changes})' if changes else ''}"
    )
    for line in _score_lines(found["predictions"]):
        console.print(line, markup=False)
    console.print(
        f"verdicts: {verdicts['flipped']} of {verdicts['n']} flipped, {verdicts['to_good']} of them to good; "
        f"{verdicts['right_now']} right now, {verdicts['wrong_now']} wrong now"
    )
    for note in found["notes"]:
        console.print(f"- {note}", markup=False)
    if found["moved"]:
        console.print(f"\nmoved most, {min(SHOWN, len(found['moved']))} of {len(found['moved'])}:")
        print_table(
            ("snapshot", "before", "after", "label", "rows"),
            [(r["snapshot_id"], f"{r['before']:.3f}", f"{r['after']:.3f}", r["label_value"], r["how"])
             for r in found["moved"][:SHOWN]],
        )  # fmt: skip
    if found["changed"]:
        console.print(f"\nchanged, {min(SHOWN, len(found['changed']))} of {len(found['changed'])}:")
        print_table(
            ("snapshot", "what", "before", "after"),
            [(r["snapshot_id"], name, *pair) for r in found["changed"][:SHOWN] for name, pair in r["changes"].items()],
        )


def _score_lines(moves: dict[str, Any]) -> list[str]:
    if not moves["n"]:
        return ["scores: none to compare"]

    def said(name: str) -> str:
        low, high = moves[name]["interval"] or (None, None)
        spread = "" if low is None else f" [{low:+.3f}, {high:+.3f}]"
        return f"{moves[name]['value']:+.3f}{spread}"

    return [
        f"scores, on {moves['n']} rows in {moves['n_groups']} groups that neither learned from: mean difference "
        f"{said('mean_difference')}, largest move {moves['largest_move']:.3f}",
        f"mean absolute error {moves['base_error']['value']:.3f} before, {moves['other_error']['value']:.3f} after: "
        f"difference {said('error_difference')}, 95 % by group, paired",
        *([moves["insufficient"]] if "insufficient" in moves else []),
    ]
