"""The generated culling project: what is planted is there, and only there."""

from __future__ import annotations

import csv
import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ml.demo.culling import MadeProject, make_project, taste_of, write_project
from ml.demo.culling_logs import LOGS, MadeLog, make_logs, write_logs
from ml.grouping import GroupedPhoto, PhotoGroup, group_photos
from ml.images.companions import find_companions
from ml.images.decode import decode, inspect, sha256_of
from ml.images.hashing import phash
from ml.images.photo_names import read_photo_name


@pytest.fixture(scope="module")
def project() -> MadeProject:
    return make_project("mojo1", 120, seed=4)


@pytest.fixture(scope="module")
def contents(project: MadeProject) -> dict[str, bytes]:
    return {photo.path: photo.png() for photo in project.photos()}


@pytest.fixture(scope="module")
def found(project: MadeProject, contents: dict[str, bytes]) -> list[PhotoGroup]:
    photos = []
    for photo in project.photos():
        named, data = read_photo_name(photo.name), contents[photo.path]
        assert named.stage == photo.stage
        photos.append(GroupedPhoto(sha256_of(data), photo.name, named.taken_at, named.stage, phash(data)))
    return group_photos(photos)


def pairs(groups: list[list[str]]) -> set[tuple[str, str]]:
    return {(one, other) for group in groups for one, other in itertools.combinations(sorted(group), 2)}


def test_the_same_seed_gives_the_same_files_and_another_does_not(project: MadeProject) -> None:
    again, other = make_project("mojo1", 120, seed=4), make_project("mojo1", 120, seed=5)
    assert again == project != other
    assert [p.png() for p in itertools.islice(again.photos(), 5)] == [
        p.png() for p in itertools.islice(project.photos(), 5)
    ]


def test_no_two_photos_are_equal_and_all_are_of_the_size_that_is_said(
    project: MadeProject, contents: dict[str, bytes]
) -> None:
    assert len({sha256_of(data) for data in contents.values()}) == len(contents)
    for photo in itertools.islice(project.photos(), 20):
        info = inspect(contents[photo.path])
        assert (info.width, info.height) == (photo.width, photo.height)


def test_the_chosen_photo_is_the_one_that_is_liked_most_and_in_anomalies_it_has_a_lower_stage(
    project: MadeProject,
) -> None:
    anomalies = 0
    for group in project.groups:
        if group.chosen is not None:
            assert max(group.photos, key=lambda photo: photo.taste) is group.photos[group.chosen]
            stages = [photo.stage or 0 for photo in group.photos]
            assert stages == sorted(set(stages))
            assert group.is_anomaly == (group.chosen < len(stages) - 1)
            anomalies += group.is_anomaly
    assert 8 <= anomalies <= 30


def test_the_taste_is_to_be_seen(project: MadeProject, contents: dict[str, bytes]) -> None:
    staged = [photo for group in project.groups if group.chosen is not None for photo in group.photos]
    warmth, liked = [], []
    for photo in staged:
        pixels = decode(contents[photo.path]).astype(float)
        x, y = (round(centre * side) for centre, side in zip(photo.look.centre, pixels.shape[1::-1], strict=True))
        warmth.append((pixels[y, x, 0] - pixels[y, x, 2]) / 255)
        liked.append(taste_of(photo.look) + photo.look.clutter / 6)
    assert np.corrcoef(warmth, liked)[0, 1] > 0.95


def test_size_and_stage_say_nothing_of_the_taste_in_groups_of_their_own(project: MadeProject) -> None:
    staged = [photo for group in project.groups if group.chosen is not None for photo in group.photos]
    assert abs(np.corrcoef([photo.width for photo in staged], [photo.taste for photo in staged])[0, 1]) < 0.15
    anomalous = [photo for group in project.groups if group.is_anomaly for photo in group.photos]
    assert np.corrcoef([photo.stage or 0 for photo in anomalous], [photo.taste for photo in anomalous])[0, 1] < 0


