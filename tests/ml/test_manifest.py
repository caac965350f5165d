"""The manifest: what is written comes back, opens harmlessly in a spreadsheet, and damage is named."""

import csv
import hashlib
import io
import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.manifest import (
    COLUMNS,
    TEXT_COLUMNS,
    ManifestError,
    ManifestRow,
    manifest_bytes,
    manifest_sha256,
    parse_manifest,
)

FORMULA = "=+-@\t\r\n"


def row(**changes: object) -> ManifestRow:
    values: dict[str, object] = {
        "snapshot_id": 7, "webcam_id": 3, "label_source": "calculated_rating", "label_value": 4.5, "target_label": -4.5,
        "is_good": True, "split": "train", "seen": True, "image_path_or_url": "a.jpg", "phase": "sunset",
        "captured_at": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "rating_count": 2, "image_sha256": "0" * 64,
        "group_id": "harbour", "exclusion_reason": None,
    }  # fmt: skip
    return ManifestRow(**values | changes)  # type: ignore[arg-type]


def cells(data: bytes) -> dict[str, str]:
    [only] = csv.DictReader(io.StringIO(data.decode(), newline=""))
    return only


@pytest.mark.parametrize("column", TEXT_COLUMNS)
@pytest.mark.parametrize("start", list(FORMULA) + ["'", "'="])
def test_no_text_begins_like_a_formula_and_each_comes_back_as_it_was(column: str, start: str) -> None:
    one = row(**{column: start + 'HYPERLINK("http://x")'})
    assert cells(manifest_bytes([one]))[column].startswith("'")
    assert parse_manifest(manifest_bytes([one])) == [one]


def test_negative_numbers_stay_numbers() -> None:
    assert cells(manifest_bytes([row()]))["target_label"] == "-4.5"


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


@given(group=texts, image=st.one_of(texts, texts.map(lambda text: "=" + text), texts.map(lambda text: "'" + text)))
def test_any_text_comes_back(group: str, image: str) -> None:
    one = row(group_id=group, image_path_or_url=image, split=None, exclusion_reason=image)
    assert parse_manifest(manifest_bytes([one])) == [one]


def test_ordinary_rows_have_the_bytes_that_they_always_had() -> None:
    data = manifest_bytes([row()])
    assert data.decode().splitlines()[1] == (
        "7,3,calculated_rating,4.5,-4.5,true,train,true,a.jpg,sunset,2026-01-02T03:04:05.000006Z,2," + "0" * 64
        + ",harbour,"
    )  # fmt: skip
    assert manifest_sha256([row()]) == hashlib.sha256(data).hexdigest()


def test_a_lone_apostrophe_of_an_older_file_stays() -> None:
    data = manifest_bytes([row(group_id="Xo")]).replace(b",Xo,", b",'o,")
    assert parse_manifest(data)[0].group_id == "'o"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"a.jpg", b"\xff", "not UTF-8"),
        (b"a.jpg", b'"a.jpg', "not CSV"),
        (b"a.jpg", b"a,jpg", "16 cells under 15 columns"),
        (b"4.5,-4.5", b"nan,-4.5", "label_value is 'nan'"),
        (b"4.5,-4.5", b"4.5,1e400", "target_label is '1e400'"),
        (b",train,", b",trial,", "split is 'trial'"),
        (b"true", b"yes", "is_good is 'yes'"),
        (b"7,3,", b"seven,3,", "line 2: snapshot_id is 'seven'"),
        (b"2026-01-02", b"2026-13-02", "captured_at"),
        (b"snapshot_id,", b"id,", "lacks the columns snapshot_id"),
    ],
)
def test_damage_is_named_by_line_and_column(old: bytes, new: bytes, words: str) -> None:
    data = manifest_bytes([row()])
    assert old in data
    with pytest.raises(ManifestError, match=words):
        parse_manifest(data.replace(old, new, 1))


def test_a_snapshot_with_two_rows_is_refused_by_both_lines() -> None:
    lines = manifest_bytes([row(), row(snapshot_id=8)]).splitlines(keepends=True)
    with pytest.raises(ManifestError, match=r"m\.csv line 4: snapshot_id 7 stands in line 2 already"):
        parse_manifest(b"".join([*lines, lines[1]]), "m.csv")


def test_the_columns_are_the_contract() -> None:
    assert len(COLUMNS) == 15
    assert set(TEXT_COLUMNS) < set(COLUMNS)


def test_one_label_value_in_the_middle_of_twenty_thousand_changes_the_datasets_hash() -> None:
    rows = [row(snapshot_id=number, label_value=float(number % 6)) for number in range(1, 20_001)]
    before = manifest_sha256(rows)
    assert manifest_sha256(reversed(rows)) == before
    value = rows[10_000].label_value
    assert value is not None
    rows[10_000] = replace(rows[10_000], label_value=math.nextafter(value, 6.0))  # the smallest change that a float has
    changed = manifest_sha256(rows)
    assert changed != before
    rows[10_000] = replace(rows[10_000], label_value=value)
    assert manifest_sha256(rows) == before
