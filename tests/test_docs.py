"""Documents that must agree with the code."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from ml.training.recipe import Recipe
from tests.make_reference import ROOT, docstrings, files


@pytest.mark.parametrize(("path", "content"), [pytest.param(*each, id=each[0].name) for each in files().items()])
def test_every_setting_command_and_route_is_documented_as_the_code_has_it(path: Path, content: str) -> None:
    assert path.read_text() == content, "run `python -m tests.make_reference`"


def test_every_recipe_key_has_a_sentence() -> None:
    assert set(docstrings(Recipe)) == set(Recipe.model_fields)


@pytest.mark.parametrize("target", ["demo", "demo-loop", "test"])
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
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    pattern = re.compile(r"(?<![\w.])/(?:work|root|home/\w+)/|\bTODO\b|\bFIXME\b")
    found = []
    for name in names.split("\0")[:-1]:
        try:
            lines = (ROOT / name).read_text().splitlines()
        except (UnicodeDecodeError, FileNotFoundError):  # a picture, a model; removed and not yet committed
            continue
        found += [f"{name}: {line.strip()[:100]}" for line in lines if pattern.search(line)]
    assert found == []
