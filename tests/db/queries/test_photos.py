"""Projects and photos: identity by content, paths as aliases, and no project ever in another's business."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, select

from db.errors import NotFound
from db.queries import photos
from db.tables import Photo, PhotoPath
from tests.builders import make_photo, make_project


@given(st.integers(0, 2**64 - 1))
def test_a_hash_survives_the_column_of_signed_numbers(phash: int) -> None:
    stored = photos.signed(phash)
    assert -(2**63) <= stored < 2**63
    assert photos.unsigned(stored) == phash


def _path(photo: Photo, path: str, **facts: Any) -> dict[str, Any]:
    return {
        "photo_id": photo.id,
        "path": path,
        "name": path.rpartition("/")[2],
        "byte_size": 1,
        "modified_ns": 5,
        **facts,
    }


def test_a_content_is_one_photo_of_a_project_and_another_of_another(session: Session) -> None:
    one, other = make_project(session), make_project(session)
    facts = {"sha256": "a" * 64, "media_type": "image/png", "width": 4, "height": 3, "byte_size": 9, "orientation": 1,
             "phash": -1, "name": "a.png", "stage": 1.5, "taken_at": None}  # fmt: skip
    ids, added = photos.add_photos(session, one, [facts])
    assert added == 1
    assert photos.add_photos(session, one, [{**facts, "name": "b.png"}]) == (ids, 0)
    assert photos.add_photos(session, other, [facts])[0] != ids
    assert session.get_one(Photo, ids["a" * 64]).name == "a.png"


def test_paths_are_aliases_and_a_name_finds_every_photo_that_had_it(session: Session) -> None:
    project, elsewhere = make_project(session), make_project(session)
    one, other = make_photo(session, project), make_photo(session, project)
    far = make_photo(session, elsewhere)
    ids, added = photos.add_paths(session, project, [_path(one, "/a/x.png"), _path(one, "/b/x.png")])
    assert added == 2
    assert photos.add_paths(session, project, [_path(one, "/a/x.png", modified_ns=7)]) == (
        {"/a/x.png": ids["/a/x.png"]},
        0,
    )
    assert photos.photos_named(session, project, ["x.png", "y.png"]) == {"x.png": [one.id]}
    photos.add_paths(session, project, [_path(other, "/c/x.png")])
    photos.add_paths(session, elsewhere, [_path(far, "/d/x.png")])
    assert photos.photos_named(session, project, ["x.png"]) == {"x.png": sorted([one.id, other.id])}
    assert photos.photos_named(session, elsewhere, ["x.png"]) == {"x.png": [far.id]}


def test_what_lies_at_a_path_is_what_was_seen_there_last(session: Session) -> None:
    project = make_project(session)
    old, new = make_photo(session, project), make_photo(session, project)
    photos.add_paths(session, project, [_path(old, "/a/x.png"), _path(old, "/b/x.png")])
    photos.add_paths(session, project, [_path(new, "/a/x.png", byte_size=2)])
    seen = photos.seen_files(session, project, ["/a/x.png", "/a/z.png"])
    assert seen == {"/a/x.png": photos.SeenFile(new.id, 2, 5)}


def test_companions_are_recorded_once(session: Session) -> None:
    project = make_project(session)
    ids, _ = photos.add_paths(session, project, [_path(make_photo(session, project), "/a/x.png")])
    wanted = [(ids["/a/x.png"], "/a/x.yaml"), (ids["/a/x.png"], "/a/x.txt")]
    assert photos.add_companions(session, project, wanted) == 2
    assert photos.add_companions(session, project, wanted) == 0


def test_an_unknown_project_is_said_to_be_none(session: Session) -> None:
    with pytest.raises(NotFound, match="no project"):
        photos.get_project(session, "nowhere")


class TestProjectsNeverMix:
    """In plain SQL, so that it is the database that refuses."""

    @pytest.mark.parametrize(
        "statement",
        [
            "INSERT INTO photo_paths (project_id, photo_id, path, name, byte_size, modified_ns) "
            "VALUES (:other, :photo, '/a/x.png', 'x.png', 1, 1)",
            "INSERT INTO photo_companions (project_id, photo_path_id, path) VALUES (:other, :path, '/a/x.txt')",
            "INSERT INTO photo_group_members (project_id, group_id, photo_id, place) VALUES (:own, :group, :far, 9)",
            "INSERT INTO photo_group_members (project_id, group_id, photo_id, place) VALUES (:other, :group, :far, 9)",
            "INSERT INTO selection_events (project_id, group_id, rater, chosen_photo_id, action, label_source) "
            "VALUES (:own, :group, 'r', :far, 'choose', 'x')",
            "INSERT INTO selection_events (project_id, group_id, rater, chosen_photo_id, action, label_source) "
            "VALUES (:other, :group, 'r', :photo, 'choose', 'x')",
            "INSERT INTO selections (project_id, group_id, rater, chosen_photo_id, label_source) "
            "VALUES (:own, :group, 'r', :far, 'x')",
            "INSERT INTO selections (project_id, group_id, rater, chosen_photo_id, label_source) "
            "VALUES (:other, :group, 'r', :photo, 'x')",
            "INSERT INTO crop_events (project_id, photo_id, rater, action, x1, y1, x2, y2, label_source) "
            "VALUES (:other, :photo, 'r', 'crop', 0, 0, 0.5, 0.5, 'x')",
            "INSERT INTO crops (project_id, photo_id, rater, x1, y1, x2, y2, label_source) "
            "VALUES (:other, :photo, 'r', 0, 0, 0.5, 0.5, 'x')",
        ],
    )
    def test_the_database_refuses_whatever_crosses(self, session: Session, statement: str) -> None:
        from db.queries import selections

        own, other = make_project(session), make_project(session)
        photo, second, far = make_photo(session, own), make_photo(session, own), make_photo(session, other)
        paths, _ = photos.add_paths(session, own, [_path(photo, "/p/x.png")])
        group, _ = selections.find_or_add_group(session, own, [photo.id, second.id], "stages")  # type: ignore[list-item]
        ids = {"own": own, "other": other, "photo": photo.id, "far": far.id, "group": group, "path": paths["/p/x.png"]}
        with pytest.raises(IntegrityError, match="foreign key"), session.begin_nested():
            session.execute(text(statement), {name: ids[name] for name in ids if f":{name}" in statement})

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE photos SET project_id = :other WHERE id = :photo",
            "UPDATE photos SET sha256 = :sha WHERE id = :photo",
        ],
    )
    def test_a_photo_stays_what_and_where_it_is(self, session: Session, statement: str) -> None:
        photo, other = make_photo(session, make_project(session)), make_project(session)
        values = {"other": other, "photo": photo.id, "sha": "f" * 64}
        with pytest.raises(IntegrityError, match="keeps its project"), session.begin_nested():
            session.execute(text(statement), {name: values[name] for name in values if f":{name}" in statement})


def test_no_path_is_stored_under_another_name(session: Session) -> None:
    project = make_project(session)
    photo = make_photo(session, project)
    with pytest.raises(IntegrityError, match="ck_photo_paths_name"), session.begin_nested():
        photos.add_paths(session, project, [{**_path(photo, "/a/x.png"), "name": "y.png"}])
    photos.add_paths(session, project, [_path(photo, "/a/100 %_\\.png")])
    assert session.exec(select(PhotoPath.path).where(PhotoPath.photo_id == photo.id)).all() == ["/a/100 %_\\.png"]
