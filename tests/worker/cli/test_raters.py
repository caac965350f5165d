"""The table of raters by command and over HTTP: vandals are listed with the models that their labels reached."""

from __future__ import annotations

from datetime import timedelta

import httpx
import numpy as np
import pytest
from sqlalchemy import text

from db.engine import session_scope
from db.queries import exclusions, labels
from db.queries.exclusions import Subject
from ml.demo.raters import Rater, make_raters, rate, votes_for
from ml.demo.sky import make_frames, make_webcams
from ml.export_dataset import Gates
from ml.images.store import FileStore
from tests.builders import make_snapshot, make_webcam
from tests.tiny_model import BRIGHT, activate, register_bundle
from tests.worker.cli.conftest import Afterglow
from worker.stages.export_dataset import export_now
from worker.stages.train import _write_provenance  # the very rows that a training writes
from worker.verified import dataset_rows

NUM_FRAMES, NUM_HONEST = 160, 5


@pytest.fixture(scope="module")
def world(database: str, store: FileStore) -> dict[str, object]:
    """Frames rated by five honest raters, one who rates at random and one who inverts; a version that used it all."""
    frames = make_frames(make_webcams(16, 4), 5, 4)[:NUM_FRAMES]
    rng, sober = np.random.default_rng(4), Rater("sober", 0.0, 0.4, 1)
    votes = votes_for(frames, make_raters(NUM_HONEST, 4), 3.0, 4)
    for place, frame in enumerate(frames):
        seen = rate(sober, frame, rng)
        if place % 3 != 1:
            votes.append((place, "random", int(rng.integers(1, 6))))
        if place % 3 == 1:
            votes.append((place, "inverts it's", 6 - seen if seen else 5))
    with session_scope() as session:
        webcams = [make_webcam(session) for _ in range(16)]
        shots = [make_snapshot(session, webcams[place % 16]) for place in range(len(frames))]
        for place, rater, stars in votes:
            labels.rate_snapshot(session, snapshot_id=shots[place].id, rater=rater, rating=stars or None,
                                 is_sunset=stars > 0, label_source="human")  # type: ignore[arg-type]  # fmt: skip
        labels.rate_snapshot(session, snapshot_id=shots[0].id, rater="guest", rating=3, is_sunset=True,
                             label_source="human")  # type: ignore[arg-type]  # fmt: skip
    dataset = export_now("rating", "regression", Gates())
    rows = [row for row in dataset_rows(store, dataset) if row.split is not None]
    with session_scope() as session:
        version = register_bundle(session, store, BRIGHT)
        activate(session, version)
        _write_provenance(session, version.training_run_id, rows, dataset.as_of)
    counts = {name: sum(who == name for _, who, _ in votes) for name in ("random", "inverts it's")}
    return {"version": version.model_version, "counts": counts, "shot": shots[0].id, "dataset": dataset}


def test_vandals_are_listed_with_the_models_they_reached_and_nobody_else(world: dict, afterglow: Afterglow) -> None:  # type: ignore[type-arg]
    said = afterglow("raters", "--json")
    assert said.code == 0, said.err
    found = {each["rater"]: each for each in said.json["raters"]}
    assert len(found) == NUM_HONEST + 3
    assert {name for name, each in found.items() if each["state"] == "doubtful"} == set(world["counts"])
    for name, num in world["counts"].items():
        (use,) = found[name]["models"]
        assert (use["model_version"], use["active"], use["rows"]) == (world["version"], True, num)
        assert found[name]["exclude_with"].startswith("afterglow exclude rater ")
    honest = found["generated-rater-1"]
    assert (honest["state"], honest["models"], honest["exclude_with"]) == ("sound", None, None)
    assert honest["bias"]["low"] < honest["bias"]["value"] < honest["bias"]["high"]
    assert (found["guest"]["state"], found["guest"]["bias"]) == ("insufficient", None)
    overall = said.json["overall"]
    assert 0 < overall["alpha"]["low"] < overall["alpha"]["value"] < overall["alpha"]["high"] < 1


