"""Documents that must agree with the code."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from api.settings import ApiSettings
from db.settings import StateSettings
from ml.training.recipe import Recipe
from worker.settings import ServingSettings, WorkerSettings

ROOT = Path(__file__).parents[1]
SETTINGS: tuple[type[BaseSettings], ...] = (StateSettings, WorkerSettings, ServingSettings, ApiSettings)


def _docstrings(cls: type) -> dict[str, str]:
    """Field -> the sentence under it, on one line."""
    (tree,) = ast.parse(inspect.cleandoc("\n" + inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert isinstance(after, ast.Expr), f"{cls.__name__}.{field.target.id} has no sentence under it"
            assert isinstance(after.value, ast.Constant)
            found[field.target.id] = " ".join(str(after.value.value).split())
    return found


def _expected() -> Iterator[tuple[str, str, str]]:
    for cls in SETTINGS:
        sentences = _docstrings(cls)
        for name in sentences:
            field = cls.model_fields[name]
            default = "" if field.default in (None, PydanticUndefined) else str(field.default)
            yield str(field.validation_alias), default, sentences[name]


def _written() -> list[tuple[str, str, str]]:
    found, comment = [], []
    for line in (ROOT / ".env.example").read_text().splitlines():
        if line.startswith("# "):
            comment.append(line[2:])
        elif match := re.fullmatch(r"([A-Z0-9_]+)=(.*)", line):
            found.append((match[1], match[2], " ".join(comment)))
            comment = []
        else:
            comment = []
    return found


def test_env_example_names_every_setting_with_its_default_and_its_sentence() -> None:
    assert _written() == list(_expected())


def test_every_recipe_key_has_a_sentence() -> None:
    assert set(_docstrings(Recipe)) == set(Recipe.model_fields)


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_readme_names_targets_that_exist(target: str) -> None:
    assert f"make {target}" in (ROOT / "README.md").read_text()
    assert re.search(rf"^{target}:.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_word_of_the_readmes_commands_is_a_command() -> None:
    import typer

    from worker.cli.main import app

    group = typer.main.get_command(app)
    commands = set(group.commands)  # type: ignore[attr-defined]
    named = set(re.findall(r"^ {4}afterglow ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert named
    assert named <= commands


def test_links_between_documents_lead_somewhere() -> None:
    for document in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")):
        for link in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if not link.startswith("http"):
                assert (document.parent / link).exists(), f"{document.name} links to {link}"


def test_the_repository_speaks_of_the_product_alone() -> None:
    """No path of a machine, and no status or dates in code."""
    pattern = re.compile(r"(?<![\w.])/(?:work|root|home/\w+)/|\bTODO\b|\bFIXME\b")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()[:100]}"
        for package in ("api", "db", "ml", "worker", "alembic", "docs")
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".md", ".yaml", ".html", ".js")
        for line in path.read_text().splitlines()
        if pattern.search(line)
    ]
    assert found == []
