"""Queries on projects, their photos, the paths where they were seen, and their companions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, literal_column
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from db.errors import NotFound
from db.queries.paging import page_rows
from db.tables import Photo, PhotoCompanion, PhotoPath, Project

_ROWS_AT_ONCE = 1000
_IS_NEW: Any = literal_column("(xmax = 0)").label("is_new")  # of a row that was not there before the statement


@dataclass(frozen=True, slots=True)
class SeenFile:
    """What is known of the file at a path, by which a scan tells that it is the same."""

    photo_id: int
    byte_size: int
    modified_ns: int


def signed(phash: int) -> int:
    """A 64-bit hash, 0 .. 2**64 - 1, as the signed number that a column holds."""
    return phash - (1 << 64) if phash >= 1 << 63 else phash


def unsigned(stored: int) -> int:
    """The 64-bit hash that a column holds as a signed number."""
    return stored % (1 << 64)


def find_project(session: Session, name: str) -> Project | None:
    """The project of this name, if there is one."""
    return session.exec(select(Project).where(col(Project.name) == name)).one_or_none()


def get_project(session: Session, name: str) -> Project:
    """The project of this name, or NotFound."""
    project = find_project(session, name)
    if project is None:
        raise NotFound(what="project", key=name)
    return project


def find_or_add_project(session: Session, name: str) -> Project:
    """The project of this name, added if there is none."""
    session.execute(insert(Project).values(name=name).on_conflict_do_nothing(index_elements=["name"]))
    return get_project(session, name)


def list_projects(session: Session, *, cursor: int | None = None, limit: int | None = 50) -> list[tuple[Project, int]]:
    """Projects in order of id, from beyond `cursor`, each with its number of photos."""
    rows = page_rows(session, select(Project), col(Project.id), cursor=cursor, limit=limit)
    counted = select(Photo.project_id, func.count()).where(col(Photo.project_id).in_([row.id for row in rows]))
    counts = dict(session.execute(counted.group_by(col(Photo.project_id))).all())
    return [(row, counts.get(row.id, 0)) for row in rows]


def list_photos(
    session: Session, project_id: int, *, cursor: int | None = None, limit: int | None = 50
) -> Sequence[Photo]:
    """Photos of a project in order of id, from beyond `cursor`."""
    query = select(Photo).where(col(Photo.project_id) == project_id)
    return page_rows(session, query, col(Photo.id), cursor=cursor, limit=limit)


def photos_named(session: Session, project_id: int, names: Iterable[str]) -> dict[str, list[int]]:
    """File name -> the photos of a project that were seen under it in whatever directory, in order of id."""
    wanted = sorted(set(names))
    found: dict[str, list[int]] = {}
    for start in range(0, len(wanted), _ROWS_AT_ONCE):
        rows = session.execute(
            select(PhotoPath.name, PhotoPath.photo_id)
            .where(
                col(PhotoPath.project_id) == project_id,
                col(PhotoPath.name).in_(wanted[start : start + _ROWS_AT_ONCE]),
            )
            .distinct()
            .order_by(col(PhotoPath.name), col(PhotoPath.photo_id))
        )
        for name, photo_id in rows:
            found.setdefault(name, []).append(photo_id)
    return found


def lock_project(session: Session, project_id: int) -> None:
    """Have whoever else writes photos of this project wait until this transaction ends."""
    session.execute(select(Project.id).where(col(Project.id) == project_id).with_for_update())


def seen_files(session: Session, project_id: int, paths: Sequence[str]) -> dict[str, SeenFile]:
    """Path -> what was seen there last by a scan of this project."""
    rows = session.exec(
        select(PhotoPath)
        .where(
            col(PhotoPath.project_id) == project_id,
            col(PhotoPath.name).in_({path.rpartition("/")[2] for path in paths}),  # which has an index
            col(PhotoPath.path).in_(paths),
        )
        .order_by(col(PhotoPath.seen_at), col(PhotoPath.id))
    )
    return {row.path: SeenFile(row.photo_id, row.byte_size, row.modified_ns) for row in rows}


def add_photos(session: Session, project_id: int, photos: Sequence[Mapping[str, Any]]) -> tuple[dict[str, int], int]:
    """Add the photos that a project does not have yet; a known one is left as it is.

    Returns:
        sha256 -> id of all that were given, and how many of them are new.
    """
    if not photos:
        return {}, 0
    added = session.execute(
        insert(Photo)
        .values([{**photo, "project_id": project_id} for photo in photos])
        .on_conflict_do_nothing(index_elements=["project_id", "sha256"])
        .returning(col(Photo.id))
    ).all()
    wanted = [photo["sha256"] for photo in photos]
    query = select(Photo.sha256, Photo.id).where(col(Photo.project_id) == project_id, col(Photo.sha256).in_(wanted))
    return {row.sha256: row.id for row in session.execute(query)}, len(added)


def add_paths(session: Session, project_id: int, paths: Sequence[Mapping[str, Any]]) -> tuple[dict[str, int], int]:
    """Record that photos were seen at paths, now.

    Args:
        session: Whose transaction it is.
        project_id: Of the photos.
        paths: `photo_id, path, name, byte_size, modified_ns` each; no path twice.

    Returns:
        path -> id of all that were given, and how many are new to the project.
    """
    if not paths:
        return {}, 0
    values = [{**path, "project_id": project_id} for path in paths]
    statement = insert(PhotoPath).values(values)
    changed = {name: statement.excluded[name] for name in ("byte_size", "modified_ns")}
    rows = session.execute(
        statement.on_conflict_do_update(
            index_elements=["photo_id", "path"], set_={**changed, "seen_at": func.now()}
        ).returning(col(PhotoPath.path), col(PhotoPath.id), _IS_NEW)
    ).all()
    return {row.path: row.id for row in rows}, sum(row.is_new for row in rows)


def add_companions(session: Session, project_id: int, companions: Sequence[tuple[int, str]]) -> int:
    """Record companions, each as (id of its image's path, its own path); returns how many are new."""
    if not companions:
        return 0
    values = [{"project_id": project_id, "photo_path_id": path_id, "path": path} for path_id, path in companions]
    added = session.execute(
        insert(PhotoCompanion)
        .values(values)
        .on_conflict_do_nothing(index_elements=["photo_path_id", "path"])
        .returning(col(PhotoCompanion.id))
    )
    return len(added.all())
