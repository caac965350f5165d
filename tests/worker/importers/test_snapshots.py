"""Importing snapshots: what is taken, what is known, and what is refused by row, column and reason."""

from __future__ import annotations

import csv
import hashlib
import io
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import text
from sqlmodel import Session, col, select

from db.engine import session_scope
from db.queries import exclusions, labels, webcams
from db.queries.exclusions import Subject
from db.tables import RatingEvent, Webcam, WebcamSnapshot
from ml.images.store import FileStore
from worker.importers.snapshots import ImportRefused, import_snapshots

HEADER = ["image", "webcam", "phase", "captured_at", "rating", "rater"]


def _jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(_jpeg(number))
    return tmp_path


def _table(folder: Path, rows: list[list[object]], header: list[str] = HEADER) -> Path:
    path = folder / "labels.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def _snapshots(webcam: str) -> list[WebcamSnapshot]:
    with session_scope() as session:
        found = webcams.find_webcam(session, "windy", webcam)
        if found is None:
            return []
        return list(session.exec(select(WebcamSnapshot).where(col(WebcamSnapshot.webcam_id) == found.id)).all())


def test_a_second_import_adds_nothing(database: str, store: FileStore, folder: Path) -> None:
    table = _table(folder, [["0.jpg", "twice", "sunset", "2026-01-01T17:00:00Z", 4, "ann"],
                            ["0.jpg", "twice", "sunset", "2026-01-01T17:00:00Z", 5, "bob"],
                            ["1.jpg", "twice", "sunset", "2026-01-02T17:00:00Z", 0, "ann"]])  # fmt: skip
    first = import_snapshots(table, folder, store)
    assert (first.imported, first.known, first.refused) == (3, 0, [])
    assert (first.webcams_added, first.snapshots_added, first.ratings_added) == (1, 2, 3)
    second = import_snapshots(table, folder, store)
    assert (second.imported, second.known, second.refused) == (0, 3, [])
    assert (second.webcams_added, second.snapshots_added, second.ratings_added) == (0, 0, 0)
    with session_scope() as session:
        recorded = [exclusions.get_import(session, each.import_id) for each in (first, second)]  # type: ignore[arg-type]
        named = session.exec(select(RatingEvent.import_id).where(col(RatingEvent.import_id).is_not(None))).all()
    assert {each.file_sha256 for each in recorded} == {hashlib.sha256(table.read_bytes()).hexdigest()}
    assert [each.counts for each in recorded] == [first.counts(), second.counts()]
    assert list(named) == [first.import_id] * 3
    two, one = sorted(_snapshots("twice"), key=lambda s: s.captured_at)
    assert (two.calculated_rating, two.rating_count) == (4.5, 2)
    assert (one.calculated_rating, one.rating_count) == (None, 0)


