"""The command that sends a tick to a running server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.cli.options import Json

MARGIN_S = 10.0
"""Seconds beyond those of a tick that the answer is waited for."""


def tick(
    file: Annotated[
        Path, typer.Argument(help='JSON file {"webcams": [{"webcam": ..., "phase": ..., "url": ...}, ...]}.',
                             metavar="FILE", show_default=False)
    ],
    url: Annotated[
        str, typer.Option("--url", help="Address of the server.", envvar="AFTERGLOW_URL", metavar="URL")
    ] = "http://127.0.0.1:8000",
    as_json: Json = False,
) -> None:  # fmt: skip
    """Have a running server fetch and score many webcams, as a cron does. AFTERGLOW_KEY holds the key, which needs the
    scope score, and ingest to add webcams. Exit code 1 when something at the server kept some from being scored.

    Examples:
    AFTERGLOW_KEY=ag_... afterglow tick webcams.json
    AFTERGLOW_KEY=ag_... afterglow tick webcams.json --url http://127.0.0.1:8001 --json
    """
    from worker.cli.errors import WrongInput
    from worker.cli.output import print_json, print_table
    from worker.settings import TerminalSettings

    key = TerminalSettings().key
    if not key:
        raise WrongInput("AFTERGLOW_KEY is not set: `afterglow keys create --scopes score,ingest` makes a key")
    answer = _ask(url, key, _read(file))
    if as_json:
        print_json(answer)
    else:
        print_table(
            ("webcam", "phase", "aiRating", "isGood", "capture", "pathTaken", "modelVersion or reason"),
            [
                (each["webcam"] or each["webcamId"], each["phase"],
                 None if each["aiRating"] is None else f"{each['aiRating']:.3f}", each["isGood"],
                 each["capture"]["reason"], each["pathTaken"], each["modelVersion"] or each["reason"])
                for each in answer["webcams"]
            ],
        )  # fmt: skip
        print(json.dumps({name: value for name, value in answer.items() if name != "webcams"}))
    if not answer["ok"]:
        raise typer.Exit(1)


def _read(file: Path) -> bytes:
    from worker.cli.errors import WrongInput

    try:
        data = file.read_bytes()
        json.loads(data)
    except OSError as error:
        raise WrongInput(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise WrongInput(f"{file} is not JSON: {error}") from error
    return data


def _ask(url: str, key: str, body: bytes) -> dict[str, Any]:
    import httpx

    from worker.cli.errors import NotDone, WrongInput
    from worker.settings import ServingSettings

    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    timeout_s = ServingSettings().tick_total_s + MARGIN_S
    try:
        answer = httpx.post(
            f"{url.rstrip('/')}/v1/webcams/score", content=body, headers=headers, timeout=timeout_s, trust_env=False
        )
    except (httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeEncodeError) as error:
        raise WrongInput(f"the server cannot be asked at {url}: {error}") from error
    except httpx.TransportError as error:
        raise NotDone(f"no answer from {url}: {error}. Does `afterglow up` run, and there?") from error
    if answer.is_success:
        found: dict[str, Any] = answer.json()
        return found
    problem = f"{url} answered {answer.status_code}: {_detail(answer)}"
    raise NotDone(problem) if answer.is_server_error else WrongInput(problem)


def _detail(answer: Any) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return str(answer.text[:200])
