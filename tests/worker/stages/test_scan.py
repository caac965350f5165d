"""Scan: photos come in once, by content, whatever the paths, the kills and the bad files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from db.engine import session_scope
from db.queries import photos
from db.queries.jobs import Claim
from db.tables import Photo, PhotoCompanion, PhotoPath, Project
from ml.demo.culling import MadeProject, make_project, write_project
from ml.images.decode import sha256_of
from ml.images.hashing import phash
from tests.conftest import environment, short_directory
from tests.tiny_model import picture
from worker.jobs import JobContext, JobFailed
from worker.stages import scan as stage
from worker.stages.scan import ScanReport, run, scan


@pytest.fixture(scope="module")
def made() -> MadeProject:
    return make_project("mojo1", 12, seed=2)


@pytest.fixture(scope="module")
def written(made: MadeProject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("photos")
    write_project(made, directory)
    return directory / "training data" / "mojo1"


def stored(project: str) -> dict[str, Any]:
    """All that a project holds, without ids and times of writing."""
    with session_scope() as session:
        found = photos.find_project(session, project)
        if found is None:
            return {}
        rows = session.exec(select(Photo).where(col(Photo.project_id) == found.id)).all()
        sha256 = {row.id: row.sha256 for row in rows}
        paths = session.exec(select(PhotoPath).where(col(PhotoPath.project_id) == found.id)).all()
        path = {row.id: row.path for row in paths}
        companions = session.exec(select(PhotoCompanion).where(col(PhotoCompanion.project_id) == found.id)).all()
        return {
            "photos": {row.sha256: row.model_dump(exclude={"id", "project_id", "created_at"}) for row in rows},
            "paths": {(row.path, sha256[row.photo_id], row.byte_size, row.modified_ns) for row in paths},
            "companions": {(path[row.photo_path_id], row.path) for row in companions},
        }


def test_everything_that_was_made_is_stored_with_what_it_is(database: str, made: MadeProject, written: Path) -> None:
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in written.rglob("*") if path.is_file()}
    report = scan(written, "whole")
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before} == before
    assert sorted(path for path in written.rglob("*") if path.is_file()) == sorted(before)
    has, everything = stored("whole"), list(made.photos())
    assert (report.images, report.read, report.photos_added, report.paths_added) == (len(everything),) * 4
    assert (report.unreadable, report.others) == ([], [])
    assert report.companions_added == sum(len(photo.companions) for photo in everything) == len(has["companions"])
    for photo in everything:
        row = has["photos"][sha256_of(photo.png())]
        assert (row["width"], row["height"], row["stage"]) == (photo.width, photo.height, photo.stage)
        assert row["name"] == photo.name and row["orientation"] == 1
        assert f"{row['taken_at']:%Y%m%d_%H%M%S}" == photo.name[:15]
        assert photos.unsigned(row["phash"]) == phash(photo.png())
        assert {(str(written / photo.path), str(written / each)) for each in photo.companions} <= has["companions"]


def test_a_second_scan_reads_nothing_and_adds_nothing(
    database: str, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scan(written, "twice")
    once = stored("twice")

    def fail(path: str) -> None:
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr(stage, "read_photo", fail)
    again = scan(written, "twice")
    assert (again.unchanged, again.read) == (first.images, 0)
    assert (again.photos_added, again.paths_added, again.companions_added) == (0, 0, 0)
    assert stored("twice") == once


def test_a_moved_directory_holds_the_same_photos_under_more_paths(database: str, written: Path, tmp_path: Path) -> None:
    scan(written, "moved")
    before = stored("moved")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(written, elsewhere)
    report = scan(elsewhere, "moved")
    after = stored("moved")
    assert (report.photos_added, report.paths_added) == (0, report.images)
    assert after["photos"] == before["photos"]
    assert len(after["paths"]) == 2 * len(before["paths"]) and before["paths"] < after["paths"]


def test_two_projects_have_each_their_own(database: str, written: Path) -> None:
    scan(written, "one")
    report = scan(written, "other")
    assert report.photos_added == report.images
    assert stored("one") == stored("other")


def test_another_content_at_a_path_is_another_photo_and_the_first_keeps_its_alias(
    database: str, tmp_path: Path
) -> None:
    same = picture(1)
    (tmp_path / "a.png").write_bytes(same)
    (tmp_path / "b.png").write_bytes(same)
    assert scan(tmp_path, "changed").photos_added == 1
    (tmp_path / "a.png").write_bytes(picture(2))
    report = scan(tmp_path, "changed")
    assert (report.photos_added, report.paths_added, report.unchanged) == (1, 1, 1)
    with session_scope() as session:
        project = photos.get_project(session, "changed").id
        assert len(photos.photos_named(session, project, ["a.png"])["a.png"]) == 2  # type: ignore[arg-type]
    assert scan(tmp_path, "changed").unchanged == 2


def test_a_bad_file_is_told_with_its_reason_and_stops_nothing(database: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    (tmp_path / "b.png").write_bytes(picture(3))
    (tmp_path / "b.jpg").write_bytes(picture(4))
    (tmp_path / "b.yaml").write_text("whose?")
    (tmp_path / "c.png").symlink_to(tmp_path / "b.png")
    report = scan(tmp_path, "bad")
    assert (report.images, report.read, report.photos_added) == (3, 2, 2)
    assert [(Path(each.path).name, each.reason[:20]) for each in report.unreadable] == [
        ("a.png", "this is not an image")
    ]
    assert sorted(Path(each.path).name for each in report.others) == ["b.yaml", "c.png"]
    assert report.read + report.unchanged + len(report.unreadable) == report.images
    summary = report.summary()
    assert summary["num_unreadable"] == 1 and sum(summary["unreadable_by_reason"].values()) == 1


def test_an_empty_directory_makes_an_empty_project(database: str, tmp_path: Path) -> None:
    assert scan(tmp_path, "empty").images == 0
    assert stored("empty")["photos"] == {}


KILLED = """
import os, signal, sys
from pathlib import Path
from worker.stages import scan as stage
stage.PHOTOS_AT_ONCE = 7
chunks = 0
def progress(done, total):
    global chunks
    chunks += 1
    if chunks == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
