"""Commands for API keys."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

app = typer.Typer(help="API keys: who may call the HTTP server.", no_args_is_help=True)


@app.command("create")
def create(
    scopes: Annotated[str, typer.Option(help="Comma-separated: score, ingest, rate, train, admin.")],
    name: Annotated[str, typer.Option(help="Whose key it is.")] = "unnamed",
    days: Annotated[int | None, typer.Option(help="Days until it expires; default: never.", min=1)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Make a key. It is shown once; only its hash is stored.

    Example: afterglow keys create --scopes score,ingest --name webcam-cron
    """
    from db.engine import session_scope
    from db.queries import access
    from worker.cli.output import console, print_json
    from worker.up import running_services

    with running_services(), session_scope() as session:
        wanted = [part.strip() for part in scopes.split(",") if part.strip()]
        row, key = access.add_key(session, name=name, scopes=wanted, expires_in=timedelta(days=days) if days else None)
    if as_json:
        print_json({"key": key, "key_id": row.key_id, "name": row.name, "scopes": row.scopes,
                    "expires_at": row.expires_at})  # fmt: skip
    else:
        console.print(key)
        console.print(f"scopes {', '.join(row.scopes)}; keep it, it is not shown again", style="dim")


@app.command("list")
def list_keys(as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """List keys, without their secrets."""
    from db.engine import session_scope
    from db.queries import access
    from worker.cli.output import print_json, print_table
    from worker.up import running_services

    with running_services(), session_scope() as session:
        rows = access.list_keys(session)
    columns = ("key_id", "name", "scopes", "created_at", "expires_at", "revoked_at", "last_used_at")
    if as_json:
        print_json([{column: getattr(row, column) for column in columns} for row in rows])
    else:
        print_table(columns, [[getattr(row, column) for column in columns] for row in rows])


@app.command("revoke")
def revoke(key_id: Annotated[str, typer.Argument(help="The middle part of the key, as `keys list` shows it.")]) -> None:
    """End a key; servers refuse it within 5 seconds."""
    from db.engine import session_scope
    from db.queries import access
    from worker.cli.output import console
    from worker.up import running_services

    with running_services(), session_scope() as session:
        access.revoke_key(session, key_id)
    console.print(f"{key_id} is revoked")
