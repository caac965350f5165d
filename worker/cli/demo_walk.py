"""One small GENERATED world walked through the real stages: labels flow through a server, its workers and its database.

What `ml.demo.loop` does by functions happens here by requests: frames and first ratings are imported, versions are made by
retrain cycles, the review set of the newest is asked for and answered, and the answers are in the next export. The same test
rows judge every version, and nobody answers about them.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ml.demo.loop_labels import AS_THEY_COME, DRAWN, KIND, Way, manifest_rows
from ml.demo.world import NUM_RATERS, Vote, World, make_world
from worker.cli.demo_frames import draw_frames, write_labels
from worker.cli.demo_server import DemoClient, DemoFailed, demo_client, start_up
from worker.cli.output import remarks
from worker.importers.snapshots import import_snapshots
from worker.places import file_store
from worker.services import running_services
from worker.stages.export_dataset import SALT
from worker.up import choose_port

SEED = 100
WEBCAMS, DAYS, CYCLES = 24, 14, 2
FIRST, INFLOW, LABELS = 80, 20, 20
"""Ratings of the first version, ratings that come in before each cycle, and ratings that each asks for at most."""
RECIPE = {"backbone": "handmade", "seed": 0, "evaluation": "test"}


@dataclass
class Walk:
    """A world, and how far it is gone through."""

    client: DemoClient
    world: World
    ids: dict[int, int]
    """Number of a snapshot in the world -> its id in the database."""
    way: Way
    test_sha256: str = ""
    """Of the test rows of every export."""

    def rate_test_rows(self) -> None:
        """Send the ratings of everybody on every test frame."""
        for each in self.world.test:
            for vote in self.world.votes(each.snapshot_id, NUM_RATERS):
                self._send(each.snapshot_id, vote)

    def rate(self, number: int, reason: str) -> None:
        """Send the next rating of a snapshot of the pool."""
        self.way.ask(number, reason)
        self._send(number, self.world.votes(number, self.way.given[number])[-1])

    def retrain(self, number: int, review_set: dict[str, int] | None = None) -> dict[str, Any]:
        """A retrain cycle from the labels as they are now; what its version cost and reached."""
        first = self.client.post(
            "/v1/retrain", {"kind": KIND, "recipe": RECIPE, "notes": f"generated, version {number}"}
        )["id"]
        self.client.follow(first)
        cycle = self.client.get(f"/v1/retrain/{first}")
        self._check_rows(cycle["dataset_id"])
        report = self.client.get(f"/v1/models/{cycle['model_version']}/evaluation")["report"]
        return {
            "version": number,
            "model_version": cycle["model_version"],
            "labels": self.way.given.total(),
            "review_set": review_set,
            **{name: value for name, value in self.way.told().items() if name != "asked"},
            "promoted": cycle["state"] == "promoted",
            "reason": cycle["reason"],
            **_reached(report),
        }

    def answer_review_set(self, version: str) -> dict[str, int]:
        """Have the review set of a version found (a job), and rate its frames in its order as far as the ratings go.

        Frames of test rows are left unanswered. Returns how many frames it has, and how many of them are test rows.
        """
        asked = {"kind": KIND, "model_version": version, "seed": SEED}
        found = self.client.follow(self.client.post("/v1/disagreements", asked)["id"])["result"]
        rows = list(_all(self.client, "/v1/disagreements", f"&review_set_id={found['review_set_id']}"))
        wanted = sorted((row["id"], row["snapshot_id"], row["reasons"][0]) for row in rows)
        numbers = {snapshot_id: number for number, snapshot_id in self.ids.items()}
        test = {each.snapshot_id for each in self.world.test}
        chosen = [(numbers[snapshot_id], reason) for _, snapshot_id, reason in wanted]
        for number, reason in [each for each in chosen if each[0] not in test][:LABELS]:
            if self.way.given[number] < NUM_RATERS:
                self.rate(number, reason)
        return {"frames": len(chosen), "of_test_rows": sum(number in test for number, _ in chosen)}

    def _send(self, number: int, vote: Vote) -> None:
        rater, stars = vote
        verdict: dict[str, Any] = {"rating": stars} if stars else {"is_sunset": False}
        body = {"rater": rater, "label_source": "generated", **verdict}
        self.client.post(f"/v1/snapshots/{self.ids[number]}/ratings", body)

    def _check_rows(self, dataset_id: int) -> None:
        """An export holds exactly the ratings that were sent, in the splits of the world, and its test rows have not changed.

        Raises:
            DemoFailed: It holds others, or they have.
        """
        text = self.client.get_text(f"/v1/datasets/{dataset_id}/manifests/full.csv")
        found = {
            (int(row["snapshot_id"]), float(row["label_value"]), int(row["rating_count"]), row["split"])
            for row in csv.DictReader(io.StringIO(text))
        }
        wanted = {
            (self.ids[row.snapshot_id], row.label_value, row.rating_count, row.split)
            for row in manifest_rows(self.world, self.way.given)
        }
        if found != wanted:
            raise DemoFailed(
                f"dataset {dataset_id} has {len(found - wanted)} rows that nobody sent, and lacks {len(wanted - found)}"
            )
        test = self.client.get_text(f"/v1/datasets/{dataset_id}/manifests/test.csv")
        digest = hashlib.sha256(test.encode()).hexdigest()
        if self.test_sha256 not in ("", digest):
            raise DemoFailed(f"the test rows of dataset {dataset_id} are not those of the datasets before")
        self.test_sha256 = digest


def _reached(report: dict[str, Any]) -> dict[str, Any]:
    """The error on all test rows beside the mean's, and precision and recall on the report's main rows."""
    table, achieved = report["subsets"]["test"], report["threshold_achieved"]
    rows = {row["name"] if row["role"] == "baseline" else row["role"]: row for row in table["rows"]}
    return {
        "n": table["n"],
        "n_groups": table["n_groups"],
        **{name: {"value": row["metrics"]["mae"], "interval": row["intervals"]["mae"]}
           for name, row in (("mae", rows["model"]), ("predict_the_mean", rows["predict the mean"]))},
        "threshold_rows": achieved["subset"],
        "precision": achieved["precision"],
        "recall": achieved["recall"],
    }  # fmt: skip


def walk(home: Path) -> dict[str, Any]:
    """Go through the world with a server of its own under `home`; returns what each version cost and reached.

    Raises:
        DemoFailed: A step did not do what it must.
    """
    world = make_world(SEED, WEBCAMS, DAYS)
    draw_frames(home / "frames", (each.frame for each in world.snapshots))
    table = home / "generated_frames.csv"
    write_labels(table, ((each.frame, "", None) for each in world.snapshots))
    port = choose_port("127.0.0.1", None)
    up = start_up(home, port)
    try:
        with running_services(), demo_client(port, remarks) as client:
            import_snapshots(table, home / "frames", file_store())
            versions = _go(_begun(client))
    finally:
        up.terminate()
        up.wait(timeout=60)
    return {"generated": True, "seed": SEED, "webcams": WEBCAMS, "days": DAYS, "versions": versions}


def _begun(client: DemoClient) -> Walk:
    """The world with the ids and so the splits of the database, and with its first ratings."""
    webcam_ids = {row["external_id"]: row["id"] for row in _all(client, "/v1/webcams")}
    world = make_world(SEED, WEBCAMS, DAYS, SALT, webcam_ids)
    there = {(row["webcam_id"], datetime.fromisoformat(row["captured_at"])): row["id"]
             for row in _all(client, "/v1/snapshots")}  # fmt: skip
    ids = {each.snapshot_id: there[each.webcam_id, each.captured_at] for each in world.snapshots}
    here = Walk(client, world, ids, Way(Counter()))
    here.rate_test_rows()
    for number in here.way.next_of(world.order, FIRST):
        here.rate(number, DRAWN)
    return here


def _go(here: Walk) -> list[dict[str, Any]]:
    versions = [here.retrain(0)]
    for cycle in range(1, CYCLES + 1):
        for number in here.way.next_of(here.world.order, INFLOW):
            here.rate(number, AS_THEY_COME)
        answered = here.answer_review_set(versions[-1]["model_version"])
        versions.append(here.retrain(cycle, answered))
    return versions


def _all(client: DemoClient, path: str, query: str = "") -> Iterator[Any]:
    """The items of every page of a list."""
    where: str | None = ""
    while where is not None:
        page = client.get(f"{path}?limit=200{query}{where}")
        yield from page["items"]
        where = None if page["next_cursor"] is None else f"&cursor={page['next_cursor']}"
