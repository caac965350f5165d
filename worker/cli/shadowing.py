"""The command that lets a candidate score along, and how it is compared with the active version."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from worker.cli.options import Json, VersionArgument


def shadow(
    model_version: VersionArgument,
    stop: Annotated[bool, typer.Option("--stop", help="Let it shadow no longer; what it said stays.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Follow its scoring to the comparison, or only submit it.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Let a registered candidate shadow: it scores the frames that the active version has scored and will score, and is
    never shown. Prints how far both are apart, how many decisions flip, and whom people agree with.

    One version of a kind shadows at a time, until it is stopped or another one does.

    Examples:
    afterglow shadow sunset_v2_2026_03_01
    afterglow shadow sunset_v2_2026_03_01 --stop
    """
    import getpass

    from db.engine import session_scope
    from db.queries import jobs
    from worker.cli.follow import follow
    from worker.cli.output import console, print_json
    from worker.queue import COMMAND_PRIORITY
    from worker.services import running_services
    from worker.shadowing import start_shadow, stop_shadow

    by = f"cli:{getpass.getuser()}"
    with running_services(jobs=wait and not stop) as services:
        if stop:
            with session_scope() as session:
                stop_shadow(session, model_version, by=by)
            if as_json:
                print_json({"model_version": model_version, "shadows": False})
            else:
                console.print(f"{model_version} does not shadow")
            return
        with session_scope() as session:
            job = start_shadow(session, model_version, by=by, priority=COMMAND_PRIORITY if wait else None)
        assert job.id is not None
        if wait:
            follow(job.id, runs_here=services.runs_jobs)
        with session_scope() as session:
            result = jobs.get_job(session, job.id).result
    if as_json:
        print_json({"model_version": model_version, "shadows": True, "job_id": job.id, "result": result})
    elif result is None:
        console.print(f"{model_version} shadows; job {job.id} scores what is there")
    else:
        _print(result)


def _print(result: dict[str, Any]) -> None:
    from worker.cli.output import console, remarks

    found = result["comparison"]
    console.print(
        f"{found['shadow']} shadows {found['active']}: {result['scored']} frames scored now"
        + (f", {result['unreadable']} without a readable image" if result["unreadable"] else "")
    )
    if not found["n"]:
        console.print("no frame was scored by both yet: the active version scores frames with each tick")
        return
    _print_figures(found)
    for note in found["notes"]:
        remarks.print(note, markup=False)


def _print_figures(found: dict[str, Any]) -> None:
    from worker.cli.output import console, print_table

    difference, flips, people = found["difference"], found["flips"], found["people"]
    rows = []
    if difference:
        rows.append(("mean difference", f"{difference['mean']:+.3f}", _between(difference["interval"])))
        rows.append(("mean absolute difference", f"{difference['mean_absolute']:.3f}", ""))
    rows += [
        ("decisions that flip", f"{flips['n']} of {found['n']} ({flips['share']:.1%})", _between(flips["interval"])),
        ("only the shadow says good", str(flips["up"]), ""),
        ("only the active says good", str(flips["down"]), ""),
        ("good: active, shadow", f"{flips['active_good']:.1%}, {flips['shadow_good']:.1%}", ""),
    ]
    console.print(f"n = {found['n']} frames of {found['n_groups']} webcams, 95 % intervals by webcam")
    print_table(("", "value", "interval"), rows)
    if people is None:
        console.print("nobody has judged a frame that neither learned from: whom people agree with is not known")
        return
    primary = people["comparisons"][0]["metric"]
    metrics = [primary, *sorted(name for name in people["rows"][0]["metrics"] if name != primary)[:2]]
    console.print(
        f"\nbeside people, on frames that neither learned from: n = {people['n']}, {people['n_groups']} webcams"
    )
    print_table(("", *metrics), [(row["name"], *(_cell(row, name) for name in metrics)) for row in people["rows"]])
    for each in people["comparisons"]:
        if each["against"] == found["active"] and each["difference"] is not None:
            console.print(
                f"shadow less active, {each['metric']}: {each['difference']:+.3f} {_between(each['interval'])}"
            )
    if people.get("insufficient"):
        console.print(people["insufficient"])


def _cell(row: dict[str, Any], metric: str) -> str:
    value = row["metrics"][metric]
    return "-" if value is None else f"{value:.3f} {_between(row['intervals'].get(metric))}"


def _between(interval: list[float] | None) -> str:
    return "" if not interval or interval[0] is None else f"[{interval[0]:.3f}, {interval[1]:.3f}]"
