"""A whole Afterglow without its HTTP server: private Redis, a dispatcher and a Celery worker, as processes."""

from __future__ import annotations

import csv
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from db.engine import session_scope
from db.queries import jobs
from db.tables import Job
from ml.demo.sky import make_frames, make_webcams, render, to_jpeg
from ml.images.store import FileStore
from ml.training.recipe import Recipe, make_recipe, read_recipe_file
from tests.conftest import environment

DEBUG_RECIPE = Path(__file__).parents[2] / "ml" / "configs" / "debug.yaml"
TOY_DISTRIBUTION = {
    "METADATA": "Metadata-Version: 2.1\nName: afterglow-gloom\nVersion: 1.0\n",
    "entry_points.txt": "[afterglow.judgements]\ngloom = tests.toy.judgement:Gloom\n",
}


@dataclass(frozen=True)
class Running:
    """What a test needs of running services."""

    store: FileStore
    folder: Path

    def wait(self, job_id: int | None, timeout_s: float = 200.0) -> list[Job]:
        """The job and all that followed from it, in order, once the last has ended."""
        assert job_id is not None
        deadline = time.monotonic() + timeout_s
        done, waiting = [], [job_id]
        while waiting:
            with session_scope() as session:
                job = jobs.get_job(session, waiting[0])
                follow_ups = jobs.follow_up_jobs(session, waiting[0])
            if jobs.is_final(job.state):
                done.append(job)
                waiting = [*waiting[1:], *(one.id for one in follow_ups if one.id is not None)]
                continue
            assert time.monotonic() < deadline, f"job {job.id} is still {job.state}: {job.message}"
            time.sleep(0.1)
        return done


@pytest.fixture(scope="module")
def toy_kind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The kind `gloom`, installed as another distribution would be: an entry point on the path, nothing edited."""
    from ml.judgements import judgement

    site = tmp_path_factory.mktemp("site")
    info = site / "afterglow_gloom-1.0.dist-info"
    info.mkdir()
    for name, text in TOY_DISTRIBUTION.items():
        (info / name).write_text(text)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(site), *([before] if before else [])])
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()
    judgement.cache_clear()
    yield
    judgement.cache_clear()
    sys.path.remove(str(site))
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="module")
def running(
    database: str, store: FileStore, toy_kind: None, redis_url: str | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """Dispatcher and Celery worker over a private Redis or the one given, on the module's database."""
    from worker.services import running_jobs, running_services

    with ExitStack() as stack:
        if redis_url:
            stack.enter_context(environment(REDIS_URL=redis_url))
        services = stack.enter_context(running_services(jobs=True))
        if not services.runs_jobs:  # on services of somebody else, that is left to somebody else's workers
            stack.enter_context(running_jobs(services))
        yield Running(store, tmp_path_factory.mktemp("frames"))


@pytest.fixture(scope="module")
def write_labels() -> Callable[..., Path]:
    """A function that draws generated frames into a folder and writes the CSV of their ratings."""
    return write_generated_labels


def write_generated_labels(folder: Path, *, num_webcams: int = 12, num_days: int = 5, seed: int = 3) -> Path:
    """Draw GENERATED frames and one rating each: the planted beauty, rounded."""
    path = folder / "labels.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "webcam", "phase", "captured_at", "rating", "rater", "lng"])
        for number, frame in enumerate(make_frames(make_webcams(num_webcams, seed), num_days, seed, frames_per_day=1)):
            name = f"{number}.jpg"
            (folder / name).write_bytes(to_jpeg(render(frame, 96, 72)))
            rating = round(frame.beauty)
            writer.writerow(
                [name, frame.webcam.id, frame.phase, frame.captured_at.isoformat(), rating, "ann", frame.webcam.lng]
            )
    return path


def debug_recipe(**keys: Any) -> Recipe:
    """The recipe that trains in seconds."""
    return make_recipe(read_recipe_file(DEBUG_RECIPE), keys)
