"""What a diff of two runs says of rows, scores and verdicts, and what it refuses to compare."""

from __future__ import annotations

from typing import Any

import pytest

from ml.diff_page import diff_page
from ml.diff_runs import Prediction, Side, UsedRow, diff_runs, read_predictions
from ml.judgements import judgement

RATING = judgement("rating")
POLICY = {"kind": "fixed", "threshold": 4.0, "on": "ai_rating", "scale": [0, 5]}


def used(snapshot_id: int, **changes: Any) -> UsedRow:
    facts: dict[str, Any] = {"image_sha256": f"{snapshot_id:064x}", "label_value": 4.0, "label_source": "calculated_rating",
                             "split": "test", "ratings": {"ann": 4}}  # fmt: skip
    return UsedRow(snapshot_id, **facts | changes)


def said(
    snapshot_id: int, score: float | None, out_of_fold: float | None = None, image: str | None = None
) -> Prediction:
    outputs = {} if score is None else {"ai_rating": score, "raw_score": score / 5}
    return Prediction(image or f"{snapshot_id:064x}", f"group {snapshot_id}", score, out_of_fold, outputs)


def side(name: str, rows: list[UsedRow], predictions: dict[int, Prediction] | None = None, **facts: Any) -> Side:
    values: dict[str, Any] = {"head": "regression", "policy": POLICY, "scale": (0.0, 5.0)}
    return Side(name, {row.snapshot_id: row for row in rows}, predictions or {}, **values | facts)


def test_rows_that_came_went_and_changed_are_counted_and_named() -> None:
    base = side("a", [used(1), used(2), used(3), used(4)])
    other = side(
        "b", [used(2, label_value=5.0, ratings={"ann": 4, "bob": None}), used(3), used(4, split="train"), used(5)]
    )
    found = diff_runs(RATING, base, other)
    assert {key: found["rows"][key] for key in ("base", "other", "common", "added", "removed", "changed")} == {
        "base": 4, "other": 4, "common": 3, "added": 1, "removed": 1, "changed": 2
    }  # fmt: skip
    assert ([row["snapshot_id"] for row in found["added"]], [row["snapshot_id"] for row in found["removed"]]) == (
        [5],
        [1],
    )
    assert found["rows"]["changes"] == {
        "label_value": 1, "label_source": 0, "split": 1, "image_sha256": 0, "ratings": 1
    }  # fmt: skip
    assert found["changed"][0]["changes"] == {"label_value": [4.0, 5.0], "ratings": [{}, {"bob": None}]}
    assert found["changed"][1]["changes"] == {"split": ["test", "train"]}


def test_scores_that_moved_come_with_n_interval_and_errors_of_both() -> None:
    rows = [used(number, label_value=3.0) for number in range(1, 101)]
    base = side("a", rows, {number: said(number, 2.0) for number in range(1, 101)})
    other = side("b", rows, {number: said(number, 2.5 if number % 2 else 3.5) for number in range(1, 101)})
    found = diff_runs(RATING, base, other, limit=3)
    moves = found["predictions"]
    assert (moves["n"], moves["n_groups"], moves["rows"]) == (100, 100, {"served": 100})
    assert moves["mean_difference"]["value"] == pytest.approx(1.0)
    low, high = moves["mean_difference"]["interval"]
    assert 0.5 < low < 1.0 < high < 1.5
    assert (moves["base_error"]["value"], moves["other_error"]["value"]) == (1.0, 0.5)
    assert moves["error_difference"] == {"value": -0.5, "interval": [-0.5, -0.5]}
    assert ([row["snapshot_id"] for row in found["moved"]], found["moved"][0]["difference"]) == ([2, 4, 6], 1.5)
    assert "insufficient" not in moves


def test_few_rows_are_called_a_hint() -> None:
    rows = [used(1)]
    found = diff_runs(RATING, side("a", rows, {1: said(1, 2.0)}), side("b", rows, {1: said(1, 3.0)}))
    assert "only 1 rows" in found["predictions"]["insufficient"]


