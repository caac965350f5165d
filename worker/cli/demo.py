"""The demo: the whole cycle on GENERATED frames and simulated raters, over the same path that real data takes."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from db.settings import state_settings
from ml.demo.raters import make_raters, votes_for
from ml.demo.sky import Frame, make_frames, make_webcams
from ml.training.recipe import read_recipe_file
from worker.cli.data import count_lines
from worker.cli.demo_frames import draw_frames, frame_name, place_and_time, write_labels
from worker.cli.demo_home import fresh_home
from worker.cli.demo_server import DemoClient, DemoFailed, demo_client, start_up
from worker.cli.errors import explain
from worker.cli.models import print_report
from worker.cli.output import console, print_table
from worker.importers.snapshots import import_snapshots
from worker.places import file_store
from worker.services import running_services
from worker.up import choose_port

SEED = 20
MEAN_VOTES = 2.5
DEMO_RECIPE = Path(__file__).parents[2] / "ml" / "configs" / "demo.yaml"


@dataclass
class Steps:
    """Numbers the steps and times them."""

    number: int = 0
    started: float = 0.0

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step, announced before and timed after."""
        self.number += 1
        console.print(f"[bold]{self.number}. {title}[/bold]")
        start = time.monotonic()
        yield
        console.print(f"   [dim]{time.monotonic() - start:.1f} s[/dim]")


def run_demo(directory: Path | None, *, num_webcams: int, num_days: int) -> int:
    """Run the demo from nothing to a scored frame; returns the exit code."""
    home = fresh_home(directory, "demo")
    os.environ["AFTERGLOW_DATA_DIR"] = str(home / "data")
    state_settings.cache_clear()
    console.print(
        "Everything below is GENERATED: frames are drawn, raters are simulated. The figures say that the cycle works, "
        "not how good a model of real sunsets is.\n"
    )
    began = time.monotonic()
    try:
        _cycle(home, Steps(), num_webcams, num_days)
    except DemoFailed as error:
        console.print(f"the demo failed: {error}")
        return 1
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        console.print(f"the demo failed: {message}")
        return 1
    console.print(
        f"done in {time.monotonic() - began:.0f} s; the data is in {home}, `afterglow --data-dir {home / 'data'} up` serves it"
    )
    return 0


def _cycle(home: Path, steps: Steps, num_webcams: int, num_days: int) -> None:
    with steps.step(f"Generate {num_webcams} webcams over {num_days} days, and simulated raters with bias and noise"):
        frames = make_frames(make_webcams(num_webcams, SEED), num_days + 1, SEED, frames_per_day=1)
        last_day = max(frame.captured_at for frame in frames) - timedelta(days=1)
        today = [frame for frame in frames if frame.captured_at > last_day]
        draw_frames(home / "frames", frames)
        table = _write_labels(home, [frame for frame in frames if frame not in today])
    port = choose_port("127.0.0.1", None)
    with steps.step(f"Start Postgres, Redis, server, workers and clock on port {port}"):
        up = start_up(home, port)
    try:
        with running_services(), demo_client(port) as client:
            with steps.step("Import the frames and their ratings"):
                report = import_snapshots(table, home / "frames", file_store())
                console.print(f"   {report.imported} rows imported, {len(report.refused)} refused, "
                              f"{report.webcams_added} webcams, {report.ratings_added} ratings")  # fmt: skip
                again = import_snapshots(table, home / "frames", file_store())
                console.print(f"   imported once more: {again.imported} new, {again.known} already known")
            tested = _learn(client, steps)
            _use(client, steps, home, [frame for frame in frames if frame_name(frame) in tested], today)
    finally:
        up.terminate()
        up.wait(timeout=60)


