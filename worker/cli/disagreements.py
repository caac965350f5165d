"""Commands that find the frames that are worth a person's time, list them, and say what becomes of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.options import Before, Json, Limit, complete_kinds, complete_versions

if TYPE_CHECKING:
    from db.tables import Disagreement, ReviewSet, WebcamSnapshot

app = typer.Typer()
Kind = Annotated[str, typer.Argument(help="Kind of judgement.", metavar="[KIND]", autocompletion=complete_kinds)]
Version = Annotated[
    str | None,
    typer.Option("--version", help="Model version; default: the active one.", metavar="VERSION",
                 autocompletion=complete_versions),
]  # fmt: skip
State = Annotated[str | None, typer.Option(help="Only those in this state: open, settled, dismissed.", metavar="STATE")]
Reason = Annotated[
    str | None,
    typer.Option(help="Only those that came in by this way: largest-disagreement, flip, band, control.",
                 metavar="REASON"),
]  # fmt: skip
Need = Annotated[
    str | None, typer.Option(help="Only those that need this: first-rating, one-more-rating, audit.", metavar="NEED")
]
Urgent = Annotated[
    int | None, typer.Option("--priority", help="Only those of this priority or a more urgent one.", min=1, max=999)
]
OfVersion = Annotated[
    str | None,
    typer.Option("--version", help="Only those of this version.", metavar="VERSION", autocompletion=complete_versions),
]
Webcam = Annotated[int | None, typer.Option(help="Only frames of this webcam.", metavar="ID", min=1)]
OfSet = Annotated[int | None, typer.Option("--set", help="Only those of this review set.", metavar="ID", min=1)]


def find_disagreements(
    kind: Kind = "rating",
    version: Version = None,
    seed: Annotated[
        int | None, typer.Option(help="What chance depends on; default: the job's number.", min=0, max=2**53 - 1)
    ] = None,
    largest: Annotated[int, typer.Option(help="Frames furthest apart, at most.", min=0, max=1000)] = 20,
    flips: Annotated[
        int, typer.Option(help="Frames on opposite sides of the threshold, at most.", min=0, max=1000)
    ] = 50,
    band: Annotated[int, typer.Option(help="Frames drawn from all near the threshold.", min=0, max=1000)] = 20,
    control: Annotated[int, typer.Option(help="Frames drawn from all.", min=0, max=1000)] = 20,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow it to its end, or only submit it.")] = True,
    as_json: Json = False,
) -> None:
    """Choose a review set: frames on which people and a version are far apart, and random samples to compare with.

    Frames that the version has not scored are scored first. What is settled is not asked again.

    Examples:
    afterglow find-disagreements
    afterglow find-disagreements rating --seed 7 --control 50 --json
    """
    from db.engine import session_scope
    from db.queries import jobs
    from ml.judgements import judgement
    from worker.cli.follow import follow
    from worker.cli.output import console, print_json, remarks
    from worker.queue import COMMAND_PRIORITY, submit, version_to_ask
    from worker.services import running_services

    params = {"kind": judgement(kind).name, "model_version": version, "seed": seed, "largest": largest, "flips": flips,
              "band": band, "control": control}  # fmt: skip
    with running_services(jobs=wait) as services:
        with session_scope() as session:
            version_to_ask(session, kind, version)
            job, _ = submit(session, "find_disagreements", params, priority=COMMAND_PRIORITY if wait else None)
        assert job.id is not None
        if wait:
            follow(job.id, runs_here=services.runs_jobs)
        with session_scope() as session:
            result = jobs.get_job(session, job.id).result
    if as_json:
        print_json({"job_id": job.id, "result": result})
        return
    if result is None:
        console.print(f"job {job.id} finds them: watch it with `afterglow jobs watch {job.id}`")
        return
    _print_found(result)
    remarks.print(f"to see them: afterglow disagreements --set {result['review_set_id']}")


def _print_found(result: dict[str, Any]) -> None:
    from ml.disagreements import LARGEST
    from worker.cli.output import console, print_table

    counts = result["counts"]
    console.print(
        f"review set {result['review_set_id']} of {result['model_version']}, seed {result['seed']}: "
        f"{result['disagreements']} of {counts['frames']} frames",
        markup=False,
    )
    print_table(
        ("by which way", "there were", "chosen", "settled before"),
        [(reason, way["population"], way["chosen"], way["settled"]) for reason, way in counts["ways"].items()],
    )
    if counts["ways"][LARGEST]["population"] == 0:
        console.print(
            "no frame has an answer of people that this version neither learned from nor is tested by, so none can be ranked "
            f"by disagreement yet; `afterglow suspects {result['model_version']}` ranks those that it learned from, out of "
            "fold",
            markup=False,
        )
    console.print(
        f"not asked: {counts['settled']} settled, {counts['near_duplicates']} near-duplicates, "
        f"{counts['unreadable']} whose image cannot be read"
    )
    console.print(_control_words(counts["control"]))


def _control_words(control: dict[str, Any]) -> str:
    words = f"by its controls: {control['drawn']} frames drawn, {control['learned']} learned from, "
    words += f"{control['unanswered']} without an answer"
    error, flips = control["mean_absolute_error"], control["flips"]
    if error is None:
        return f"{words}, so nothing is known of all frames yet"
    return (
        f"{words}; over the {control['n']} others of {control['n_groups']} webcams the mean absolute error is "
        f"{error['value']:.2f}{_between(error['interval'])}, {error['baseline']:.2f} for the mean of these labels, "
        f"and {flips['share']:.0%} flip{_between(flips['interval'])}"
    )


def _between(interval: list[float] | None) -> str:
    return "" if interval is None else f" ({interval[0]:.2f} to {interval[1]:.2f})"


@app.callback(invoke_without_command=True)
def disagreements(
    ctx: typer.Context,
    state: State = None,
    reason: Reason = None,
    need: Need = None,
    priority: Urgent = None,
    version: OfVersion = None,
    webcam: Webcam = None,
    review_set: OfSet = None,
    limit: Limit = 50,
    before: Before = None,
    as_json: Json = False,
) -> None:
    """Frames of review sets, newest first: why each is there, what it needs, and what became of it.

    Examples:
    afterglow disagreements --state open --reason flip
    afterglow disagreements --set 3 --json
    """
    if ctx.invoked_subcommand is not None:
        return
    from db.engine import session_scope
    from db.queries.disagreements import list_disagreements
    from worker.cli.output import console, print_json, print_table, say_more
    from worker.services import running_services

    _check(state, reason, need)
    with running_services(), session_scope() as session:
        rows = list_disagreements(
            session, state=state, reason=reason, need=need, priority=priority, model_version=version, webcam_id=webcam,
            review_set_id=review_set, cursor=before, limit=limit,
        )  # fmt: skip
    if as_json:
        print_json([_facts(*row) for row in rows])
        return
    if not rows:
        console.print("no such disagreements; `afterglow find-disagreements` looks for some")
        return
    print_table(
        ("id", "set", "snapshot", "webcam", "reasons", "people", "model", "apart", "needs", "priority", "state"),
        [
            (row.id, row.review_set_id, row.snapshot_id, snapshot.webcam_id, ", ".join(row.reasons),
             _number(row.label_value), _number(row.raw_score if row.ai_rating is None else row.ai_rating),
             _number(row.disagreement), row.need, row.priority, row.state)
            for row, _, snapshot in rows
        ],
    )  # fmt: skip
    say_more("afterglow disagreements", rows, limit, rows[-1][0].id)


def _check(state: str | None, reason: str | None, need: str | None) -> None:
    from db.tables.disagreements import NEEDS, REASONS, STATES
    from worker.cli.errors import WrongInput

    for name, given, known in (("--state", state, STATES), ("--reason", reason, REASONS), ("--need", need, NEEDS)):
        if given is not None and given not in known:
            raise WrongInput(f"{name} {given} is none; choose from {', '.join(known)}")


def _facts(row: Disagreement, made: ReviewSet, snapshot: WebcamSnapshot) -> dict[str, Any]:
    return {
        **row.model_dump(), "kind": made.kind, "model_version": made.model_version, "webcam_id": snapshot.webcam_id,
        "phase": snapshot.phase, "captured_at": snapshot.captured_at,
    }  # fmt: skip


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


@app.command("triage")
def triage(
    disagreement_id: Annotated[
        int,
        typer.Argument(help="Number of the disagreement, as `afterglow disagreements` lists it.", metavar="ID", min=1),
    ],
    dismiss: Annotated[
        bool | None, typer.Option("--dismiss/--reopen", help="Nobody need look at it; or it waits again.")
    ] = None,
    priority: Annotated[
        int | None,
        typer.Option(help="How urgent it is: lower goes first, 100 is usual; default: as it was.", min=1, max=999),
    ] = None,
    as_json: Json = False,
) -> None:
    """Dismiss a frame that nobody need look at, have it wait again, or say how urgent it is. A rating settles a frame.

    Example: afterglow disagreements triage 12 --dismiss
    """
    import getpass

    from db.engine import session_scope
    from db.queries import disagreements as queries
    from worker.cli.errors import WrongInput
    from worker.cli.output import console, print_json
    from worker.services import running_services

    if dismiss is None and priority is None:
        raise WrongInput("say what becomes of it: --dismiss, --reopen or --priority")
    state = None if dismiss is None else "dismissed" if dismiss else "open"
    with running_services(), session_scope() as session:
        queries.triage(session, disagreement_id, by=f"cli:{getpass.getuser()}", state=state, priority=priority)
        whole = queries.whole_disagreement(session, disagreement_id)
    if as_json:
        print_json(_facts(*whole))
    else:
        console.print(f"disagreement {disagreement_id} is {whole[0].state}, priority {whole[0].priority}")


@app.command("backlog")
def backlog(kind: Kind = "rating", as_json: Json = False) -> None:
    """How many frames people have settled since the labels that the active version was trained on, and how many wait.

    Example: afterglow disagreements backlog
    """
    from db.engine import session_scope
    from db.queries.backlog import backlog as count_backlog
    from ml.judgements import judgement
    from worker.cli.output import console, moment, print_json
    from worker.services import running_services

    with running_services(), session_scope() as session:
        found = count_backlog(session, judgement(kind).name)
    if as_json:
        print_json(found.__dict__)
        return
    since = "ever" if found.as_of is None else f"since {moment(found.as_of)} UTC, the labels of {found.model_version}"
    console.print(f"{found.settled} frames settled {since}; {found.open} wait", markup=False)
