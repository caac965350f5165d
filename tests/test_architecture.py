"""The plan of the house, checked in fresh processes and on the tree."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ml.judgements import ENTRY_POINT_GROUP, kinds

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "torchvision", "open_clip", "celery", "kombu", "sklearn", "matplotlib", "onnxscript")


def _loaded_by(statement: str) -> set[str]:
    """Top-level names of all modules that a fresh interpreter has loaded after `statement`."""
    code = f"import sys\n{statement}\nprint(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import api.main",
        *(f"from ml.judgements import judgement; judgement({kind!r})" for kind in kinds()),
        "import ml.inference, ml.bundle, ml.training.recipe",
        "import worker.queue, worker.stages.score, worker.stages.capture, worker.stages.promote",
    ],
)
def test_what_answers_requests_loads_neither_torch_nor_celery(statement: str) -> None:
    assert not _loaded_by(statement) & set(HEAVY)


@pytest.mark.parametrize("package", ["api", "db", "ml", "worker"])
def test_packages_come_from_this_repository(package: str) -> None:
    assert Path(str(importlib.import_module(package).__file__)).is_relative_to(ROOT)


@pytest.mark.parametrize("name", ["alembic", "docker"])
def test_folders_named_like_installed_packages_do_not_shadow_them(name: str) -> None:
    assert not (ROOT / name / "__init__.py").exists()


def test_alembic_is_the_installed_one() -> None:
    import alembic

    assert not Path(str(alembic.__file__)).is_relative_to(ROOT / "alembic")


def test_no_other_file_than_a_judgement_compares_the_name_of_a_kind() -> None:
    pattern = re.compile(rf"""(==|!=|\bin\b)\s*\(?["'](?:{"|".join(kinds())})["']""")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for package in ("api", "db", "ml", "worker")
        for path in (ROOT / package).rglob("*.py")
        if "judgements" not in path.parts
        for line in path.read_text().splitlines()
        if pattern.search(line) and "kind" in line
    ]
    assert found == []


def test_only_the_engine_commits() -> None:
    committing = {
        str(path.relative_to(ROOT))
        for package in ("api", "db", "ml", "worker")
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"\bsession\.commit\(\)", path.read_text())
    }
    assert committing == {"db/engine.py"}


def test_every_test_folder_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_entry_points_add_kinds_without_touching_the_registry() -> None:
    assert ENTRY_POINT_GROUP == "afterglow.judgements"
    assert "rating" in kinds()