@pytest.mark.parametrize(
    ("cells", "column", "words"),
    [
        (["0.jpg", "bad", "sunset", "2026-01-01T17:00:00Z", 7, "ann"], "rating", "outside 0..5"),
        (["0.jpg", "bad", "sunset", "2026-01-01T17:00:00Z", 3.5, "ann"], "rating", "not whole"),
        (["0.jpg", "bad", "sunset", "2026-01-01T17:00:00Z", "good", "ann"], "rating", "not a number"),
        (["0.jpg", "bad", "sunset", "2026-01-01T17:00:00Z", "4,5", "ann"], "rating", "write 4.5, with a point"),
        (["0.jpg", "bad", "sunset", "2026-01-01T17:00:00Z", "nan", "ann"], "rating", "not a number"),
        (["0.jpg", "bad", "sunset", "2026-01-01T17:00:00Z", "1e400", "ann"], "rating", "outside 0..5"),
        (["0.jpg", "bad", "sunset", "2026-01-01T17:00:00Z", "0_4", "ann"], "rating", "not a number"),
        (["0.jpg", "bad\0", "sunset", "2026-01-01T17:00:00Z", 3, "ann"], "webcam", "NUL"),
        (["0\0.jpg", "bad", "sunset", "2026-01-01T17:00:00Z", 3, "ann"], "image", "NUL"),
        (["0.jpg", "bad", "x" * 10_000, "2026-01-01T17:00:00Z", 3, "ann"], "phase", "..."),
        (["0.jpg", "bad", "sunset", "1767286800", 3, "ann"], "captured_at", "ISO 8601"),
        (["0.jpg", "bad", "noon", "2026-01-01T17:00:00Z", 3, "ann"], "phase", "sunrise, sunset"),
        (["0.jpg", "bad", "sunset", "yesterday", 3, "ann"], "captured_at", "ISO 8601"),
        (["0.jpg", "bad", "sunset", "2026-01-01T17:00:00", 3, "ann"], "captured_at", "time zone"),
        (["0.jpg", "bad", "sunset", "0001-01-01T00:00:00+10:00", 3, "ann"], "captured_at", "between the years"),
        (["0.jpg", "bad", "sunset", "9999-12-31T23:59:59-10:00", 3, "ann"], "captured_at", "between the years"),
        (["http://[::1", "bad", "sunset", "2026-01-01T17:00:00Z", 3, "ann"], "image", "not a URL"),
        (["http://h/" + "x" * 6000, "bad", "sunset", "2026-01-01T17:00:00Z", 3, "ann"], "image", "at most 2000"),
        (["0.jpg", "bad" + "x" * 6000, "sunset", "2026-01-01T17:00:00Z", 3, "ann"], "webcam", "at most 200"),
        (["0.jpg", "bad", "sunset", "2026-01-01T17:00:00Z", 3, "a" * 6000], "rater", "at most 200"),
        (["0.jpg", "", "sunset", "2026-01-01T17:00:00Z", 3, "ann"], "webcam", "empty"),
        (["none.jpg", "bad", "sunset", "2026-01-01T17:00:00Z", 3, "ann"], "image", "not a file"),
        (["../0.jpg", "bad", "sunset", "2026-01-01T17:00:00Z", 3, "ann"], "image", "outside"),
        (["ftp://host/0.jpg", "bad", "sunset", "2026-01-01T17:00:00Z", 3, "ann"], "image", "neither a path"),
        (["text.jpg", "bad", "sunset", "2026-01-01T17:00:00Z", 3, "ann"], "image", "text.jpg"),
        (["cut.jpg", "bad", "sunset", "2026-01-01T17:00:00Z", 3, "ann"], "image", "cut.jpg"),
        (["0.jpg", "bad", "sunset"], "(row)", "3 cells under 6 columns"),
    ],
)
def test_a_bad_row_is_named_and_never_stops_the_good_ones(
    database: str, store: FileStore, folder: Path, cells: list[object], column: str, words: str
) -> None:
    (folder / "text.jpg").write_text("not an image")
    (folder / "cut.jpg").write_bytes(_jpeg(9)[:200])
    good = ["1.jpg", "good", "sunset", "2026-01-01T17:00:00Z", 3, "ann"]
    report = import_snapshots(_table(folder, [cells, good]), folder, store)
    (refusal,) = report.refused
    assert (refusal.row, refusal.column) == (2, column)
    assert words in refusal.reason
    assert report.imported + report.known == 1
    assert _snapshots("bad") == []


def test_another_verdict_of_the_same_rater_is_refused_not_overwritten(
    database: str, store: FileStore, folder: Path
) -> None:
    row = ["2.jpg", "again", "sunset", "2026-01-01T17:00:00Z"]
    import_snapshots(_table(folder, [[*row, 4, "ann"]]), folder, store)
    report = import_snapshots(_table(folder, [[*row, 2, "ann"]]), folder, store)
    assert "never overwrites" in report.refused[0].reason
    assert _snapshots("again")[0].calculated_rating == 4


def _exclude(import_id: int | None) -> None:
    with session_scope() as session:
        exclusions.exclude(session, Subject(import_id=import_id), reason="columns were swapped", by="test")


def _as_of_now(session: Session) -> tuple[datetime, list[labels.RawRating]]:
    moment: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
    return moment, labels.raw_ratings(session, moment)


