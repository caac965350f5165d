"""Settings: those that cannot be used, and variables that nobody reads, which are most likely typos."""

from __future__ import annotations

import difflib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worker.cli.checks.finding import Finding, Place, ok, problem, unknown, warning

PREFIXES = ("AFTERGLOW_", "AI_")
TEST_PREFIX = "AFTERGLOW_TEST_"
API_PROBE = """
import json
from pydantic import ValidationError
from api.settings import ApiSettings
names = [str(field.validation_alias) for field in ApiSettings.model_fields.values()]
try:
    ApiSettings()
    wrong = []
except ValidationError as error:
    wrong = [[".".join(map(str, e["loc"])), e["msg"]] for e in error.errors(include_input=False, include_url=False)]
print(json.dumps({"names": names, "wrong": wrong}))
"""
"""Asks the server's settings in a process of their own, since `worker` never imports the door."""


def check_settings(_place: Place) -> Iterator[Finding]:
    """Every setting of the environment and of `.env`."""
    names, wrong = _own_settings()
    found = _server_settings()
    if found is None:
        yield unknown("server settings", "The settings of the HTTP server cannot be read here.")
    else:
        names |= set(found["names"])
        wrong |= dict(found["wrong"])
    for name, message in sorted(wrong.items()):
        yield problem(
            "settings", f"{name} cannot be used: {message}.", f"mend it, or unset {name}; .env.example names all"
        )
    given = {**_env_file(Path(".env")), **os.environ}
    unread = [
        name for name in sorted(given)
        if name.startswith(PREFIXES) and name not in names
        and not name.startswith(TEST_PREFIX)
    ]  # fmt: skip
    for name in unread if found is not None else []:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        yield warning("settings", f"Nothing reads {name}.{hint}", f"unset {name}")
    if not wrong and not unread:
        used = sorted(name for name in names if given.get(name))
        yield ok("settings", f"Set: {', '.join(used)}." if used else "None is set; the defaults hold.")


def _own_settings() -> tuple[set[str], dict[str, str]]:
    from pydantic import ValidationError

    from db.settings import StateSettings
    from worker.settings import ServingSettings, TerminalSettings, WorkerSettings

    names: set[str] = set()
    wrong: dict[str, str] = {}
    for cls in (StateSettings, WorkerSettings, ServingSettings, TerminalSettings):
        names |= {str(field.validation_alias) for field in cls.model_fields.values()}
        try:
            cls()
        except ValidationError as error:
            wrong |= {
                ".".join(str(part) for part in each["loc"]): each["msg"]
                for each in error.errors(include_input=False, include_url=False)
            }
    return names, wrong


def _server_settings() -> dict[str, Any] | None:
    try:
        done = subprocess.run(
            [sys.executable, "-c", API_PROBE], check=False, capture_output=True, text=True, timeout=60
        )
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError, subprocess.TimeoutExpired):
        return None
    return answer


def _env_file(path: Path) -> dict[str, str]:
    from dotenv import dotenv_values

    return {name: value or "" for name, value in dotenv_values(path).items()} if path.is_file() else {}
