"""Import a log of choosing and cropping: selections and crops of photos that were scanned before, matched by file name.

A log names paths of another machine. A photo is matched by its file name within its project, whatever the directory; a
name that two different photos had is refused, and so is one that none had. The whole file is one transaction.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlmodel import Session

from db.engine import session_scope
from db.queries import exclusions, photos, selections
from ml.images.photo_names import read_photo_name
from worker.importers.log_cells import LogRefused
from worker.importers.log_dialects import DIALECTS, Dialect, LogRow
from worker.importers.table import ImportRefused, Table


@dataclass(frozen=True)
class LogRefusal:
    """Why a row, or the crop of one, was not taken."""

    row: int
    """Line of the file where the row begins, the header being line 1."""
    column: str
    code: str
    reason: str


@dataclass
class LogReport:
    """What an import did. `imported + known + len(refused)` is the number of rows."""

    dialect: str
    dry_run: bool
    rows: int = 0
    imported: int = 0
    known: int = 0
    refused: list[LogRefusal] = field(default_factory=list)
    crops_refused: list[LogRefusal] = field(default_factory=list)
    """Of rows that were taken or known otherwise."""
    selections_added: int = 0
    crops_added: int = 0
    groups_added: int = 0
    import_id: int | None = None
    """The recorded import, which its labels name; null in a dry run."""

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return asdict(self)

    def counts(self) -> dict[str, int]:
        """How many of everything: what is recorded of the import."""
        counted = ("rows", "imported", "known", "selections_added", "crops_added", "groups_added")
        return {
            **{name: getattr(self, name) for name in counted},
            "refused": len(self.refused),
            "crops_refused": len(self.crops_refused),
        }


class _DryRun(Exception):
    """Ends the transaction of a dry run."""


def import_log(
    path: Path,
    rater: str,
    by: str,
    dry_run: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> LogReport:
    """Import a log; a second import of it adds nothing.

    Args:
        path: CSV of one of the dialects, told by its header.
        rater: Whose selections and crops they are.
        by: Who imports, for the record.
        dry_run: Write nothing, and report what would be.
        progress: Called with rows done and rows in all.

    Raises:
        ImportRefused: The file cannot be read, or is of no dialect; nothing was written.
    """
    dialect = _dialect(path)
    table = Table(path, dialect.required, dialect.optional, ragged=True)
    report = LogReport(dialect.name, dry_run, rows=table.num_rows)
    try:
        with session_scope() as session:
            report.import_id = exclusions.begin_import(session, file_name=path.name, file_sha256=_sha256(path), by=by)
            _Importer(session, dialect, rater, report).run(table, progress)
            exclusions.end_import(session, report.import_id, report.counts())
            if dry_run:
                raise _DryRun
    except _DryRun:
        report.import_id = None
    return report


class _Importer:
    """One import, within its transaction."""

    def __init__(self, session: Session, dialect: Dialect, rater: str, report: LogReport) -> None:
        self._session, self._dialect, self._rater, self._report = session, dialect, rater, report
        self._projects = {row.name: row.id for row, _ in photos.list_projects(session, limit=None)}

    def run(self, table: Table, progress: Callable[[int, int], None]) -> None:
        """Take every row, or say why not."""
        known = frozenset(self._projects)
        for done, line in enumerate(table.lines(), start=1):
            try:
                if line.refused is not None:
                    raise LogRefused(line.refused.column, "bad-row", line.refused.reason)
                row = self._dialect.read(line, known)
                is_new = self._write(row)
            except LogRefused as refused:
                self._report.refused.append(_told(line.number, refused))
            else:
                self._report.imported += is_new
                self._report.known += not is_new
                if row.crop_refused is not None:
                    self._report.crops_refused.append(_told(line.number, row.crop_refused))
            progress(done, self._report.rows)

    def _write(self, row: LogRow) -> bool:
        """Write one row; whether anything was new."""
        ids = self._matched(row)
        facts: dict[str, Any] = {
            "rater": self._rater,
            "label_source": self._dialect.name,
            "import_id": self._report.import_id,
            "said_at": row.said_at,
        }
        chosen, is_new = ids[row.chosen], False
        if row.rejected:
            project_id = self._projects[row.project]
            assert project_id is not None
            places = [ids[name] for name in sorted(ids, key=_place)]
            group_id, group_added = selections.find_or_add_group(self._session, project_id, places, "log")
            said = selections.choose(self._session, group_id=group_id, photo_id=chosen, **facts)
            self._report.groups_added += group_added
            self._report.selections_added += said
            is_new = said
        if row.box is not None:
            said = selections.crop_photo(self._session, photo_id=chosen, box=row.box, **facts)
            self._report.crops_added += said
            is_new = is_new or said
        return is_new

    def _matched(self, row: LogRow) -> dict[str, int]:
        """File name -> the photo of the row's project that had it."""
        project_id = self._projects[row.project]
        assert project_id is not None
        names = (row.chosen, *row.rejected)
        found = photos.photos_named(self._session, project_id, names)
        for name in names:
            where = "chosen_path" if name == row.chosen else "rejected"
            if len(found.get(name, ())) > 1:
                raise LogRefused(where, "ambiguous", f"{name!r} names {len(found[name])} photos of {row.project}")
            if name not in found:
                raise LogRefused(where, "unmatched", f"no photo of {row.project} was ever called {name!r}")
        ids = {name: found[name][0] for name in names}
        if len(set(ids.values())) < len(ids):
            raise LogRefused("rejected", "chosen-among-rejected", "two of the files have the same content")
        return ids


def _dialect(path: Path) -> Dialect:
    if not path.is_file():
        raise ImportRefused(f"{path} is not a file: name a log in CSV")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = [name.strip() for name in next(csv.reader([file.readline(1 << 17)]), [])]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ImportRefused(f"{path} cannot be read as CSV in UTF-8: {error}") from error
    for dialect in DIALECTS:
        if dialect.told_by in header:
            return dialect
    known = "; ".join(f"{dialect.name}: {', '.join(dialect.required)}" for dialect in DIALECTS)
    raise ImportRefused(f"{path} is no log that is known: its first line must name the columns of one of {known}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _told(number: int, refused: LogRefused) -> LogRefusal:
    return LogRefusal(number, refused.column, refused.code, refused.reason)


def _place(name: str) -> tuple[float, float, str]:
    said = read_photo_name(name)
    moment = float("inf") if said.taken_at is None else said.taken_at.timestamp()
    return moment, float("inf") if said.stage is None else said.stage, name
