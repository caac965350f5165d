"""Queries on photo groups, and on what people chose from them and how they cropped photos."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from db.errors import Conflict, NotFound
from db.tables import Crop, CropEvent, Photo, PhotoGroup, PhotoGroupMember, Selection, SelectionEvent

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in fractions of the upright image."""


def find_or_add_group(session: Session, project_id: int, photo_ids: Sequence[int], rule: str) -> tuple[int, bool]:
    """The group of these photos in a project, added with this rule if there is none, and whether it was added.

    Raises:
        Conflict: They are fewer than two different ones, or not all of the project.
    """
    found = dict(
        session.execute(
            select(Photo.id, Photo.sha256).where(col(Photo.project_id) == project_id, col(Photo.id).in_(photo_ids))
        ).all()
    )
    if len(found) < 2 or len(found) < len(photo_ids):
        raise Conflict(f"a group is two or more different photos of one project; project {project_id} has {len(found)} "
                       f"of the {len(photo_ids)} that were named")  # fmt: skip
    key = hashlib.sha256("\n".join(sorted(found.values())).encode()).hexdigest()
    added = session.execute(
        insert(PhotoGroup)
        .values(project_id=project_id, group_key=key, rule=rule)
        .on_conflict_do_nothing(index_elements=["project_id", "group_key"])
        .returning(col(PhotoGroup.id))
    ).first()
    if added is not None:
        members = [
            {"project_id": project_id, "group_id": added.id, "photo_id": photo_id, "place": place}
            for place, photo_id in enumerate(photo_ids, start=1)
        ]
        session.execute(insert(PhotoGroupMember).values(members))
        return added.id, True
    known = select(PhotoGroup.id).where(col(PhotoGroup.project_id) == project_id, col(PhotoGroup.group_key) == key)
    return int(session.execute(known).scalar_one()), False


def group_members(session: Session, group_id: int) -> list[Photo]:
    """The photos of a group in their places."""
    query = (
        select(Photo)
        .join(PhotoGroupMember, col(PhotoGroupMember.photo_id) == col(Photo.id))
        .where(col(PhotoGroupMember.group_id) == group_id)
        .order_by(col(PhotoGroupMember.place))
    )
    return list(session.exec(query))


def choose(
    session: Session,
    *,
    group_id: int,
    photo_id: int,
    rater: str,
    label_source: str,
    shown_model_version: str | None = None,
    import_id: int | None = None,
    said_at: datetime | None = None,
) -> bool:
    """Append that a rater chose a photo from a group, and make it the current choice unless a later one is known.

    False, and nothing is written, where the same rater said the same of the same source at the same `said_at` before.

    Raises:
        NotFound: There is no such group.
        Conflict: The photo is not in it.
    """
    group = _locked_group(session, group_id)
    if photo_id not in [photo.id for photo in group_members(session, group_id)]:
        raise Conflict(f"photo {photo_id} is not in group {group_id}")
    facts: dict[str, Any] = {"project_id": group.project_id, "group_id": group_id, "rater": rater, "chosen_photo_id": photo_id,
             "label_source": label_source}  # fmt: skip
    if said_at is not None and _is_said(session, SelectionEvent, {**facts, "action": "choose", "said_at": said_at}):
        return False
    session.add(SelectionEvent(**facts, shown_model_version=shown_model_version, import_id=import_id, said_at=said_at))
    _make_current(session, Selection, ["group_id", "rater"], {**facts, "import_id": import_id}, said_at)
    return True


def retract_choice(session: Session, *, group_id: int, rater: str, label_source: str) -> bool:
    """Undo a rater's current choice from a group by a new event; False when there was none."""
    group = _locked_group(session, group_id)
    gone = session.execute(
        delete(Selection)
        .where(col(Selection.group_id) == group_id, col(Selection.rater) == rater)
        .returning(col(Selection.id))
    ).first()
    if gone is None:
        return False
    session.add(
        SelectionEvent(
            project_id=group.project_id, group_id=group_id, rater=rater, action="retract", label_source=label_source
        )
    )
    session.flush()
    return True


def crop_photo(
    session: Session,
    *,
    photo_id: int,
    box: Box,
    rater: str,
    label_source: str,
    shown_model_version: str | None = None,
    import_id: int | None = None,
    said_at: datetime | None = None,
) -> bool:
    """Append that a rater cropped a photo, and make it the current crop unless a later one is known.

    False, and nothing is written, where the same rater said the same of the same source at the same `said_at` before.

    Raises:
        NotFound: There is no such photo.
        Conflict: The box is inverted, empty or not inside the image.
    """
    photo = _locked_photo(session, photo_id)
    x1, y1, x2, y2 = box
    if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
        raise Conflict(f"a crop is 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1 in fractions of the image, not {box}")
    facts: dict[str, Any] = {"project_id": photo.project_id, "photo_id": photo_id, "rater": rater, "label_source": label_source,
             "x1": x1, "y1": y1, "x2": x2, "y2": y2}  # fmt: skip
    if said_at is not None and _is_said(session, CropEvent, {**facts, "action": "crop", "said_at": said_at}):
        return False
    session.add(CropEvent(**facts, shown_model_version=shown_model_version, import_id=import_id, said_at=said_at))
    _make_current(session, Crop, ["photo_id", "rater"], {**facts, "import_id": import_id}, said_at)
    return True


def retract_crop(session: Session, *, photo_id: int, rater: str, label_source: str) -> bool:
    """Undo a rater's current crop of a photo by a new event; False when there was none."""
    photo = _locked_photo(session, photo_id)
    gone = session.execute(
        delete(Crop).where(col(Crop.photo_id) == photo_id, col(Crop.rater) == rater).returning(col(Crop.id))
    ).first()
    if gone is None:
        return False
    session.add(
        CropEvent(
            project_id=photo.project_id, photo_id=photo_id, rater=rater, action="retract", label_source=label_source
        )
    )
    session.flush()
    return True


def _locked_group(session: Session, group_id: int) -> PhotoGroup:
    group = session.exec(select(PhotoGroup).where(col(PhotoGroup.id) == group_id).with_for_update()).one_or_none()
    if group is None:
        raise NotFound(what="group", key=group_id)
    return group


def _locked_photo(session: Session, photo_id: int) -> Photo:
    photo = session.exec(select(Photo).where(col(Photo.id) == photo_id).with_for_update()).one_or_none()
    if photo is None:
        raise NotFound(what="photo", key=photo_id)
    return photo


def _is_said(session: Session, table: type[SelectionEvent] | type[CropEvent], facts: dict[str, Any]) -> bool:
    query = select(table.id)
    for name, value in facts.items():
        query = query.where(getattr(table, name) == value)
    return session.execute(query.limit(1)).first() is not None


def _make_current(
    session: Session,
    table: type[Selection] | type[Crop],
    unique: list[str],
    facts: dict[str, Any],
    said_at: datetime | None,
) -> None:
    """Set the current state, which is as old as what was said; what was said later stays."""
    statement = insert(table).values(**facts, created_at=func.now() if said_at is None else said_at)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=unique,
            set_={name: statement.excluded[name] for name in (*facts, "created_at") if name not in unique},
            where=col(table.created_at) <= statement.excluded["created_at"],
        )
    )
    session.flush()