def test_planted_groups_are_found_again(
    project: MadeProject, contents: dict[str, bytes], found: list[PhotoGroup]
) -> None:
    for rule, is_burst in (("stages", False), ("near-duplicates", True)):
        planted = pairs(
            [
                [sha256_of(contents[photo.path]) for photo in group.photos]
                for group in project.groups
                if (group.chosen is None) == is_burst
            ]
        )
        got = pairs([list(group.members) for group in found if group.rule == rule])
        f1 = 2 * len(planted & got) / (len(planted) + len(got))
        assert len(planted) > 80 and f1 >= (0.95 if is_burst else 1.0), (rule, f1)


def test_a_crop_keeps_the_aspect_ratio_and_holds_the_subject(project: MadeProject) -> None:
    for photo in project.photos():
        x1, y1, x2, y2 = photo.crop
        assert 0 <= x1 < photo.look.centre[0] < x2 <= 1 and 0 <= y1 < photo.look.centre[1] < y2 <= 1
        assert x2 - x1 == pytest.approx(y2 - y1)
        assert (x2 - x1) * (y2 - y1) < 0.85


def test_what_is_written_has_its_companions_and_lies_nowhere_twice(tmp_path: Path) -> None:
    small = make_project("mojo2", 6, seed=1)
    write_project(small, tmp_path)
    root = tmp_path / "training data" / "mojo2"
    for photo in small.photos():
        folder = (root / photo.path).parent
        companions = find_companions(path.name for path in folder.iterdir()).of[photo.name]
        assert companions == tuple(sorted(Path(each).name for each in photo.companions))
    with pytest.raises(FileExistsError):
        write_project(small, tmp_path)


@pytest.fixture(scope="module")
def logs(project: MadeProject) -> dict[str, MadeLog]:
    return make_logs([project, make_project("mojo2", 20, seed=4)])


class TestLogs:
    def test_every_dialect_is_there_with_good_rows_and_with_broken_ones(self, logs: dict[str, MadeLog]) -> None:
        assert tuple(logs) == LOGS
        for log in logs.values():
            good = [row for row in log.rows if row.refused is None and row.crop_refused is None]
            assert len(good) >= 10 or log.name == "historical_crop_log.csv"
            assert any(row.refused or row.crop_refused for row in log.rows)
        reasons = Counter(row.refused or row.crop_refused for log in logs.values() for row in log.rows)
        assert set(reasons) - {None} == {
            "bad-list", "bad-time", "unmatched", "ambiguous", "several-projects", "unknown-project", "nothing-rejected",
            "chosen-among-rejected", "index-and-path-differ", "no-anomaly", "zero-size", "inverted-box",
            "outside-image", "full-frame", "no-coordinates",
        }  # fmt: skip

    def test_line_numbers_are_those_of_the_file(self, logs: dict[str, MadeLog], tmp_path: Path) -> None:
        write_logs(logs.values(), tmp_path)
        for log in logs.values():
            lines = (tmp_path / "logs" / log.name).read_text().splitlines()
            assert len(lines) == len(log.rows) + 1
            for row in log.rows:
                assert row.chosen in lines[row.number - 1] or row.refused in ("unmatched", "ambiguous")

    def test_each_dialect_has_its_traps(self, logs: dict[str, MadeLog]) -> None:
        selections, crops = (list(csv.reader(logs[name].text().splitlines())) for name in LOGS[:2])
        assert json.loads(selections[1][3]) and "_" in selections[1][4] and selections[2][4].endswith("Z")
        assert len({len(row) for row in crops}) > 1  # under one header
        fractions = [row for row in crops[1:] if float(row[8]) <= 1]
        assert 0 < len(fractions) < len(crops) / 4
        assert any(row[6].startswith("['") for row in csv.reader(logs["anomaly_cases.csv"].text().splitlines()))
        assert all(row.crop is None for row in logs["historical_crop_log.csv"].rows)

    def test_a_crop_in_pixels_and_one_in_fractions_say_the_same_as_was_planted(
        self, project: MadeProject, logs: dict[str, MadeLog]
    ) -> None:
        crops = {photo.name: photo.crop for group in project.groups for photo in group.photos}
        rows = [row for name in LOGS[1:3] for row in logs[name].rows if row.crop and row.project == "mojo1"]
        assert len(rows) > 50
        for row in rows:
            assert row.crop == pytest.approx(crops[row.chosen], abs=0.008)
