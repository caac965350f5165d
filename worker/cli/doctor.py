"""The command that says what is there, what is missing and what to do. It starts nothing and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.options import Json

if TYPE_CHECKING:
    from worker.cli.checks.finding import Finding, Place

    Check = Callable[[Place], Iterator[Finding]]

STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red", "unknown": "dim"}


def doctor(
    torch: Annotated[
        bool, typer.Option("--torch/--no-torch", help="Import torch to see its device, which takes seconds.")
    ] = True,
    files: Annotated[
        bool, typer.Option("--files", help="Read every stored bundle and manifest, not only the newest and the active.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what is there, what is missing and what to do. Starts nothing, changes nothing; exit code 1 for a problem.

    Each line is ok, a warning (it works, but), a problem (it does not work before this is mended), or unknown (it hangs
    on something that does not run now), with a cure to run.

    Examples:
    afterglow doctor
    afterglow doctor --no-torch --json
    afterglow doctor --files
    """
    from worker.cli.output import print_json

    findings = examine(with_torch=torch, every_file=files)
    worst = _worst(findings)
    if as_json:
        print_json({"health": worst, "findings": [{**each.__dict__, "health": each.health.value} for each in findings]})
    else:
        _print(findings, worst)
    if worst == "problem":
        raise typer.Exit(1)


def examine(*, with_torch: bool = True, every_file: bool = False) -> list[Finding]:
    """All findings, in the order in which they are told."""
    from concurrent.futures import ThreadPoolExecutor

    from worker.cli.checks import content, environment, files, machine, processes, services

    place = _place(every_file)
    checks: list[Check] = [
        machine.check_python, machine.check_torch, environment.check_settings, machine.check_data_dir,
        services.check_postgres, services.check_migrations, services.check_redis, services.check_store,
        processes.check_up, machine.check_port, processes.check_workers, processes.check_dispatcher,
        processes.check_beat, content.check_keys, content.check_models, content.check_weights,
        files.check_bundles, files.check_manifests, files.check_results,
    ]  # fmt: skip
    if not with_torch:
        checks.remove(machine.check_torch)
    with ThreadPoolExecutor(max_workers=4) as pool:  # two of them wait for other processes
        return [finding for found in pool.map(lambda check: _tried(check, place), checks) for finding in found]


def _tried(check: Check, place: Place) -> list[Finding]:
    """What a check finds; one that cannot be done is a finding itself and never hides the others."""
    from pydantic import ValidationError

    from worker.cli.checks.finding import problem, unknown
    from worker.cli.errors import told, without_password

    about = check.__name__.removeprefix("check_").replace("_", " ")
    try:
        return list(check(place))
    except ValidationError:
        return [unknown(about, "It hangs on a setting that cannot be used (above).")]
    except Exception as error:  # noqa: BLE001
        known = told(error)
        says = known.message if known else f"this could not be looked at: {type(error).__name__}: {error}"
        return [problem(about, f"{without_password(says).rstrip('.')}.")]


def _place(every_file: bool) -> Place:
    """Where to look. Settings that cannot be used are told by their own check; until then the defaults stand in."""
    import os
    from pathlib import Path

    from pydantic import ValidationError

    from db.settings import state_settings
    from worker.cli.checks.finding import Place

    try:
        state = state_settings()
        data_dir, url = state.resolved_data_dir, state.database_url
    except ValidationError:
        data_dir = Path(os.environ.get("AFTERGLOW_DATA_DIR") or "var").expanduser().resolve()
        url = os.environ.get("DATABASE_URL")
    return Place(data_dir, _answering(url) if url else _private_url(data_dir), every_file)


def _private_url(data_dir: object) -> str | None:
    from pathlib import Path

    from db.embedded import running_url

    return running_url(Path(str(data_dir)))


def _answering(url: str) -> str | None:
    """The URL if its database answers, so that one that is away is told once and not by every check."""
    import psycopg

    from worker.cli.checks.services import plain_url

    try:
        psycopg.connect(plain_url(url), connect_timeout=5).close()
    except psycopg.Error:
        return None
    return url


def _worst(findings: list[Finding]) -> str:
    states = {each.health.value for each in findings}
    return next((state for state in ("problem", "warning") if state in states), "ok")


def _print(findings: list[Finding], worst: str) -> None:
    from rich.text import Text

    from worker.cli.output import console

    width = max(len(each.about) for each in findings)
    for each in findings:
        line = Text.assemble(
            (f"{each.health.value:<8}", STYLES[each.health.value]), f" {each.about:<{width}}  {each.says}"
        )
        console.print(line)
        if each.cure:
            console.print(Text(f"{'':<{width + 11}}-> {each.cure}", style="dim"))
    counts = {state: sum(each.health == state for each in findings) for state in ("problem", "warning")}
    console.print()
    if worst == "problem":
        console.print(f"{counts['problem']} to mend before Afterglow can do its work.", style="bold red")
    else:
        many = "1 warning above says" if counts["warning"] == 1 else f"{counts['warning']} warnings above say"
        more = f" {many} what is missing or doubtful." if counts["warning"] else ""
        console.print(f"Afterglow can do its work.{more}", style="bold")
