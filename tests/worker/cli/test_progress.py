"""Progress: a bar for people at a terminal, plain lines for files, nothing for those who want quiet."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tests.worker.cli.conftest import Afterglow
from worker.cli import progress


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    page = io.StringIO()
    monkeypatch.setattr(progress, "remarks", Console(file=page, width=100))
    return page


def test_a_file_gets_a_plain_line_for_each_tenth(page: io.StringIO) -> None:
    with progress.counted("importing", "rows") as report:
        for done in range(1, 101):
            report(done, 100)
    lines = page.getvalue().splitlines()
    assert lines == [f"importing: {done} of 100 rows" for done in range(10, 101, 10)]


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    page = io.StringIO()
    monkeypatch.setattr(progress, "remarks", Console(file=page, width=100, force_terminal=True))
    with progress.counted("scoring", "images") as report, progress.working("storing"):
        report(3, 7)
    assert "\x1b[" in page.getvalue()


def test_quiet_says_nothing(page: io.StringIO) -> None:
    progress.remarks.quiet = True
    with progress.counted("importing", "rows") as report, progress.working("storing"):
        report(5, 10)
    assert page.getvalue() == ""


def test_scoring_many_files_counts_them_and_json_stays_alone_on_stdout(database: str, afterglow: Afterglow) -> None:
    from db.engine import session_scope
    from tests.tiny_model import activate, register_bundle
    from worker.places import file_store

    with session_scope() as session:
        activate(session, register_bundle(session, file_store()))
    plain = afterglow("score", "a.jpg", "b.jpg")
    assert plain.code == 1
    assert "scoring: 2 of 2 images" in plain.err
    told = afterglow("score", "a.jpg", "b.jpg", "--json")
    assert [each["pathTaken"] for each in told.json] == ["unscored", "unscored"]
    assert told.err == ""