def test_verdicts_flip_at_each_models_own_threshold() -> None:
    rows = [used(1, label_value=5.0), used(2, label_value=1.0), used(3), used(4)]
    base = side("a", rows, {1: said(1, 3.0), 2: said(2, 3.0), 3: said(3, 4.5), 4: said(4, None, 4.5)})
    other = side("b", rows, {1: said(1, 3.6), 2: said(2, 3.6), 3: said(3, 4.4), 4: said(4, None, 1.0)},
                 policy={**POLICY, "threshold": 3.5})  # fmt: skip
    found = diff_runs(RATING, base, other)
    assert found["verdicts"] == {"n": 3, "flipped": 2, "to_good": 2, "right_now": 1, "wrong_now": 1}
    assert [(row["snapshot_id"], row["right_now"]) for row in found["flipped"]] == [(1, True), (2, False)]
    assert any("thresholds differ: ai_rating from 4 on and ai_rating from 3.5 on" in note for note in found["notes"])
    assert found["predictions"]["rows"] == {"served": 3, "out of fold": 1}


def test_the_same_threshold_is_not_said_to_differ_by_what_it_achieved() -> None:
    policies = [{**POLICY, "achieved": {"precision": value}} for value in (0.7, 0.8)]
    base, other = (
        side(name, [used(1)], {1: said(1, 3.0)}, policy=policy) for name, policy in zip("ab", policies, strict=True)
    )
    assert not [note for note in diff_runs(RATING, base, other)["notes"] if "threshold" in note]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"head": "binary"}, "regression and binary, whose scores are not on one scale"),
        ({"head": None, "policy": None}, "b has no registered model"),
    ],
)
def test_scores_that_cannot_be_compared_are_not_and_the_diff_says_why(facts: dict[str, Any], words: str) -> None:
    rows = [used(1)]
    found = diff_runs(RATING, side("a", rows, {1: said(1, 2.0)}), side("b", rows, {1: said(1, 3.0)}, **facts))
    assert (found["predictions"]["n"], found["moved"]) == (0, [])
    assert any(words in note for note in found["notes"])


def test_rows_without_predictions_or_of_another_picture_are_left_out_and_counted() -> None:
    rows = [used(1), used(2), used(3), used(4)]
    base = side("a", rows, {1: said(1, 2.0), 2: said(2, 2.0), 3: said(3, 2.0)})
    other = side("b", rows, {1: said(1, 3.0), 2: said(2, 3.0, image="f" * 64)})
    found = diff_runs(RATING, base, other)
    assert found["predictions"]["n"] == found["verdicts"]["n"] == 1
    assert "3 of 4 common rows are not compared" in found["notes"][0]
    assert "a of 1, b of 2" in found["notes"][0]


def test_predictions_are_read_with_their_named_outputs() -> None:
    text = (
        "snapshot_id,image_sha256,split,seen,group_id,target,out_of_fold_score,score,raw_score,ai_rating\n"
        "7,ab,test,true,g,4.0,,3.5,0.7,3.5\n8,cd,train,true,h,4.0,2.5,,,\n"
    )
    found = read_predictions(text.encode())
    assert found[7] == Prediction("ab", "g", 3.5, None, {"raw_score": 0.7, "ai_rating": 3.5})
    assert found[8] == Prediction("cd", "h", None, 2.5, {})


def test_the_page_escapes_texts_and_asks_for_nothing() -> None:
    rows = [used(1, ratings={"<script>alert(1)</script>": 4}), used(2)]
    other = [used(1, ratings={"ann": 4}, label_source="<b>"), used(3)]
    found = diff_runs(RATING, side("a", rows, {1: said(1, 3.0)}), side("b", other, {1: said(1, 4.5)}))
    page = diff_page(found, {f"{1:064x}": b"\xff\xd8jpeg"})
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http://" not in page
    assert "https://" not in page
    assert page.count("data:image/jpeg;base64,") == 3  # flipped, moved, changed
    assert "not good before, good after: right now" in page
    assert "no picture" in page
