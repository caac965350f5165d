"""The demo takes the path that real data takes: over HTTP with a key, and on Celery workers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from db.embedded import EmbeddedPostgres
from db.engine import sqlalchemy_url

pytestmark = pytest.mark.embedded
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Demo:
    """What a demo printed, and what it left behind."""

    output: str
    requests: Counter[tuple[str, str, int]]
    """(method, route without numbers, status) -> how often, from the server's access log."""
    events: int
    """Rows in `scoring_events`."""
    workers: list[str]
    """Who started each job."""


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    home = Path(tempfile.mkdtemp(prefix="agd-", dir="/tmp"))
    home.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL", "STORE_URL")}
    done = subprocess.run(
        [sys.executable, "-m", "worker.cli.main", "demo", "--directory", str(home / "d"), "--webcams", "16", "--days", "8"],
        capture_output=True, text=True, cwd=ROOT, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    requests: Counter[tuple[str, str, int]] = Counter()
    for line in (home / "d" / "data" / "logs" / "api.log").read_text().splitlines():
        if line.startswith("{") and (entry := json.loads(line)).get("event") == "request":
            requests[entry["method"], re.sub(r"\d+", "N", entry["path"]), entry["status"]] += 1
    with EmbeddedPostgres(home / "d" / "data") as postgres:
        engine = create_engine(sqlalchemy_url(postgres.url))
        with engine.connect() as connection:
            events = connection.execute(text("SELECT count(*) FROM scoring_events")).scalar_one()
            workers = connection.execute(text("SELECT worker FROM job_events WHERE event = 'started'")).scalars().all()
        engine.dispose()
    yield Demo(done.stdout, requests, events, [str(worker) for worker in workers])
    shutil.rmtree(home, ignore_errors=True)


def test_every_score_went_over_http_and_left_its_event(demo: Demo) -> None:
    said = re.search(r"Score (\d+) new frames and (\d+) of the test split over HTTP", demo.output)
    assert said is not None
    expected = int(said[1]) + int(said[2])
    assert int(said[1]) > 10
    assert int(said[2]) > 10
    assert demo.requests["POST", "/vN/score", 200] == expected
    assert demo.events == expected


def test_dataset_training_and_promotion_went_over_http(demo: Demo) -> None:
    assert demo.requests["POST", "/vN/datasets", 202] == 1
    assert demo.requests["POST", "/vN/training-runs", 202] == 1
    assert sum(n for (method, path, status), n in demo.requests.items() if path.endswith("/promote")) == 1


def test_every_job_ran_on_a_celery_worker(demo: Demo) -> None:
    assert len(demo.workers) == 4
    assert all(worker.startswith("celery:") for worker in demo.workers)


def test_it_says_that_its_data_is_generated_and_shows_the_model_beside_its_baselines(demo: Demo) -> None:
    assert "GENERATED" in demo.output.splitlines()[0]
    assert re.search(r"n = \d+ in \d+ groups, 95 % intervals by group", demo.output)
    assert re.search(r"^predict the mean +\d", demo.output, re.MULTILINE)
    assert "it is better than all that is simpler, the hardest of which is" in demo.output
    assert '"pathTaken": "onnx"' in demo.output