def _learn(client: DemoClient, steps: Steps) -> set[str]:
    """Export, train, evaluate and promote; returns the names of the frames in the test split."""
    with steps.step("Export a dataset (job)"):
        job = client.follow(client.post("/v1/datasets", {"kind": "rating"})["id"])
        dataset = client.get(f"/v1/datasets/{job['result']['dataset_id']}")
        for line in count_lines(dataset["counts"]):
            console.print(f"   {line}")
    with steps.step("Train, export to ONNX, register and evaluate (jobs on a Celery worker)"):
        recipe = read_recipe_file(DEMO_RECIPE)
        answer = client.post("/v1/training-runs", {"kind": "rating", "recipe": recipe, "dataset_id": dataset["id"]})
        client.follow(answer["job"]["id"])
        version = answer["run"]["model_version"]
    report = client.get(f"/v1/models/{version}/evaluation")["report"]
    console.print()
    print_report(report)
    with steps.step(f"Promote {version}"):
        verdict = client.post(f"/v1/models/{version}/promote", {})
        console.print(f"   {verdict['verdict']['sentence']}")
        client.wait_until_served(version)
    manifest = client.get_text(f"/v1/datasets/{dataset['id']}/manifests/test.csv")
    return {row["image_path_or_url"] for row in csv.DictReader(io.StringIO(manifest))}


def _use(client: DemoClient, steps: Steps, home: Path, tested: list[Frame], today: list[Frame]) -> None:
    with steps.step(f"Score {len(today)} new frames and {len(tested)} of the test split over HTTP"):
        answers = [_score(client, home, frame) for frame in today]
        _say_scored("new", answers)
        _say_scored("test", [_score(client, home, frame) for frame in tested])
    with steps.step("Where model and people disagree most, on test rows"):
        _show_disagreements(client)
    console.print("One scored frame, as curl shows it:")
    best = max(range(len(today)), key=lambda number: answers[number]["aiRating"])
    frame = today[best]
    console.print(
        f"  curl -X POST '{client.address}/v1/score?{urlencode(place_and_time(frame))}' "
        f"-H 'Authorization: Bearer ag_...' --data-binary @{frame_name(frame)}",
        style="dim",
    )
    print(json.dumps(answers[best], indent=2))


def _say_scored(which: str, answers: list[Any]) -> None:
    by_path = Counter(answer["pathTaken"] for answer in answers)
    by_verdict = Counter(answer["capture"]["reason"] for answer in answers)
    console.print(
        f"   {which}: "
        + ", ".join(f"{n} {path}" for path, n in by_path.items())
        + "; the gate said "
        + ", ".join(f"{n} {verdict}" for verdict, n in sorted(by_verdict.items()))
    )


def _write_labels(home: Path, frames: list[Frame]) -> Path:
    """Let the raters vote, and write the CSV that an import takes."""
    raters = make_raters(6, SEED)
    table = home / "generated_labels.csv"
    votes = votes_for(frames, raters, MEAN_VOTES, SEED)
    write_labels(table, ((frames[index], rater, rating) for index, rater, rating in votes))
    console.print(f"   {len(frames)} rated frames; raters: " + ", ".join(
        f"{r.name} (bias {r.bias:+.2f}, noise {r.noise_sd:.2f})" for r in raters
    ))  # fmt: skip
    return table


def _score(client: DemoClient, home: Path, frame: Frame) -> Any:
    picture = (home / "frames" / frame_name(frame)).read_bytes()
    return client.post_picture("/v1/score", place_and_time(frame), picture)


def _show_disagreements(client: DemoClient) -> None:
    """Rated snapshots on which the model's score and the people's mean are farthest apart."""
    rows: list[dict[str, Any]] = []
    where: str | None = ""
    while where is not None:
        page = client.get(f"/v1/snapshots?rated=true&limit=200{where}")
        rows += [row for row in page["items"] if row["ai_rating"] is not None and row["calculated_rating"] is not None]
        where = None if page["next_cursor"] is None else f"&cursor={page['next_cursor']}"
    if rows:
        console.print(f"   the five farthest apart of {len(rows)}, on the scale 0..5:")
    rows.sort(key=lambda row: -abs(row["ai_rating"] - row["calculated_rating"]))
    if not rows:
        console.print("   none of the scored frames has ratings yet")
        return
    print_table(
        ("snapshot", "webcam", "people", "model", "apart"),
        [(r["id"], r["webcam_id"], f"{r['calculated_rating']:.2f}", f"{r['ai_rating']:.2f}",
          f"{abs(r['ai_rating'] - r['calculated_rating']):.2f}") for r in rows[:5]],
    )  # fmt: skip