def test_a_mended_file_takes_the_place_of_an_excluded_import_and_the_past_stays(
    database: str, store: FileStore, folder: Path
) -> None:
    def file(*ratings: tuple[int, str]) -> Path:
        rows = [[f"{place}.jpg", "mended", "sunset", f"2026-01-0{place + 1}T17:00:00Z", *each]
                for place, each in enumerate(ratings)]  # fmt: skip
        return _table(folder, rows)

    kept = import_snapshots(file((5, "bob")), folder, store)
    wrong = import_snapshots(file((1, "ann"), (2, "ann"), (4, "ann")), folder, store)
    assert (kept.imported, wrong.imported, wrong.refused) == (1, 3, [])
    with session_scope() as session:
        before, then = _as_of_now(session)
    _exclude(wrong.import_id)
    mended = import_snapshots(file((5, "ann"), (4, "ann"), (4, "ann")), folder, store)  # the third was right, too
    assert (mended.imported, mended.known, mended.refused, mended.ratings_added) == (3, 0, [], 3)
    assert [(each.calculated_rating, each.rating_count) for each in _snapshots("mended")] == [(5, 2), (4, 1), (4, 1)]
    again = import_snapshots(file((5, "ann"), (4, "ann"), (4, "ann")), folder, store)
    assert (again.imported, again.known) == (0, 3)
    refused = import_snapshots(file((1, "ann"), (1, "bob")), folder, store)
    assert (len(refused.refused), refused.imported) == (1, 1)  # what counts is never overwritten
    with session_scope() as session:
        assert labels.raw_ratings(session, before) == then
        events = session.exec(select(RatingEvent).where(col(RatingEvent.import_id) == wrong.import_id)).all()
        assert [each.rating for each in events] == [1, 2, 4]
        exclusions.lift(session, Subject(import_id=wrong.import_id), reason="test", by="test")
    assert _snapshots("mended")[2].calculated_rating == 4


def test_a_seed_of_an_excluded_import_is_refused_with_what_to_do(database: str, store: FileStore, folder: Path) -> None:
    header = [*HEADER, "label_source"]
    row = ["3.jpg", "seeded wrongly", "sunset", "2026-01-01T17:00:00Z"]
    first = import_snapshots(_table(folder, [[*row, 4.5, "ann", "manual_seed"]], header), folder, store)
    _exclude(first.import_id)
    for seed in (4.5, 2):
        (refusal,) = import_snapshots(
            _table(folder, [[*row, seed, "ann", "manual_seed"]], header), folder, store
        ).refused
        assert "excluded" in refusal.reason and "give the row another label_source" in refusal.reason
    assert import_snapshots(_table(folder, [[*row, 2, "ann", "import"]], header), folder, store).ratings_added == 1


def test_a_seed_is_kept_apart_from_ratings(database: str, store: FileStore, folder: Path) -> None:
    table = _table(
        folder,
        [["3.jpg", "seeded", "sunset", "2026-01-01T17:00:00Z", 3.5, "", "manual_seed"]],
        [*HEADER, "label_source"],
    )
    assert import_snapshots(table, folder, store).imported == 1
    (snapshot,) = _snapshots("seeded")
    assert (snapshot.initial_rating, snapshot.calculated_rating, snapshot.rating_count) == (3.5, None, 0)
    with session_scope() as session:
        assert labels.list_ratings(session, snapshot.id) == []  # type: ignore[arg-type]


def test_a_url_is_kept_without_being_fetched(database: str, store: FileStore, folder: Path) -> None:
    table = _table(folder, [["https://example.org/a.jpg", "far", "sunset", "2026-01-01T17:00:00Z", 3, "ann"]])
    assert import_snapshots(table, None, store).imported == 1
    (snapshot,) = _snapshots("far")
    assert (snapshot.firebase_url, snapshot.image_state) == ("https://example.org/a.jpg", "unfetched")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"image,webcam,phase\n", "lacks the column captured_at"),
        (b"", "is empty"),
        (b"image,webcam,phase,captured_at,stars\n", "not known: stars"),
        (b"image,webcam,phase,captured_at,phase\n", "twice"),
        ("image,webcam,phase,captured_at\nä.jpg,c,sunset,x\n".encode("latin1"), "not UTF-8"),
        ("image,webcam,phase,captured_at\n".encode("utf-16"), "UTF-8"),
        (b'image,webcam,phase,captured_at\n"open,c,sunset,x\n', "not CSV"),
    ],
)
def test_a_file_that_is_no_table_of_snapshots_is_refused_whole(
    database: str, session: Session, store: FileStore, tmp_path: Path, data: bytes, words: str
) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(data)
    before = len(session.exec(select(Webcam)).all())
    with pytest.raises(ImportRefused, match=words):
        import_snapshots(path, tmp_path, store)
    assert len(session.exec(select(Webcam)).all()) == before


