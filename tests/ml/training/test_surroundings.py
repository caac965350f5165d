"""What is recorded of the code and the machine that trained."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ml.training import surroundings


def _git(root: Path, *words: str) -> str:
    named = ("-c", "user.name=t", "-c", "user.email=t@localhost")
    return subprocess.run(["git", "-C", str(root), *named, *words], check=True, capture_output=True, text=True).stdout


def test_a_changed_or_renamed_source_file_changes_the_hash_of_the_code(tmp_path: Path) -> None:
    def digest() -> str:
        surroundings.source_sha256.cache_clear()
        return surroundings.source_sha256(tmp_path)

    (tmp_path / "a.py").write_text("x = 1\n")
    first = digest()
    (tmp_path / "a.pyc").write_bytes(b"compiled")
    assert digest() == first
    (tmp_path / "a.py").write_text("x = 2\n")
    second = digest()
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert len({first, second, digest()}) == 3


def test_of_a_checkout_the_commit_is_recorded_and_whether_anything_differs_from_it(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-q", "-m", "first")
    commit = _git(tmp_path, "rev-parse", "HEAD").strip()
    assert surroundings._checkout(tmp_path) == {"commit": commit, "dirty": False}
    (tmp_path / "a.py").write_text("x = 2\n")
    assert surroundings._checkout(tmp_path) == {"commit": commit, "dirty": True}


def test_what_was_installed_has_no_commit_but_a_hash(tmp_path: Path) -> None:
    shutil.copytree(surroundings.PACKAGE, tmp_path / "ml", ignore=shutil.ignore_patterns("__pycache__"))
    assert surroundings._checkout(tmp_path) == {"commit": None, "dirty": None}
    assert surroundings.source_sha256(tmp_path / "ml") == surroundings.code()["source_sha256"]
