"""Tests of the private Postgres start from one cluster: making one takes longer than copying it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from db.embedded import EmbeddedPostgres


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A data directory with a cluster that does not run."""
    directory = Path(tempfile.mkdtemp(prefix="ag-", dir="/tmp"))
    directory.chmod(0o755)
    with EmbeddedPostgres(directory):
        pass
    yield directory
    shutil.rmtree(directory)


def start_from(made: Path, data_dir: Path) -> EmbeddedPostgres:
    """A server on a copy of the cluster of `made`, which takes less time than to make one."""
    subprocess.run(["cp", "-a", str(made / "postgres"), str(made / "postgres.password"), str(data_dir)], check=True)
    return EmbeddedPostgres(data_dir)


def run_sql(url: str, sql: str) -> list[tuple[Any, ...]]:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            result = connection.execute(text(sql))
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        engine.dispose()