def test_a_broken_last_line_leaves_nothing_of_the_good_ones_before_it(
    database: str, store: FileStore, folder: Path
) -> None:
    path = folder / "late.csv"
    path.write_bytes(b"image,webcam,phase,captured_at\n0.jpg,late,sunset,2026-01-01T17:00:00Z\n\xff,late,sunset,x\n")
    with pytest.raises(ImportRefused, match="line 3 holds the byte 0xff"):
        import_snapshots(path, folder, store)
    assert _snapshots("late") == []


def test_a_header_alone_is_nothing_to_import_and_no_error(database: str, store: FileStore, folder: Path) -> None:
    report = import_snapshots(_table(folder, []), folder, store)
    assert (report.rows, report.imported, report.refused) == (0, 0, [])


def test_a_line_too_long_for_a_row_is_refused_alone(database: str, store: FileStore, folder: Path) -> None:
    rows = [[f"{number}.jpg", "long", "sunset", "2026-01-01T17:00:00Z", 3, "ann"] for number in range(3)]
    rows[1][5] = "a" * 200_000
    report = import_snapshots(_table(folder, rows), folder, store)
    assert [(each.row, each.column) for each in report.refused] == [(3, "(row)")]
    assert (report.imported, len(_snapshots("long"))) == (2, 2)


def test_a_known_webcam_stays_as_stored_and_the_report_says_so_once(
    database: str, store: FileStore, folder: Path
) -> None:
    header = [*HEADER, "title", "lat", "region"]
    cells = ["kept", "sunset", "2026-01-01T17:00:00Z", 3, "ann"]
    import_snapshots(_table(folder, [["0.jpg", *cells, "Harbour", 48.5, ""]], header), folder, store)
    same = import_snapshots(_table(folder, [["0.jpg", *cells, "Harbour", "48.50", ""]], header), folder, store)
    assert (same.known, same.kept) == (1, [])
    other = [["0.jpg", *cells, "Pier", 48.5, "North"], ["1.jpg", *cells, "Pier", 48.5, "North"]]
    report = import_snapshots(_table(folder, other, header), folder, store)
    assert (report.known, report.imported, report.refused) == (1, 1, [])
    assert [(each.row, each.column) for each in report.kept] == [(2, "title"), (2, "region")]
    assert "title 'Harbour'; 'Pier' was not taken" in report.kept[0].reason
    assert "region empty" in report.kept[1].reason
    with session_scope() as session:
        webcam = webcams.find_webcam(session, "windy", "kept")
        assert webcam is not None
        assert (webcam.title, webcam.lat, webcam.region) == ("Harbour", 48.5, None)
    assert report.to_json()["kept"][0]["column"] == "title"


def test_names_of_any_script_are_text_and_come_back_as_they_were(database: str, store: FileStore, folder: Path) -> None:
    name = "\u202e\u05de\u05e6\u05dc\u05de\u05d4 \U0001f305 <img onerror=x> =1+1"
    table = _table(folder, [["0.jpg", name, "sunset", "2026-01-01T17:00:00Z", 3, name]])
    assert import_snapshots(table, folder, store).imported == 1
    (snapshot,) = _snapshots(name)
    with session_scope() as session:
        [rating] = labels.list_ratings(session, snapshot.id)  # type: ignore[arg-type]
        assert rating.user_session_id == name


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(database: str, store: FileStore, folder: Path) -> None:
    path = folder / "bom.csv"
    path.write_bytes(
        b"\xef\xbb\xbfimage,webcam,phase,captured_at\r\n0.jpg,bom,sunset,2026-01-01T17:00:00+01:00\r\n\r\n"
    )
    report = import_snapshots(path, folder, store)
    assert (report.rows, report.imported) == (1, 1)
    assert _snapshots("bom")[0].captured_at.isoformat() == "2026-01-01T16:00:00+00:00"
