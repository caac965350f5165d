import numpy as np
import pytest
from scipy import stats

from ml.evaluated import Evaluated
from ml.report import ACTIVE, BASELINE, MODEL, Scores
from ml.within_webcam import within_webcam
from tests.ml.rows import row


def part_of(labels, scores, folds=None, **more):
    """Rows of webcams, given as `labels` by webcam, and the model's scores of them."""
    rows = [
        row(100 * webcam + place, webcam_id=webcam, label_value=label, target_label=label)
        for webcam, values in labels.items()
        for place, label in enumerate(values)
    ]
    entries = [Scores("m", MODEL, np.array(scores, dtype=float))]
    entries += [Scores(name, *entry) for name, entry in more.items()]
    dealt = None if folds is None else {each.snapshot_id: fold for each, fold in zip(rows, folds, strict=True)}
    return Evaluated(rows, entries, folds=dealt)


def rows_of(found):
    return {each["name"]: each for each in found["rows"]}


def test_it_is_the_mean_of_each_webcams_own_rank_correlation_weighted_by_rows():
    labels = {1: [1, 2, 3, 4, 5], 2: [5, 1, 4, 2, 2, 3, 1, 5]}
    scores = np.random.default_rng(0).normal(size=13)
    found = within_webcam(part_of(labels, scores), 200)
    expected = [stats.spearmanr(scores[:5], labels[1]).statistic, stats.spearmanr(scores[5:], labels[2]).statistic]
    model = rows_of(found)["m"]
    assert model["value"] == pytest.approx((5 * expected[0] + 8 * expected[1]) / 13)
    assert model["interval"] == pytest.approx(sorted(expected))  # of two webcams a draw may hold one alone
    assert (found["n"], found["n_webcams"], found["n_left_out"]) == (13, 2, 0)


def test_knowing_which_webcam_is_good_ranks_all_rows_and_none_within_a_webcam():
    labels = {webcam: np.clip(webcam + np.arange(6) % 3 / 2, 0, 5).tolist() for webcam in range(5)}
    means = np.repeat(np.arange(5.0), 6)
    truth = np.concatenate(list(labels.values()))
    assert stats.spearmanr(means, truth).statistic > 0.9
    found = rows_of(within_webcam(part_of(labels, truth, mean=(BASELINE, means)), 200))
    assert found["m"]["value"] == pytest.approx(1.0)
    assert (found["mean"]["value"], found["mean"]["interval"]) == (0.0, [0.0, 0.0])
    assert found["mean"]["difference"] == pytest.approx(1.0)
    assert found["mean"]["difference_interval"] == pytest.approx([1.0, 1.0])


def test_the_mean_of_a_webcams_other_folds_ranks_nothing_and_not_backwards():
    labels = {webcam: [1.0, 2.0, 3.0, 4.0, 5.0, 5.0] for webcam in range(3)}
    folds = [0, 0, 1, 1, 2, 2] * 3
    others = np.array([4.25, 4.25, 3.25, 3.25, 2.5, 2.5] * 3)
    part = part_of(labels, np.arange(18.0), folds, other=(BASELINE, others))
    assert rows_of(within_webcam(part, 100))["other"]["value"] == 0.0
    part.folds = None  # one fit that says the same is simply wrong
    assert rows_of(within_webcam(part, 100))["other"]["value"] < -0.9


def test_webcams_with_few_rows_or_one_label_are_left_out_and_counted():
    labels = {1: [1, 2, 3, 4, 5], 2: [5, 4, 3, 2, 1], 3: [1, 2, 3, 4], 4: [3, 3, 3, 3, 3, 3]}
    found = within_webcam(part_of(labels, np.arange(20.0)), 50)
    assert (found["n"], found["n_webcams"], found["n_left_out"]) == (10, 2, 2)


@pytest.mark.parametrize(
    ("labels", "words"),
    [({1: [1, 2, 3, 4], 2: [3, 3, 3, 3, 3]}, "no webcam has 5 rows"), ({1: [1, 2, 3, 4, 5]}, "only one webcam has 5")],
)
def test_where_too_few_webcams_count_the_reason_is_said(labels, words):
    found = within_webcam(part_of(labels, np.arange(float(sum(map(len, labels.values()))))), 50)
    assert found["known"] is False
    assert words in found["reason"]


def test_what_must_not_be_compared_has_a_remark_and_no_difference():
    labels = {1: [1, 2, 3, 4, 5], 2: [5, 4, 3, 2, 1]}
    part = part_of(labels, np.arange(10.0), old=(ACTIVE, np.arange(10.0), "in sample"))
    old = rows_of(within_webcam(part, 50))["old"]
    assert old["remark"] == "in sample"
    assert "difference" not in old
