"""Writes what can be derived from the code: docs/reference/commands.md, docs/reference/routes.md and .env.example.

Run `python -m tests.make_reference` after a change of a command, a route or a setting; a test compares.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from api.main import app as http_app
from api.settings import ApiSettings
from db.settings import StateSettings
from worker.cli.main import app as command_app
from worker.settings import ServingSettings, TerminalSettings, WorkerSettings

ROOT = Path(__file__).parents[1]
SETTINGS: dict[str, type[BaseSettings]] = {
    "db: where the state is": StateSettings,
    "worker: jobs and how they are run": WorkerSettings,
    "worker and api: what is served": ServingSettings,
    "api: the HTTP server": ApiSettings,
    "worker/cli: the command line, from the environment only": TerminalSettings,
}
"""Heading in .env.example -> the settings under it."""


def docstrings(cls: type) -> dict[str, str]:
    """Field -> the sentence under it, on one line. Raises AssertionError for a field without one."""
    (tree,) = ast.parse(inspect.cleandoc("\n" + inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, after in zip(tree.body, [*tree.body[1:], ast.Pass()], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            says = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            assert says, f"{cls.__name__}.{field.target.id} has no sentence under it"
            found[field.target.id] = " ".join(str(after.value.value).split())  # type: ignore[attr-defined]
    return found


def settings_lines() -> Iterator[str]:
    """The lines of .env.example."""
    yield "# Every setting, with its default. An empty value means the default that the sentence names."
    yield "# Copy to .env in the directory where Afterglow is started, or set them in the environment."
    for heading, cls in SETTINGS.items():
        yield from ("", f"## {heading}")
        for name, sentence in docstrings(cls).items():
            field = cls.model_fields[name]
            default = "" if field.default in (None, PydanticUndefined) else str(field.default)
            yield ""
            yield from textwrap.wrap(sentence, 110, initial_indent="# ", subsequent_indent="# ")
            yield f"{field.validation_alias}={default}"


def _commands(group: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if getattr(command, "hidden", False):
            continue
        if hasattr(command, "commands"):
            if command.invoke_without_command:
                yield (*words, name), command
            yield from _commands(command, (*words, name))
        else:
            yield (*words, name), command


def commands_lines() -> Iterator[str]:
    """The lines of docs/reference/commands.md."""
    yield from ("# Commands", "", "Written from the code; `afterglow COMMAND --help` says more, with examples.", "")
    yield "`--data-dir DIR` may stand anywhere in the line. `--help` and `--json` are not repeated below."
    for words, command in _commands(typer.main.get_command(command_app), ("afterglow",)):
        arguments = [each for each in command.params if each.param_type_name == "argument"]
        options = [
            each for each in command.params if each.param_type_name == "option" and each.name not in ("help", "as_json")
        ]
        names = "".join(f" {each.metavar or str(each.name).upper()}" for each in arguments)
        yield from ("", f"## `{' '.join(words)}{names}`", "")
        yield from textwrap.wrap(" ".join((command.help or "").split("\n\n")[0].split()), 118)
        if options:
            yield ""
        for each in options:
            said = " ".join((each.help or "").split())
            yield from textwrap.wrap(f"- `{each.opts[0]}`: {said}", 118, subsequent_indent="  ")


def routes_lines() -> Iterator[str]:
    """The lines of docs/reference/routes.md."""
    yield from ("# Routes", "", "Written from the code; `/docs` of the running server has examples to try.", "")
    yield from ("| route | scope of the key | what it does |", "|---|---|---|")
    content = http_app.openapi()
    for path, methods in content["paths"].items():
        for method, about in methods.items():
            yield f"| `{method.upper()} {path}` | {_scope(about)} | {about['summary']} |"


def _scope(operation: dict[str, Any]) -> str:
    """What a key needs for an operation, by its description."""
    needs = [f"`{scope}`" for each in operation.get("security", ()) for scopes in each.values() for scope in scopes]
    return ", ".join(needs) or ("any key" if "security" in operation else "none: open")


def files() -> dict[Path, str]:
    """Every derived file with its content."""
    return {
        ROOT / ".env.example": "\n".join(settings_lines()) + "\n",
        ROOT / "docs/reference/commands.md": "\n".join(commands_lines()) + "\n",
        ROOT / "docs/reference/routes.md": "\n".join(routes_lines()) + "\n",
    }


def main() -> None:
    """Write them."""
    for path, content in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
