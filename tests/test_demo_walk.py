"""The walk of the demo's loop: ratings go through the database into exports, and the same rows judge every version."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from worker.cli.demo_walk import CYCLES, FIRST, INFLOW, LABELS

pytestmark = [pytest.mark.embedded, pytest.mark.faults, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def found() -> Iterator[dict[str, Any]]:
    home = Path(tempfile.mkdtemp(prefix="agw-", dir="/tmp"))
    home.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL", "STORE_URL")}
    tiny = (
        "--seeds",
        "1",
        "--webcams",
        "9",
        "--days",
        "10",
        "--cycles",
        "1",
        "--first",
        "24",
        "--inflow",
        "5",
        "--labels",
        "5",
    )
    done = subprocess.run(
        [sys.executable, "-m", "worker.cli.main", "demo-loop", *tiny, "--directory", str(home / "d"), "--json"],
        capture_output=True, text=True, cwd=ROOT, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    yield json.loads(done.stdout)["walk"]
    shutil.rmtree(home, ignore_errors=True)


def test_ratings_that_were_sent_are_the_labels_of_the_next_version(found: dict[str, Any]) -> None:
    versions = found["versions"]
    assert versions[0]["labels"] == FIRST
    for before, after in pairwise(versions):
        assert INFLOW < after["added"] <= INFLOW + LABELS
        assert after["labels"] == before["labels"] + after["added"]


def test_every_cycle_has_a_review_set_with_reasons(found: dict[str, Any]) -> None:
    assert len(found["versions"]) == 1 + CYCLES
    for version in found["versions"][1:]:
        assert version["review_set"]["frames"] >= version["added"] - INFLOW
        assert set(version["reasons"]) - {"as they come"}


def test_the_same_test_rows_judge_every_version_beside_a_baseline_and_the_gate_says_why(found: dict[str, Any]) -> None:
    assert len({(version["n"], version["n_groups"]) for version in found["versions"]}) == 1
    for version in found["versions"]:
        low, high = version["mae"]["interval"]
        assert low <= version["mae"]["value"] <= high < version["predict_the_mean"]["value"]
        assert version["model_version"] in version["reason"]
