"""Commands for API keys."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.options import Json, complete_scopes

if TYPE_CHECKING:
    from db.tables import ApiKey

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
MAX_DAYS = 36500

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _keys() -> None:
    """API keys: who may call the HTTP server, for what, and until when.

    Example: afterglow keys create --scopes score,ingest --name webcam-cron --expires-in 90d
    """


@app.command("create")
def create(
    scopes: Annotated[
        str,
        typer.Option(
            help="What it may do, comma-separated: score, ingest, rate, train, admin.",
            metavar="SCOPES",
            autocompletion=complete_scopes,
        ),
    ],
    name: Annotated[str, typer.Option(help="Whose key it is, for the list.", metavar="TEXT")] = "unnamed",
    expires_in: Annotated[
        str | None,
        typer.Option(help="Until it expires: hours, days or weeks, as 12h, 90d, 4w; default: never.", metavar="TIME"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key. It is shown once; only its hash is stored.

    Every key may read. Beyond that, `score` lets it score pictures, `ingest` add webcams and snapshots, `rate` rate
    them, `train` export, train, evaluate and promote, `admin` do everything, also make keys.

    Examples:
    afterglow keys create --scopes score,ingest --name webcam-cron
    afterglow keys create --scopes rate --name ann --expires-in 90d
    """
    from db.engine import session_scope
    from db.queries import access
    from worker.cli.output import console, moment, print_json, remarks
    from worker.services import running_services

    wanted = read_scopes(scopes)
    lifetime = read_lifetime(expires_in) if expires_in is not None else None
    with running_services(), session_scope() as session:
        row, key = access.add_key(session, name=name, scopes=wanted, expires_in=lifetime)
    if as_json:
        print_json({"key": key, "key_id": row.key_id, "name": row.name, "scopes": row.scopes,
                    "expires_at": row.expires_at})  # fmt: skip
        return
    console.print(key)
    for line in _meanings(row.scopes):
        remarks.print(line, style="dim")
    until = f"it expires {moment(row.expires_at)} UTC" if row.expires_at else "it never expires"
    remarks.print(f"keep it, it is not shown again; {until}", style="dim")


def read_scopes(given: str) -> list[str]:
    """`score,rate` as a list.

    Raises:
        WrongInput: There is no such scope, or none is given.
    """
    from db.tables.access import SCOPES
    from worker.cli.errors import WrongInput

    wanted = [part.strip() for part in given.split(",") if part.strip()]
    unknown = sorted(set(wanted) - set(SCOPES))
    if unknown or not wanted:
        raise WrongInput(f"unknown scope {', '.join(unknown) or '(none given)'}; choose from {', '.join(SCOPES)}")
    return wanted


def read_lifetime(given: str) -> timedelta:
    """`90d`, `12h` or `4w` as a time.

    Raises:
        WrongInput: It is none of that, not positive, or more than a hundred years.
    """
    from worker.cli.errors import WrongInput

    found = re.fullmatch(r"(\d{1,9})([hdw])", given.strip().lower())
    time = _UNITS[found[2]] * min(int(found[1]), 10_000_000) if found else timedelta(0)
    if not timedelta(0) < time <= timedelta(days=MAX_DAYS):
        raise WrongInput(f"--expires-in {given} is no time: give hours, days or weeks, as 12h, 90d or 4w")
    return time


@app.command("list")
def list_keys(as_json: Json = False) -> None:
    """List keys with their scopes, expiry and last use, without their secrets.

    Example: afterglow keys list --json
    """
    from db.engine import session_scope
    from db.queries import access
    from worker.cli.output import console, moment, print_json, print_table
    from worker.services import running_services

    with running_services(), session_scope() as session:
        rows = list(access.list_keys(session))
    if as_json:
        print_json([_facts(row) for row in rows])
        return
    if not rows:
        console.print("no keys; make one with `afterglow keys create --scopes score`")
        return
    print_table(
        ("key_id", "name", "state", "scopes", "created (UTC)", "expires", "last used"),
        [
            (row.key_id, row.name, key_state(row), ", ".join(row.scopes), moment(row.created_at),
             moment(row.expires_at) or "never", moment(row.last_used_at) or "never")
            for row in rows
        ],
    )  # fmt: skip
    console.print()
    for line in _meanings({scope for row in rows for scope in row.scopes}):
        console.print(line, style="dim")


def _meanings(scopes: Iterable[str]) -> list[str]:
    """A line for each of these scopes: what a key that has it may do."""
    from db.tables.access import Scope

    return [f"{scope.value:<7} may {scope.allows}" for scope in Scope if scope.value in set(scopes)]


def key_state(row: ApiKey) -> str:
    """`valid`, `revoked` or `expired`."""
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= datetime.now(UTC) else "valid"


def _facts(row: ApiKey) -> dict[str, Any]:
    columns = ("key_id", "name", "scopes", "created_at", "expires_at", "revoked_at", "last_used_at")
    return {**{column: getattr(row, column) for column in columns}, "state": key_state(row)}


@app.command("revoke")
def revoke(
    key_id: Annotated[
        str, typer.Argument(help="The middle part of the key, as `keys list` shows it.", metavar="KEY_ID")
    ],
    as_json: Json = False,
) -> None:
    """End a key; servers refuse it within 5 seconds.

    Example: afterglow keys revoke 3f9c01ab
    """
    from db.engine import session_scope
    from db.queries import access
    from worker.cli.output import console, print_json
    from worker.services import running_services

    with running_services(), session_scope() as session:
        access.revoke_key(session, key_id)
    if as_json:
        print_json({"key_id": key_id, "state": "revoked"})
    else:
        console.print(f"{key_id} is revoked; servers refuse it within 5 seconds")
