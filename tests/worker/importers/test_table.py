"""Which CSV is refused whole, which line alone, and what the words for it are."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from worker.importers.table import MAX_LINE, ImportRefused, Table

REQUIRED, OPTIONAL = ("image", "webcam"), ("rating", "label_source")


def _table(folder: Path, data: bytes) -> Table:
    path = folder / "a.csv"
    path.write_bytes(data)
    return Table(path, REQUIRED, OPTIONAL)


def _rows(folder: Path, data: bytes) -> list[tuple[int, object]]:
    return [(line.number, str(line.refused) if line.refused else line.cells) for line in _table(folder, data).lines()]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"\xff\xfei\0m\0", "UTF-16: save it as UTF-8"),
        (b"i\0m\0a\0g\0e\0,\0w\0", "NUL characters in its first line"),
        (b"PK\x03\x04abc", "spreadsheet: save it as CSV"),
        ("image,webcam\na,K\xf6ln\n".encode("latin-1"), "line 2 holds the byte 0xf6.*save it as UTF-8"),
        (b"image;webcam;rating\na;b;3\n", "separated by semicolons, but commas are wanted"),
        (b"image\twebcam\na\tb\n", "separated by tabs, but commas are wanted"),
        (b"sep=;\nimage;webcam\n", "remove that line"),
        (b"Image,webcam\n", "lacks the column image.*did you mean image instead of 'Image'"),
        (b"image,webcam,ratings\n", "not known: ratings; did you mean rating instead of 'ratings'.*Known: image, webcam"),
        (b"image,webcam,webcam\n", "names the column webcam twice"),
        (b"a" * (MAX_LINE + 1), "first line has more than"),
        (b'image,webcam\na,"b\nc,d\ne,f\n', "opened on line 2 is not closed"),
        (b'image,webcam\na,b\na,"b\n' + b"c,d\n" * 50_000, "opened on line 3 is not closed"),
        (b'image,webcam\na,"b' + b"x" * MAX_LINE + b"\nc,d\n", "opened on line 2 is not closed"),
        (b'image,webcam\na,"b" c\n', "line 2 is not CSV"),
    ],
)  # fmt: skip
def test_a_file_whose_rows_are_all_doubtful_is_refused_with_what_to_do(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(ImportRefused, match=words):
        _table(tmp_path, data)


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, words in (
        (tmp_path, "is a directory"),
        (tmp_path / "none.csv", "No such file"),
        (tmp_path / "pipe", "not a plain file"),
        (Path("/dev/zero"), "not a plain file"),
    ):
        with pytest.raises(ImportRefused, match=words):
            Table(path, REQUIRED, OPTIONAL)


def test_one_bad_line_is_refused_and_the_others_are_read(tmp_path: Path) -> None:
    long = b"x" * (MAX_LINE + 5)
    data = b"image,webcam\na,b\n" + long + b',"q"\n1,2,3\nc,d\n"e","f\ng"\nh,\0\n\n,\n\xd9\x85,k\n'
    assert _rows(tmp_path, data) == [
        (2, {"image": "a", "webcam": "b"}),
        (3, f"(row): is longer than {MAX_LINE:,} characters, more than any row could need"),
        (4, "(row): 3 cells under 2 columns"),
        (5, {"image": "c", "webcam": "d"}),
        (6, {"image": "e", "webcam": "f\ng"}),
        (8, "webcam: holds a NUL character, which is no text"),
        (11, {"image": "\u0645", "webcam": "k"}),
    ]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_and_a_byte_order_mark_are_taken(tmp_path: Path, ending: bytes) -> None:
    data = b"\xef\xbb\xbf" + ending.join([b"image,webcam", b" a , b ", b"c,d", b""])
    assert [cells for _, cells in _rows(tmp_path, data)] == [
        {"image": "a", "webcam": "b"},
        {"image": "c", "webcam": "d"},
    ]


def test_a_header_alone_has_no_rows(tmp_path: Path) -> None:
    assert _table(tmp_path, b"image,webcam\n").num_rows == 0


def test_a_long_file_is_never_held_whole(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_bytes(b"image,webcam\n" + (b"x" * 400 + b",harbour\n") * 4_000)
    tracemalloc.start()
    table = Table(path, REQUIRED, OPTIONAL)
    num_read = sum(1 for _ in table.lines())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (table.num_rows, num_read) == (4_000, 4_000)
    assert peak < path.stat().st_size / 2


def test_where_rows_may_be_ragged_more_cells_are_kept_and_too_few_are_refused(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("a,b,c\n1,2,3,4,5\n1,2\n1\n")
    lines = list(Table(path, ["a", "b"], ["c"], ragged=True).lines())
    assert [(line.cells, line.rest) for line in lines] == [
        ({"a": "1", "b": "2", "c": "3"}, ("4", "5")), ({"a": "1", "b": "2"}, ()), ({}, ()),
    ]  # fmt: skip
    assert [line.refused is None for line in lines] == [True, True, False]
    assert [line.refused is None for line in Table(path, ["a", "b"], ["c"]).lines()] == [False, False, False]
