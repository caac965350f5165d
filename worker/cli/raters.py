"""The command that shows raters, and whom to doubt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.options import Json

if TYPE_CHECKING:
    from ml.raters import Figure, Overall
    from worker.stages.raters import RaterRow


def raters(
    name: Annotated[str | None, typer.Argument(help="Only this rater; default: all.", metavar="NAME")] = None,
    as_json: Json = False,
) -> None:
    """Show each rater's bias, noise and agreement with the others, whom to doubt, and the models these reached.

    Nobody is excluded by it: a doubtful rater is shown with the command that does so.

    Examples:
    afterglow raters
    afterglow raters ann --json
    """
    from db.engine import session_scope
    from db.queries import lineage
    from worker.cli.lineage import say_unknown
    from worker.cli.output import console, print_json
    from worker.services import running_services
    from worker.stages.raters import overall_facts, rater_facts, rater_rows

    with running_services(), session_scope() as session:
        rows, overall = rater_rows(session, only=name)
        unknown = lineage.versions_without_raters(session)
    if as_json:
        facts = [rater_facts(row) for row in rows]
        print_json(facts[0] if name is not None else {"raters": facts, "overall": overall_facts(overall)})
        return
    if not rows:
        console.print("nobody has rated anything yet")
        return
    _print_rows(rows)
    if name is None:
        console.print(_overall_text(overall), markup=False)
    for row in rows:
        _print_detail(row)
    if any(row.models is not None for row in rows):
        say_unknown(unknown)


def _print_rows(rows: Sequence[RaterRow]) -> None:
    from worker.cli.output import moment, print_table

    print_table(
        ("rater", "ratings", "shared", "bias", "noise", "agreement", "no sunset", "a minute", "last (UTC)", ""),
        [
            (row.activity.rater, row.activity.num_ratings, row.figures.num_shared, _text(row.figures.bias, "+.2f"),
             _text(row.figures.noise, ".2f"), _text(row.figures.agreement, ".2f"), _share(row), _pace(row),
             moment(row.activity.last_at), _state(row))
            for row in rows
        ],
    )  # fmt: skip


def _print_detail(row: RaterRow) -> None:
    from worker.cli.lineage import print_uses
    from worker.cli.output import console

    if row.models is None:
        return
    console.print(f"\n{row.activity.rater}: {row.figures.reason}", markup=False)
    if row.models:
        print_uses(row.models)
    else:
        console.print("no run that is recorded here has used these ratings")
    if row.exclude_with is not None:
        console.print(f"to have them not count: {row.exclude_with}", markup=False)


def _overall_text(overall: Overall) -> str:
    if overall.alpha is None:
        return "how far all agree is unknown: no snapshots with differing stars of two raters or more"
    figure = _text(overall.alpha, ".2f")
    where = f"{overall.num_snapshots} snapshots with two raters or more, {overall.num_raters} raters"
    return f"Krippendorff's alpha of stars: {figure} on {where}; 1 is perfect, 0 is chance"


def _text(figure: Figure | None, form: str) -> str | None:
    return None if figure is None else f"{figure.value:{form}} [{figure.low:{form}}, {figure.high:{form}}]"


def _share(row: RaterRow) -> str | None:
    num = row.activity.num_ratings
    return f"{100 * row.activity.num_not_sunset / num:.0f} %" if num else None


def _pace(row: RaterRow) -> str | None:
    return None if row.activity.per_minute is None else f"{row.activity.per_minute:.0f}"


def _state(row: RaterRow) -> str:
    state = "" if row.figures.state == "sound" else row.figures.state
    return ", ".join(word for word in (state, "excluded" if row.excluded else "") if word)
