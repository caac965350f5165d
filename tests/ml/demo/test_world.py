"""A generated world is fixed by its seed before anybody chooses."""

from ml.demo.world import NUM_RATERS, World, make_world
from ml.splits import UNSEEN_SHARE


def test_a_world_is_the_same_for_the_same_seed_and_another_one_for_another() -> None:
    assert make_world(3, 8, 5) == make_world(3, 8, 5)
    assert make_world(3, 8, 5).snapshots != make_world(4, 8, 5).snapshots


def test_test_frames_are_whole_groups_and_no_part_of_the_pool() -> None:
    world = make_world(101, 40, 10)
    held = {each.group_id for each in world.test}
    assert held.isdisjoint(each.group_id for each in world.pool)
    assert len(world.pool) + len(world.test) == len(world.snapshots) == 400
    assert UNSEEN_SHARE / 2 < len(world.test) / 400 < 2.5 * UNSEEN_SHARE


def test_a_further_rating_leaves_those_before_as_they_are() -> None:
    world = make_world(3, 8, 5)
    for snapshot in world.snapshots:
        everybody = world.votes(snapshot.snapshot_id, NUM_RATERS)
        assert len({name for name, _ in everybody}) == NUM_RATERS
        assert world.votes(snapshot.snapshot_id, 2) == everybody[:2]


def test_raters_are_asked_in_another_order_for_each_frame() -> None:
    world: World = make_world(3, 8, 5)
    first = {world.votes(each.snapshot_id, 1)[0][0] for each in world.snapshots}
    assert first == {rater.name for rater in world.raters}
