"""What an export makes of the ratings that were asked for."""

from collections import Counter
from dataclasses import replace

import pytest

from ml.demo.loop_labels import Way, manifest_rows
from ml.demo.world import NUM_RATERS, World, make_world
from ml.judgements.rating_labels import label_from_votes


@pytest.fixture(scope="module")
def world() -> World:
    made = make_world(101, 16, 6)
    known = (replace(each, image_sha256=f"{each.snapshot_id:064x}") for each in made.snapshots)
    return replace(made, snapshots=tuple(known))


def test_every_rating_is_one_label_whether_its_frame_has_others_or_not() -> None:
    way = Way(Counter())
    way.take([5, 3, 9], 2, "drawn")
    way.ask(3, "band")
    assert way.given.total() == 3
    assert way.told() == {"added": 3, "rated_again": 1, "reasons": {"drawn": 2, "band": 1}, "asked": [5, 3, 3]}
    assert way.told()["added"] == 0


def test_what_is_taken_next_was_not_rated_by_any_reason_before() -> None:
    way = Way(Counter())
    way.ask(7, "band")
    way.take([5, 7, 3], 2, "drawn")
    assert way.asked == [7, 5, 3]


def test_rows_hold_the_first_ratings_of_asked_frames_and_all_of_test_frames(world: World) -> None:
    asked = world.pool[0].snapshot_id
    rows = {row.snapshot_id: row for row in manifest_rows(world, {asked: 2})}
    assert set(rows) == {asked, *(each.snapshot_id for each in world.test)}
    assert rows[asked].split in ("train", "val")
    for snapshot_id, count in ((asked, 2), (world.test[0].snapshot_id, NUM_RATERS)):
        votes = [stars or None for _, stars in world.votes(snapshot_id, count)]
        assert rows[snapshot_id].label_value == label_from_votes(votes)[0]


def test_test_rows_do_not_depend_on_what_was_asked(world: World) -> None:
    few = manifest_rows(world, {})
    many = manifest_rows(world, {each.snapshot_id: 3 for each in world.pool})
    assert [row for row in many if row.split == "test"] == few
