"""Which rows made a model, and which models a snapshot, a rater or an import had a part in."""

from __future__ import annotations

import pytest
from sqlmodel import Session

from db.engine import session_scope
from db.errors import NotFound
from db.queries import exclusions, labels, lineage, models
from db.queries.exclusions import Subject
from db.tables import ModelVersion, WebcamSnapshot
from tests.builders import make_snapshot, make_version


def _use(session: Session, version: ModelVersion, snapshot: WebcamSnapshot, split: str, source: str = "calculated_rating",
         **ratings: tuple[int, int | None]) -> None:  # fmt: skip
    """Have a run use a snapshot with these ratings: rater -> (stars, import)."""
    run_id = version.training_run_id
    label = {"training_run_id": run_id, "snapshot_id": snapshot.id, "label_source": source, "label_value": 3.0,
             "split": split, "image_sha256": snapshot.image_sha256}  # fmt: skip
    behind = [
        {"training_run_id": run_id, "snapshot_id": snapshot.id, "user_session_id": rater, "rating": stars,
         "is_sunset_verdict": True, "label_source": "test", "import_id": import_id}
        for rater, (stars, import_id) in ratings.items()
    ]  # fmt: skip
    models.add_provenance(session, [label], behind)


@pytest.fixture(scope="module")
def world(database: str) -> dict[str, object]:
    """Two versions on overlapping rows, by raters a, b and c; one row of each came with an import; a third is foreign."""
    with session_scope() as session:
        wrong = exclusions.begin_import(session, file_name="x.csv", file_sha256="0" * 64, by="test")
        shots = [make_snapshot(session) for _ in range(4)]
        seeded = make_snapshot(session, initial_rating=3.0, import_id=wrong)
        for snapshot, rater in zip(shots, "aabc", strict=True):
            labels.rate_snapshot(session, snapshot_id=snapshot.id, rater=rater, rating=3, is_sunset=True,
                                 label_source="test")  # type: ignore[arg-type]  # fmt: skip
        first, second, foreign = (make_version(session) for _ in range(3))
        _use(session, first, shots[0], "train", a=(3, None), b=(4, None))
        _use(session, first, shots[1], "test", a=(3, None))
        _use(session, first, shots[2], "train", b=(3, wrong))
        _use(session, second, shots[0], "train", b=(4, None))
        _use(session, second, seeded, "train", "manual_seed")
        _use(session, foreign, shots[3], "train")
        models.add_activation(session, kind="rating", model_version=first.model_version, action="promote", verdict={},
                              activated_by="test")  # fmt: skip
        return {"first": first, "second": second, "foreign": foreign, "shots": shots, "import": wrong, "seeded": seeded}


def _uses(*subjects: Subject) -> list[tuple[str, int, int, int, bool]]:
    with session_scope() as session:
        found = lineage.runs_that_used(session, subjects)
    return [(each.model_version, each.rows, each.train_rows, each.num_rows, each.active) for each in found]


def test_a_runs_rows_come_with_every_raw_rating_behind_them(world: dict, session: Session) -> None:  # type: ignore[type-arg]
    run_id, shots = world["first"].training_run_id, world["shots"]
    rows = lineage.run_rows(session, run_id)
    assert [(row.snapshot_id, row.split) for row in rows] == list(
        zip([each.id for each in shots[:3]], ["train", "test", "train"], strict=True)
    )
    said = [[(one.user_session_id, one.rating, one.import_id) for one in row.ratings] for row in rows]
    assert said == [[("a", 3, None), ("b", 4, None)], [("a", 3, None)], [("b", 3, world["import"])]]
    assert {row.image_sha256 for row in rows} == {each.image_sha256 for each in shots[:3]}
    assert [row.snapshot_id for row in lineage.run_rows(session, run_id, split="test")] == [shots[1].id]
    assert [row.snapshot_id for row in lineage.run_rows(session, run_id, rater="b")] == [shots[0].id, shots[2].id]
    assert lineage.run_rows(session, run_id, label_source="manual_seed") == []
    (page,) = lineage.run_rows(session, run_id, cursor=shots[0].id, limit=1)
    assert (page.snapshot_id, len(page.ratings)) == (shots[1].id, 1)


def test_a_runs_summary_counts_splits_sources_raters_and_imports(world: dict, session: Session) -> None:  # type: ignore[type-arg]
    found = lineage.run_summary(session, world["first"].training_run_id)
    assert (found["splits"], found["sources"]) == ({"train": 2, "test": 1}, {"calculated_rating": 3})
    assert {(each["rater"], each["ratings"]) for each in found["raters"]} == {("a", 2), ("b", 2)}
    assert [(each["import_id"], each["ratings"]) for each in found["imports"]] == [(world["import"], 1)]
    with pytest.raises(NotFound):
        lineage.run_summary(session, 999_999)


def test_a_snapshot_and_its_image_name_their_runs_newest_first(world: dict, session: Session) -> None:  # type: ignore[type-arg]
    first = world["shots"][0]
    by_id = lineage.runs_of_row(session, snapshot_id=first.id)
    assert [(each.model_version, each.active) for each in by_id] == [
        (world["second"].model_version, False), (world["first"].model_version, True)
    ]  # fmt: skip
    assert lineage.runs_of_row(session, image_sha256=first.image_sha256) == by_id
    assert lineage.runs_of_row(session, snapshot_id=first.id, cursor=by_id[0].id) == by_id[1:]
    assert lineage.runs_of_row(session, image_sha256="f" * 64) == []


def test_raters_and_imports_name_the_runs_that_used_them_with_rows_and_share(world: dict) -> None:  # type: ignore[type-arg]
    first, second = world["first"].model_version, world["second"].model_version
    assert _uses(Subject(rater="a")) == [(first, 2, 1, 3, True)]
    assert _uses(Subject(rater="b")) == [(second, 1, 1, 2, False), (first, 2, 2, 3, True)]
    assert _uses(Subject(import_id=world["import"])) == [(second, 1, 1, 2, False), (first, 1, 1, 3, True)]
    assert _uses(Subject(rater="nobody")) == _uses() == []
    # A row counts once, however many of the excluded have a part in it.
    assert _uses(Subject(rater="a"), Subject(rater="b")) == [(second, 1, 1, 2, False), (first, 3, 2, 3, True)]


def test_an_exclusion_taints_versions_until_it_is_lifted(world: dict) -> None:  # type: ignore[type-arg]
    subject = Subject(rater="a")
    with session_scope() as session:
        assert lineage.tainted_versions(session) == {}
        exclusions.exclude(session, subject, reason="x", by="test")
    with session_scope() as session:
        (use,) = lineage.tainted_versions(session).values()
        summary = lineage.run_summary(session, use.run_id)
    assert (use.model_version, use.rows, round(use.share, 3)) == (world["first"].model_version, 2, 0.667)
    assert {each["rater"]: each["excluded"] for each in summary["raters"]} == {"a": True, "b": False}
    with session_scope() as session:
        exclusions.lift(session, subject, reason="x", by="test")
    with session_scope() as session:
        assert lineage.tainted_versions(session) == {}


def test_a_model_from_elsewhere_is_named_as_one_whose_raters_are_not_known(world: dict, session: Session) -> None:  # type: ignore[type-arg]
    assert list(lineage.versions_without_raters(session)) == [world["foreign"].model_version]
