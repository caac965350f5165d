"""Every command explains itself, and its examples can be typed as they stand."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from tests.worker.cli.conftest import Afterglow
from worker.cli.errors import MEANING
from worker.cli.main import app, with_common_options_first

ROOT_COMMAND: Any = typer.main.get_command(app)


def _commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    yield " ".join(words), group
    for name, command in getattr(group, "commands", {}).items():
        yield from _commands(command, (*words, name))


COMMANDS = dict(_commands(ROOT_COMMAND))


def _examples(command: Any) -> list[str]:
    _, _, after = (command.help or "").partition("Example")
    return re.findall(r"(?m)^(?:s?:\s+)?((?:[A-Z_]+=\S+ )*afterglow .+)$", after.replace(": afterglow", ":\nafterglow"))


def _parse(group: Any, name: str, words: list[str], parent: Any = None) -> str:
    """Parse a command line down to its last command, running nothing; returns the command's words."""
    with group.make_context(name, list(words), parent=parent) as context:
        rest = [*context._protected_args, *context.args]
        if not hasattr(group, "commands") or not rest:
            return name
        sub_name, command, others = group.resolve_command(context, rest)
        return f"{name} {_parse(command, sub_name, others, context)}"


@pytest.mark.parametrize("path", [path for path in COMMANDS if path])
def test_every_command_has_a_sentence_and_examples_that_parse_as_itself(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFTERGLOW_DATA_DIR", os.environ.get("AFTERGLOW_DATA_DIR", "var"))
    command = COMMANDS[path]
    first = command.help.split("\n\n")[0]
    assert first[0].isupper()
    assert first.rstrip().endswith(".")
    examples = _examples(command)
    assert examples, f"afterglow {path} has no example"
    for example in examples:
        words = [word for word in shlex.split(example) if not re.fullmatch(r"[A-Z_]+=.*", word)]
        parsed = _parse(ROOT_COMMAND, "afterglow", with_common_options_first(words[1:]))
        assert parsed.startswith(f"afterglow {path}"), example


@pytest.mark.parametrize("path", list(COMMANDS))
def test_every_option_and_argument_is_explained_and_says_its_default(path: str) -> None:
    for parameter in COMMANDS[path].params:
        if parameter.name in ("help", "install_completion", "show_completion"):
            continue
        assert parameter.help, f"afterglow {path}: {parameter.name}"
        assert parameter.help.endswith("."), f"afterglow {path}: {parameter.name}"
        is_flag = getattr(parameter, "is_bool_flag", False)
        if parameter.param_type_name == "option" and not parameter.required and not is_flag and not parameter.multiple:
            told = parameter.default is not None or re.search(r"(?i)default|only|kept with", parameter.help)
            assert told, f"afterglow {path}: {parameter.name} does not say what happens without it"


@pytest.mark.parametrize(
    "path", [path for path, command in COMMANDS.items() if path and not hasattr(command, "commands")]
)
def test_every_command_that_answers_can_answer_as_json(path: str) -> None:
    if path in ("up", "demo", "jobs watch"):  # they run or show things for as long as somebody looks
        return
    assert "--json" in [name for parameter in COMMANDS[path].params for name in parameter.opts]


def test_the_help_shows_groups_first_steps_and_every_exit_code(afterglow: Afterglow) -> None:
    said = afterglow("--help")
    assert said.code == 0
    for wanted in ("Run Afterglow", "From labels to models", "Use a model", "See what is going on", "First steps"):
        assert wanted in said.out
    for code, meaning in MEANING.items():
        assert re.search(rf"\b{int(code)}  {re.escape(meaning[:40])}", said.out)


def test_the_scopes_of_keys_are_explained() -> None:
    from db.tables.access import SCOPES

    for scope in SCOPES:
        assert f"`{scope}`" in COMMANDS["keys create"].help


@pytest.mark.parametrize(
    ("words", "near"), [(["trian"], "'train'"), (["jobs", "cancle", "3"], "'cancel'"), (["doktor"], "'doctor'")]
)
def test_an_unknown_command_suggests_the_nearest(afterglow: Afterglow, words: list[str], near: str) -> None:
    said = afterglow(*words)
    assert said.code == 2
    assert f"Did you mean {near}" in said.err
