"""Cells of the logs: what is read, and what is refused with which code."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from worker.importers.log_cells import (
    LogRefused,
    file_name,
    project_in,
    read_box,
    read_json_list,
    read_python_list,
    read_time,
)

COLUMNS = ("x1", "y1", "x2", "y2")
SIZE = ("200", "100")


def box(*texts: str, size: tuple[str, str] | None = SIZE) -> tuple[float, float, float, float]:
    return read_box(dict(zip(COLUMNS, texts, strict=True)), COLUMNS, size)


@pytest.mark.parametrize(
    "text", ["2025-07-27T22:48:40Z", "20250727_224840", "2025-07-28T00:48:40+02:00", "2025-07-27 22:48:40"]
)
def test_times_are_read_in_every_spelling(text: str) -> None:
    assert read_time("t", text) == datetime(2025, 7, 27, 22, 48, 40, tzinfo=UTC)
    assert read_time("t", text).utcoffset() == timedelta(0)


@pytest.mark.parametrize("text", ["", "yesterday", "20251327_224840", "2025-13-01", "0001-01-01T00:00:00+23:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(LogRefused) as refused:
        read_time("t", text)
    assert refused.value.code == "bad-time"


def test_lists_are_parsed() -> None:
    assert read_json_list("l", '["a", "b c"]') == read_python_list("l", "['a', 'b c']") == ["a", "b c"]
    assert read_json_list("l", "[]") == []


@pytest.mark.parametrize("text", ["", "a", "{}", "[1]", '[""]', '["a\\u0000"]', '["\\ud800"]', "[" * 5000, "__import__('os')",
                                  "[__import__('os').getcwd()]", "['a'", "['a' + 'b']", "('a',)"])  # fmt: skip
def test_what_is_no_list_of_paths_is_refused_and_never_evaluated(text: str) -> None:
    for read in (read_json_list, read_python_list):
        with pytest.raises(LogRefused) as refused:
            read("l", text)
        assert refused.value.code == "bad-list"


def test_pixels_and_fractions_say_the_same() -> None:
    assert box("20", "10", "100", "50") == box("0.1", "0.1", "0.5", "0.5") == (0.1, 0.1, 0.5, 0.5)


@pytest.mark.parametrize(
    ("texts", "size", "code"),
    [
        (("", "", "", ""), SIZE, "no-coordinates"),
        (("1", "", "3", "4"), SIZE, "bad-number"),
        (("nan", "0", "30", "40"), SIZE, "bad-number"),
        (("9" * 400, "0", "9" * 401, "40"), SIZE, "bad-number"),
        (("0", "0", "30", "40"), ("0", "0"), "zero-size"),
        (("0", "0", "30", "40"), ("200", "0"), "zero-size"),
        (("0", "0", "30", "40"), ("", ""), "zero-size"),
        (("0", "0", "30", "40"), None, "zero-size"),
        (("30", "0", "20", "40"), SIZE, "inverted-box"),
        (("30", "0", "30", "40"), SIZE, "inverted-box"),
        (("0.6", "0", "0.5", "1"), SIZE, "inverted-box"),
        (("0", "0", "201", "40"), SIZE, "outside-image"),
        (("-1", "0", "100", "40"), SIZE, "outside-image"),
        (("0.1", "0.1", "1.2", "0.9"), SIZE, "outside-image"),
        (("0", "0", "200", "100"), SIZE, "full-frame"),
        (("0", "0", "1", "1"), SIZE, "full-frame"),
    ],
)
def test_a_broken_box_is_refused_and_never_repaired(
    texts: tuple[str, str, str, str], size: tuple[str, str] | None, code: str
) -> None:
    with pytest.raises(LogRefused) as refused:
        box(*texts, size=size)
    assert refused.value.code == code


KNOWN = frozenset({"mojo1", "mojo2", "beach_raw"})


@pytest.mark.parametrize(
    ("path", "project"),
    [
        ("/Users/x/Eros Mate/mojo1/f.png", "mojo1"),
        ("/a/mojo1_raw/f.png", "mojo1"),
        ("/a/mojo2_final/b/f.png", "mojo2"),
        ("/a/beach_raw/f.png", "beach_raw"),
        ("C:\\pictures\\mojo1\\f.png", "mojo1"),
        ("/mojo1/mojo1_raw/f.png", "mojo1"),
    ],
)
def test_a_project_is_told_by_a_directory(path: str, project: str) -> None:
    assert (project_in("p", path, KNOWN), file_name(path)) == (project, "f.png")


@pytest.mark.parametrize(
    ("path", "code"),
    [("/a/b/f.png", "unknown-project"), ("mojo1", "unknown-project"), ("/mojo1/mojo2/f.png", "several-projects"),
     ("/a/mojo10/f.png", "unknown-project"), ("/a/mojo1_rawer/f.png", "unknown-project")],
)  # fmt: skip
def test_no_project_is_guessed(path: str, code: str) -> None:
    with pytest.raises(LogRefused) as refused:
        project_in("p", path, KNOWN)
    assert refused.value.code == code
