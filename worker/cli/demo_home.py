"""Where a demo keeps its data: a directory of its own, emptied first."""

from __future__ import annotations

import shutil
from pathlib import Path

from db.settings import state_settings
from worker.cli.errors import WrongInput

_MARKER = ".afterglow-demo"


def fresh_home(directory: Path | None, name: str) -> Path:
    """An empty directory: `directory`, or else `name` in the data directory. What an earlier demo left is removed.

    Raises:
        WrongInput: It holds what no demo made.
    """
    home = (directory or state_settings().resolved_data_dir / name).resolve()
    if home.exists() and any(home.iterdir()) and not (home / _MARKER).exists():
        raise WrongInput(f"{home} is not empty and was not made by a demo: choose another --directory")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    (home / _MARKER).touch()
    return home
