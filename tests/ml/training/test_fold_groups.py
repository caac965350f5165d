import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from ml.images.fingerprints import fingerprints_of
from ml.images.store import FileStore
from ml.judgements import judgement
from ml.leak_audit import audit
from ml.manifest import ManifestError, manifest_bytes
from ml.splits import folds
from ml.train import train
from ml.training.dataset import load_items
from ml.training.fold_groups import with_fold_groups
from tests.ml.rows import row
from tests.ml.skies import FRAMES, jpeg
from tests.ml.tiny_training import write_recipe

RATING = judgement("rating")


def planted(store):
    """Thirty frames, and of each a smaller copy by another webcam on another day: sixty groups of one row."""
    rows = []
    for number, frame in enumerate(FRAMES[::4]):
        for copy, (width, quality) in enumerate(((320, 90), (240, 60))):
            rows.append(
                row(
                    2 * number + copy, webcam_id=10 * copy + number // 5, captured_at=frame.captured_at,
                    label_value=float(number % 5 + 1), target_label=float(number % 5 + 1), is_good=number % 5 > 2,
                    image_sha256=store.put_image(jpeg(frame, width, quality)), group_id=f"copy {copy} of {number}",
                )
            )  # fmt: skip
    return rows


def test_copies_across_groups_fall_into_one_fold_so_that_the_audit_finds_none(tmp_path):
    store = FileStore(str(tmp_path / "store"))
    rows = planted(store)
    (tmp_path / "manifest_full.csv").write_bytes(manifest_bytes(rows))
    recipe = write_recipe(tmp_path / "r.json", backbone="handmade", image_size=128, evaluation="kfold")
    cache, run = tmp_path / "cache", tmp_path / "run"
    train("rating", tmp_path / "manifest_full.csv", recipe, store.url, cache, run)
    with (run / "oof.csv").open(newline="") as opened:
        told = list(csv.DictReader(opened))
    prints = fingerprints_of(store.image, [str(each.image_sha256) for each in rows], cache)
    fold_of = {int(each["snapshot_id"]): int(each["fold"]) for each in told}
    by_group = dict(enumerate(folds([each.group_id for each in rows], 3, "folds-0").tolist()))
    assert audit(rows, rows, prints, by_group)["folds"]["near_duplicates"] > 20  # what it would be without
    found = audit(rows, rows, prints, fold_of)
    assert (found["folds"]["near_duplicates"], found["leak"]) == (0, False)
    assert {each["group_id"] for each in told} == {each.group_id for each in rows}  # groups themselves stay
    notes = json.loads((run / "training.json").read_text())["notes"]
    assert any(note.startswith("60 groups count as ") for note in notes)


class TestItems:
    def joined(self, rows, store, cache):
        items = load_items(rows, RATING, "regression")
        return with_fold_groups(items, rows, np.arange(len(items)), store, cache, 1)

    def test_without_near_duplicates_nothing_is_joined_or_said(self, tmp_path):
        store = FileStore(str(tmp_path / "store"))
        items, told = self.joined(planted(store)[::2], store, tmp_path / "cache")
        assert items.fold_groups == items.group_ids
        assert told is None

    def test_where_nothing_could_be_held_out_groups_stay_apart_and_it_is_said(self, tmp_path):
        store = FileStore(str(tmp_path / "store"))
        items, told = self.joined(planted(store)[:2], store, tmp_path / "cache")
        assert items.fold_groups == items.group_ids
        assert "all 2 groups hold near-duplicates of others" in told

    def test_a_missing_image_is_an_error_that_says_what_to_do(self, tmp_path):
        store = FileStore(str(tmp_path / "store"))
        rows = [replace(each, image_sha256="a" * 64) for each in planted(store)[:1]]
        with pytest.raises(ManifestError, match="export the dataset again"):
            self.joined(rows, store, tmp_path / "cache")
