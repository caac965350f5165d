"""Commands for logins to the pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.keys import read_scopes
from worker.cli.options import Json, complete_scopes

if TYPE_CHECKING:
    from db.tables import Login

app = typer.Typer()


@app.callback(invoke_without_command=True)
def login(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Option(help="In whose name it rates; default: yours on this machine.", metavar="NAME")
    ] = None,
    scopes: Annotated[
        str,
        typer.Option(
            help="What it may do, comma-separated: score, ingest, rate, train, admin.",
            metavar="SCOPES",
            autocompletion=complete_scopes,
        ),
    ] = "admin",
    url: Annotated[
        str | None,
        typer.Option(help="Where the server is; default: where `afterglow up` runs.", metavar="URL"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a link that logs one person in to the pages, once. It is good for an hour, the login for twelve.

    Examples:
    afterglow login
    afterglow login --name ann --scopes rate --url https://afterglow.example
    """
    if ctx.invoked_subcommand is not None:
        return
    from db.engine import session_scope
    from db.queries import logins
    from worker.cli.errors import WrongInput
    from worker.cli.output import console, moment, print_json, remarks
    from worker.login_links import link_address, own_name, server_address
    from worker.services import running_services

    if url is not None and not url.startswith(("http://", "https://")):
        raise WrongInput(f"--url {url} is no address of a server: it begins with http:// or https://")
    wanted = read_scopes(scopes)
    with running_services() as services, session_scope() as session:
        row, link = logins.make_link(session, rater=name or own_name(), scopes=wanted)
        address = link_address(url or server_address(services.data_dir), link)
    if as_json:
        print_json({"url": address, **_facts(row)})
        return
    console.print(address, markup=False)
    remarks.print(
        f"logs {row.rater} in, once, until {moment(row.link_expires_at)} UTC; may: {', '.join(row.scopes)}",
        style="dim", markup=False,
    )  # fmt: skip


@app.command("list")
def list_logins(as_json: Json = False) -> None:
    """List who is logged in, and links that nobody has used yet.

    Example: afterglow login list --json
    """
    from db.engine import session_scope
    from db.queries import logins
    from worker.cli.output import console, moment, print_json, print_table
    from worker.services import running_services

    with running_services(), session_scope() as session:
        rows = list(logins.list_logins(session))
    if as_json:
        print_json([_facts(row) for row in rows])
    elif not rows:
        console.print("nobody is logged in; make a link with `afterglow login`")
    else:
        print_table(
            ("login", "name", "scopes", "opened (UTC)", "until"),
            [(row.id, row.rater, ", ".join(row.scopes), moment(row.opened_at) or "not yet",
              moment(row.expires_at or row.link_expires_at)) for row in rows],
        )  # fmt: skip


@app.command("end")
def end(
    login_id: Annotated[
        int, typer.Argument(help="Number of the login, as `afterglow login list` shows it.", metavar="LOGIN")
    ],
    as_json: Json = False,
) -> None:
    """Log somebody out, or take back a link; servers refuse it within 5 seconds.

    Example: afterglow login end 3
    """
    from db.engine import session_scope
    from db.queries import logins
    from worker.cli.output import console, print_json
    from worker.services import running_services

    with running_services(), session_scope() as session:
        row = logins.end_login(session, login_id)
    if as_json:
        print_json(_facts(row))
    else:
        console.print(f"login {login_id} of {row.rater} is over; servers refuse it within 5 seconds", markup=False)


def _facts(row: Login) -> dict[str, Any]:
    columns = ("id", "rater", "scopes", "created_at", "link_expires_at", "opened_at", "expires_at", "ended_at")
    return {column: getattr(row, column) for column in columns}
