"""Logs of choosing and cropping: each dialect, and what was planted in it, row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from db.engine import session_scope
from ml.demo.culling import PHOTOS, make_project, write_project
from ml.demo.culling_logs import LOGS, MadeLog, make_logs, write_logs
from tests.worker.cli.conftest import Afterglow, afterglow  # noqa: F401  a fixture
from worker.importers.photo_logs import LogReport, import_log
from worker.importers.table import ImportRefused
from worker.stages.scan import scan


@pytest.fixture(scope="module")
def logs(database: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, MadeLog]]:
    """Two projects that were scanned, and the directory of their logs, whose paths lie under another root."""
    directory = tmp_path_factory.mktemp("culling")
    projects = [make_project("mojo1", 40, seed=3), make_project("mojo2", 12, seed=3)]
    for project in projects:
        write_project(project, directory)
        scan(directory / PHOTOS / project.name, project.name)
    made = make_logs(projects)
    write_logs(made.values(), directory)
    return directory / "logs", made


def counted() -> tuple[int, ...]:
    tables = ("photo_groups", "photo_group_members", "selection_events", "selections", "crop_events", "crops",
              "label_imports")  # fmt: skip
    with session_scope() as session:
        return tuple(session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in tables)


def imported(path: Path, **options: Any) -> LogReport:
    return import_log(path, "ann", "test", **options)


@pytest.mark.parametrize("name", LOGS)
def test_what_is_refused_is_exactly_what_was_planted(logs: tuple[Path, dict[str, MadeLog]], name: str) -> None:
    folder, made = logs
    rows = made[name].rows
    nothing = counted()
    dry = imported(folder / name, dry_run=True)
    assert counted() == nothing
    report = imported(folder / name)
    assert {**dry.to_json(), "dry_run": False, "import_id": report.import_id} == report.to_json()
    assert {each.row: each.code for each in report.refused} == {row.number: row.refused for row in rows if row.refused}
    assert {each.row: each.code for each in report.crops_refused} == {
        row.number: row.crop_refused for row in rows if row.crop_refused
    }
    good = [row for row in rows if not row.refused]
    # A row with a broken crop says of its group what a good one has said before, at another time.
    assert (report.rows, report.imported, report.known) == (len(rows), len(good), 0)
    assert report.selections_added == sum(bool(row.rejected) for row in good)
    assert report.crops_added == sum(row.crop is not None for row in good)
    before = counted()
    again = imported(folder / name)
    assert (again.imported, again.known, len(again.refused)) == (0, report.imported, len(report.refused))
    assert (again.selections_added, again.crops_added, again.groups_added) == (0, 0, 0)
    assert counted()[:-1] == before[:-1]


def test_what_was_chosen_and_cropped_is_what_the_log_says(logs: tuple[Path, dict[str, MadeLog]]) -> None:
    folder, made = logs
    name = "select_crop_log.csv"
    imported(folder / name)
    query = """
        SELECT p.name, e.x1, e.y1, e.x2, e.y2 FROM crop_events e JOIN photos p ON p.id = e.photo_id
        WHERE e.label_source = 'select_crop_log'
    """
    with session_scope() as session:
        crops = {row[0]: tuple(row[1:]) for row in session.execute(text(query))}
        chosen = session.execute(
            text(
                "SELECT p.name, array_agg(o.name ORDER BY o.name) FROM selection_events e "
                "JOIN photos p ON p.id = e.chosen_photo_id JOIN photo_group_members m ON m.group_id = e.group_id "
                "JOIN photos o ON o.id = m.photo_id AND o.id <> p.id WHERE e.label_source = 'select_crop_log' "
                "GROUP BY e.id, p.name"
            )
        ).all()
    good = [row for row in made[name].rows if not row.refused]
    assert sorted((each[0], tuple(each[1])) for each in chosen) == sorted(
        (row.chosen, tuple(sorted(row.rejected))) for row in good
    )
    assert crops == {row.chosen: pytest.approx(row.crop) for row in good if row.crop}


@pytest.mark.parametrize(
    ("content", "message"),
    [("a,b\n1,2\n", "no log that is known"), ("", "no log that is known"), ("neg_paths\n[]\n", "lacks the column")],
)
def test_a_file_of_no_dialect_is_refused_whole(database: str, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "log.csv").write_text(content)
    before = counted()
    with pytest.raises(ImportRefused, match=message):
        imported(tmp_path / "log.csv")
    assert counted() == before


HEADER = "session_id,set_id,chosen_path,neg_paths,timestamp\n"


def test_without_a_scan_nothing_matches_and_it_says_what_to_do(database: str, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(HEADER + 's,1,/x/nowhere/a.png,"[""/x/nowhere/b.png""]",2025-07-27T22:48:40Z\n' + "s,1,a\n")
    report = imported(path)
    assert [(each.row, each.code) for each in report.refused] == [(2, "unknown-project"), (3, "bad-row")]
    assert "afterglow scan" in report.refused[0].reason


def test_the_command_reports_rows_and_writes_nothing_in_a_dry_run(
    afterglow: Afterglow,  # noqa: F811
    logs: tuple[Path, dict[str, MadeLog]],
) -> None:
    folder, made = logs
    before = counted()
    said = afterglow("import", "log", str(folder / LOGS[0]), "--rater", "cli", "--dry-run")
    assert said.code == 0 and "nothing was written" in said.out and "8 refused" in said.out, said.out
    assert counted() == before
    facts = afterglow("import", "log", str(folder / LOGS[0]), "--rater", "cli", "--json").json
    assert facts["imported"] == sum(row.refused is None for row in made[LOGS[0]].rows)
    assert afterglow("import", "log", str(folder / "absent.csv")).code == 2
    assert afterglow("import", "log", str(folder / LOGS[0]), "--rater", " ").code == 2