def test_the_table_names_models_and_the_command_that_excludes(world: dict, afterglow: Afterglow) -> None:  # type: ignore[type-arg]
    said = afterglow("raters")
    assert said.code == 0, said.err
    for word in (
        "random",
        "doubtful",
        "insufficient",
        "Krippendorff",
        world["version"],
        "afterglow exclude rater random",
    ):
        assert word in said.out, word
    assert "'inverts it'\"'\"'s'" in said.out  # what a shell takes for one word
    one = afterglow("raters", "generated-rater-1")
    assert world["version"] in one.out and "nothing speaks against" in one.out and "random" not in one.out
    nobody = afterglow("raters", "nobody")
    assert (nobody.code, "afterglow raters" in nobody.err) == (4, True)


def test_raters_over_http_page_by_page(world: dict, client: httpx.Client) -> None:  # type: ignore[type-arg]
    whole = client.get("/v1/raters").json()
    first = client.get("/v1/raters", params={"limit": 3}).json()
    rest = client.get("/v1/raters", params={"limit": 50, "cursor": first["next_cursor"]}).json()
    assert first["items"] + rest["items"] == whole["items"]
    assert (rest["next_cursor"], whole["overall"] == first["overall"]) == (None, True)
    doubtful = client.get("/v1/raters", params={"doubtful": True}).json()["items"]
    assert {each["rater"] for each in doubtful} == set(world["counts"])
    one = client.get("/v1/raters/generated-rater-1").json()
    assert [use["model_version"] for use in one["models"]] == [world["version"]]
    assert client.get("/v1/raters/nobody").status_code == 404


def test_an_excluded_rater_is_out_of_the_next_export_and_marked_in_the_ratings(
    world: dict, afterglow: Afterglow, client: httpx.Client, store: FileStore  # type: ignore[type-arg]
) -> None:  # fmt: skip
    assert afterglow("exclude", "rater", "random", "--reason", "no relation").code == 0
    found = client.get("/v1/raters/random").json()
    assert (found["excluded"], found["state"], found["exclude_with"]) == (True, "doubtful", None)
    marked = {each["user_session_id"]: each["excluded"]
              for each in client.get(f"/v1/snapshots/{world['shot']}/ratings").json()["items"]}  # fmt: skip
    assert marked["random"] and not marked["guest"]
    later = export_now("rating", "regression", Gates())
    with session_scope() as session:
        behind = {each.user_session_id for each in labels.raw_ratings(session, later.as_of)}
        exclusions.lift(session, Subject(rater="random"), reason="only tried", by="test")
    assert "random" not in behind and "guest" in behind
    before = {row.snapshot_id: row for row in dataset_rows(store, world["dataset"])}
    after = {row.snapshot_id: row for row in dataset_rows(store, later)}
    touched = [shot for shot, row in after.items() if row.rating_count < before[shot].rating_count]
    assert len(touched) == world["counts"]["random"]


def test_pace_is_that_of_work_and_not_of_imports_or_pauses(database: str, client: httpx.Client) -> None:
    with session_scope() as session:
        shots = [make_snapshot(session) for _ in range(8)]
        imported = exclusions.begin_import(session, file_name="x.csv", file_sha256="0" * 64, by="test")
        for shot in shots:
            for rater, import_id in (("quick", None), ("brought", imported)):
                labels.rate_snapshot(session, snapshot_id=shot.id, rater=rater, rating=3, is_sunset=True,
                                     label_source="human", import_id=import_id)  # type: ignore[arg-type]  # fmt: skip
        # Events carry the time of their transaction; give each its own, with a long pause in the middle.
        session.execute(text("ALTER TABLE rating_events DISABLE TRIGGER append_only_rows"))
        session.execute(
            text(
                "UPDATE rating_events e SET created_at = created_at - interval '1 day' + n.place * CAST(:gap AS interval) "
                "+ CASE WHEN n.place > 4 THEN interval '1 hour' ELSE interval '0' END FROM (SELECT id, row_number() "
                "OVER (PARTITION BY user_session_id ORDER BY id) AS place FROM rating_events "
                "WHERE user_session_id IN ('quick', 'brought')) n WHERE n.id = e.id"
            ),
            {"gap": timedelta(seconds=4)},
        )
        session.execute(text("ALTER TABLE rating_events ENABLE TRIGGER append_only_rows"))
    assert client.get("/v1/raters/quick").json()["per_minute"] == pytest.approx(15.0)
    assert client.get("/v1/raters/brought").json()["per_minute"] is None