write = stage._write
def killed_in_a_transaction(*given):
    if chunks == int(sys.argv[4]):
        def add_companions(*_):
            os.kill(os.getpid(), signal.SIGKILL)
        stage.photos.add_companions = add_companions
    write(*given)
stage._write = killed_in_a_transaction
stage.scan(Path(sys.argv[1]), sys.argv[2], progress)
"""


def test_a_scan_that_is_killed_twice_goes_on_and_ends_with_the_same_rows(
    database: str, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan(written, "at once")
    sizes = []
    for after_chunk, within_chunk in ((2, 99), (99, 3)):  # between two transactions; within one
        words = [sys.executable, "-c", KILLED, str(written), "killed", str(after_chunk), str(within_chunk)]
        ended = subprocess.run(words, env=os.environ, capture_output=True, timeout=120)
        assert ended.returncode == -9, ended.stderr.decode()
        sizes.append(len(stored("killed")["paths"]))
    assert sizes == [14, 21]
    report = scan(written, "killed")
    assert (report.unchanged, report.read) == (21, report.images - 21)
    assert stored("killed") == stored("at once")


def test_progress_counts_up_to_all_and_may_stop_it(
    database: str, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "PHOTOS_AT_ONCE", 10)
    seen: list[tuple[int, int]] = []
    total = scan(written, "progress", lambda *counts: seen.append(counts)).images
    assert seen[0] == (10, total) and seen[-1] == (total, total)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(written, "stopped", stop)
    assert len(stored("stopped")["paths"]) == 10


@pytest.fixture
def roots(database: str) -> Iterator[Path]:
    with (
        short_directory() as root,
        environment(
            DATABASE_URL=database, AFTERGLOW_DATA_DIR=os.environ["AFTERGLOW_DATA_DIR"], AFTERGLOW_PHOTO_ROOTS=str(root)
        ),
    ):
        yield root


class TestJob:
    def claim(self, directory: Path | str) -> JobContext:
        return JobContext(Claim(1, "scan", {"project": "job", "directory": str(directory)}, 1, "w", None))

    def test_it_scans_below_a_declared_root(self, roots: Path) -> None:
        (roots / "mojo1").mkdir()
        (roots / "mojo1" / "a.png").write_bytes(picture(8))
        result = run(self.claim(roots / "mojo1")).result
        assert (result["photos_added"], result["num_unreadable"]) == (1, 0)

    @pytest.mark.parametrize("directory", ["/", "relative", "/etc", "{root}/..", "{root}/link", "{root}/absent"])
    def test_it_reads_nothing_elsewhere_and_says_what_to_do(self, roots: Path, directory: str) -> None:
        (roots / "link").symlink_to("/etc")
        with pytest.raises(JobFailed, match=r"AFTERGLOW_PHOTO_ROOTS|absolute|not a directory"):
            run(self.claim(directory.format(root=roots)))
        with session_scope() as session:
            assert session.exec(select(Project).where(col(Project.name) == "elsewhere")).first() is None


def test_the_report_is_plain_json() -> None:
    assert ScanReport("p", "/d").to_json()["images"] == 0
