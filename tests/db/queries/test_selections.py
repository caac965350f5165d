"""Groups, choices and crops: events that are only added, and the state that follows from them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlmodel import Session, col, select

from db.errors import Conflict, NotFound
from db.queries import selections
from db.tables import Crop, CropEvent, Photo, Selection, SelectionEvent
from ml.grouping import group_id
from tests.builders import NOON, make_photo, make_project


@pytest.fixture
def shots(session: Session) -> list[Photo]:
    project = make_project(session)
    return [make_photo(session, project) for _ in range(3)]


def add_group(session: Session, photos: list[Photo]) -> int:
    ids = [photo.id for photo in photos]
    return selections.find_or_add_group(session, photos[0].project_id, ids, "stages")[0]  # type: ignore[arg-type]


def current(session: Session, group: int) -> dict[str, int]:
    rows = session.exec(select(Selection).where(col(Selection.group_id) == group))
    return {row.rater: row.chosen_photo_id for row in rows}


def choose(session: Session, group: int, photo: Photo, **facts: object) -> bool:
    values = {"rater": "ann", "label_source": "test", **facts}
    return selections.choose(session, group_id=group, photo_id=photo.id, **values)  # type: ignore[arg-type]


class TestGroups:
    def test_the_same_photos_are_the_same_group_in_whatever_order(self, session: Session, shots: list[Photo]) -> None:
        group = add_group(session, shots)
        assert add_group(session, shots[::-1]) == group
        assert add_group(session, shots[:2]) != group
        assert [photo.id for photo in selections.group_members(session, group)] == [photo.id for photo in shots]

    def test_it_is_called_what_grouping_calls_it(self, session: Session, shots: list[Photo]) -> None:
        from db.tables import PhotoGroup

        stored = session.get_one(PhotoGroup, add_group(session, shots))
        assert stored.group_key == group_id(photo.sha256 for photo in shots)

    def test_one_photo_or_one_of_another_project_makes_none(self, session: Session, shots: list[Photo]) -> None:
        far = make_photo(session, make_project(session))
        for photos in ([shots[0]], [shots[0], shots[0]], [shots[0], far]):
            with pytest.raises(Conflict, match="different photos of one project"):
                add_group(session, photos)


class TestChoosing:
    def test_the_last_choice_is_the_current_one_and_every_one_is_kept(
        self, session: Session, shots: list[Photo]
    ) -> None:
        group = add_group(session, shots)
        assert choose(session, group, shots[0]) and choose(session, group, shots[1])
        assert choose(session, group, shots[2], rater="bob")
        assert current(session, group) == {"ann": shots[1].id, "bob": shots[2].id}
        events = session.exec(select(SelectionEvent).where(col(SelectionEvent.group_id) == group)).all()
        assert [event.chosen_photo_id for event in events] == [shot.id for shot in shots]

    def test_undo_is_a_new_event(self, session: Session, shots: list[Photo]) -> None:
        group = add_group(session, shots)
        choose(session, group, shots[0])
        assert selections.retract_choice(session, group_id=group, rater="ann", label_source="test")
        assert not selections.retract_choice(session, group_id=group, rater="ann", label_source="test")
        assert current(session, group) == {}
        events = session.exec(select(SelectionEvent.action).where(col(SelectionEvent.group_id) == group)).all()
        assert events == ["choose", "retract"]

    def test_what_a_log_says_twice_is_said_once_and_what_it_said_earlier_does_not_replace_what_came_later(
        self, session: Session, shots: list[Photo]
    ) -> None:
        group = add_group(session, shots)
        assert choose(session, group, shots[1], said_at=NOON)
        assert not choose(session, group, shots[1], said_at=NOON)
        assert choose(session, group, shots[0], said_at=NOON - timedelta(days=1))
        assert current(session, group) == {"ann": shots[1].id}
        assert choose(session, group, shots[2], said_at=NOON + timedelta(days=1))
        assert current(session, group) == {"ann": shots[2].id}

    def test_only_a_member_can_be_chosen(self, session: Session, shots: list[Photo]) -> None:
        group = add_group(session, shots[:2])
        with pytest.raises(Conflict, match="not in group"):
            choose(session, group, shots[2])
        with pytest.raises(NotFound, match="no group"):
            choose(session, 10**9, shots[2])


class TestCropping:
    def test_the_last_crop_is_the_current_one_and_undo_is_an_event(self, session: Session, shots: list[Photo]) -> None:
        facts = {"photo_id": shots[0].id, "rater": "ann", "label_source": "test"}
        selections.crop_photo(session, box=(0, 0, 0.5, 0.5), **facts)  # type: ignore[arg-type]
        selections.crop_photo(session, box=(0.1, 0, 1, 1), **facts)  # type: ignore[arg-type]
        (crop,) = session.exec(select(Crop).where(col(Crop.photo_id) == shots[0].id))
        assert (crop.x1, crop.y1, crop.x2, crop.y2) == (0.1, 0, 1, 1)
        assert selections.retract_crop(session, **facts) and not selections.retract_crop(session, **facts)  # type: ignore[arg-type]
        events = session.exec(select(CropEvent.action).where(col(CropEvent.photo_id) == shots[0].id)).all()
        assert events == ["crop", "crop", "retract"]

    @pytest.mark.parametrize("box", [(0.5, 0, 0.4, 1), (0, 0, 0, 1), (-0.1, 0, 1, 1), (0, 0, 1, 1.01)])
    def test_a_box_that_is_none_is_refused(self, session: Session, shots: list[Photo], box: selections.Box) -> None:
        with pytest.raises(Conflict, match="fractions of the image"):
            selections.crop_photo(session, photo_id=shots[0].id, box=box, rater="ann", label_source="test")  # type: ignore[arg-type]

    def test_what_a_log_says_twice_is_said_once(self, session: Session, shots: list[Photo]) -> None:
        facts = {
            "photo_id": shots[0].id,
            "rater": "ann",
            "label_source": "log",
            "box": (0, 0, 0.5, 0.5),
            "said_at": NOON,
        }
        assert selections.crop_photo(session, **facts)  # type: ignore[arg-type]
        assert not selections.crop_photo(session, **facts)  # type: ignore[arg-type]
