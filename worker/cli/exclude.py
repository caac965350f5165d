"""Commands that say whose labels do not count. Nothing is deleted; an exclusion is lifted by another event."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.options import Before, Json, Limit

if TYPE_CHECKING:
    from db.queries.exclusions import Subject

app = typer.Typer(no_args_is_help=True)
lift_app = typer.Typer(no_args_is_help=True)
Rater = Annotated[str, typer.Argument(help="Name of the rater.", metavar="NAME")]
ImportId = Annotated[
    int, typer.Argument(help="Number of the import, as `afterglow import list` shows it.", metavar="ID", min=1)
]
Reason = Annotated[str, typer.Option("--reason", help="Why; it stays in the record.", metavar="TEXT")]


@app.callback()
def _exclude() -> None:
    """Have labels of a rater or an import not count from now on, and see which models learned from them.

    Example: afterglow exclude rater mallory --reason "rated everything 1"
    """


@app.command("rater")
def rater(name: Rater, reason: Reason, as_json: Json = False) -> None:
    """Ratings of this rater do not count from now on. Exports as of an earlier time stay as they were.

    Example: afterglow exclude rater mallory --reason "rated everything 1"
    """
    from db.queries.exclusions import Subject

    _exclude_now(Subject(rater=name), reason, as_json)


@app.command("import")
def import_(import_id: ImportId, reason: Reason, as_json: Json = False) -> None:
    """Ratings and seeds that this import brought in do not count from now on.

    Example: afterglow exclude import 3 --reason "the columns were swapped"
    """
    from db.queries.exclusions import Subject

    _exclude_now(Subject(import_id=import_id), reason, as_json)


@app.command("list")
def list_exclusions(limit: Limit = 50, before: Before = None, as_json: Json = False) -> None:
    """List exclusions and their liftings, newest first, and say what is excluded now.

    Example: afterglow exclude list
    """
    from db.engine import session_scope
    from db.queries import exclusions
    from worker.cli.output import console, moment, print_json, print_table, say_more
    from worker.services import running_services

    with running_services(), session_scope() as session:
        rows = list(exclusions.list_exclusions(session, cursor=before, limit=limit))
        now = exclusions.excluded_now(session)
    holding = {event.id for event in now.values()}
    if as_json:
        print_json([{**row.model_dump(), "holds": row.id in holding} for row in rows])
        return
    if not rows:
        console.print("nothing was ever excluded")
        return
    print_table(
        ("id", "when (UTC)", "action", "rater or import", "by", "reason", "holds now"),
        [
            (r.id, moment(r.created_at), r.action, exclusions.Subject(r.rater, r.import_id), r.excluded_by, r.reason,
             "yes" if r.id in holding else "")
            for r in rows
        ],
    )  # fmt: skip
    say_more("afterglow exclude list", rows, limit, rows[-1].id)


app.add_typer(lift_app, name="lift")


@lift_app.callback()
def _lift() -> None:
    """Have labels of a rater or an import count again. The exclusion stays in the record.

    Example: afterglow exclude lift rater ann --reason "it was somebody else"
    """


@lift_app.command("rater")
def lift_rater(name: Rater, reason: Reason, as_json: Json = False) -> None:
    """Ratings of this rater count again.

    Example: afterglow exclude lift rater ann --reason "it was somebody else"
    """
    from db.queries.exclusions import Subject

    _lift_now(Subject(rater=name), reason, as_json)


@lift_app.command("import")
def lift_import(import_id: ImportId, reason: Reason, as_json: Json = False) -> None:
    """Labels of this import count again.

    Example: afterglow exclude lift import 3 --reason "the file was right"
    """
    from db.queries.exclusions import Subject

    _lift_now(Subject(import_id=import_id), reason, as_json)


def _exclude_now(subject: Subject, reason: str, as_json: bool) -> None:
    from db.engine import session_scope
    from db.queries import exclusions, lineage
    from worker.cli.lineage import print_uses, say_unknown, use_facts
    from worker.cli.output import console, print_json
    from worker.services import running_services

    with running_services(), session_scope() as session:
        event = exclusions.exclude(session, subject, reason=_given(reason), by=f"cli:{getpass.getuser()}")
        tainted = [use for use in lineage.runs_that_used(session, [subject]) if use.status == "registered"]
        unknown = lineage.versions_without_raters(session)
    if as_json:
        print_json({"id": event.id, "rater": event.rater, "import_id": event.import_id, "reason": event.reason,
                    "tainted": [use_facts(use) for use in tainted], "unknown": list(unknown)})  # fmt: skip
        return
    console.print(f"{subject} is excluded: means are computed anew, and exports from now on leave its labels out")
    if tainted:
        console.print("models that it had a part in:")
        print_uses(tainted)
    else:
        console.print("no registered model is known to have used its labels")
    say_unknown(unknown)


def _lift_now(subject: Subject, reason: str, as_json: bool) -> None:
    from db.engine import session_scope
    from db.queries import exclusions
    from worker.cli.output import console, print_json
    from worker.services import running_services

    with running_services(), session_scope() as session:
        event = exclusions.lift(session, subject, reason=_given(reason), by=f"cli:{getpass.getuser()}")
    if as_json:
        print_json({"id": event.id, "rater": event.rater, "import_id": event.import_id, "reason": event.reason})
    else:
        console.print(f"labels of {subject} count again")


def _given(reason: str) -> str:
    from worker.cli.errors import WrongInput

    if not reason.strip():
        raise WrongInput("--reason is empty: say why, it stays in the record")
    return reason.strip()
