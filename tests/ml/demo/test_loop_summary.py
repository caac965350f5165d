"""What several worlds say together, and when it is called better."""

from typing import Any

import numpy as np
import pytest

from ml.demo.loop_page import loop_page
from ml.demo.loop_summary import CHOOSING, RANDOM, student_interval, summarise


def _world(seed: int, errors: dict[str, list[float]]) -> dict[str, Any]:
    """Twelve test rows in six groups; each version of a way is off by one number, to either side in turn."""
    targets = np.linspace(0.5, 4.8, 12)
    sides = np.where(np.arange(12) % 2, 1.0, -1.0)

    def version(number: int, error: float) -> dict[str, Any]:
        scores = targets + error * sides
        return {
            "version": number, "labels": 10 * (number + 1), "snapshots": 9, "added": 10, "rated_again": 1,
            "reasons": {"band": 10}, "scores": scores.tolist(), "passes": (scores >= 4.0).tolist(),
            "predict_the_mean": [2.5] * 12,
        }  # fmt: skip

    return {
        "seed": seed,
        "size": {"webcams": 8, "days": 4, "cycles": 2, "first": 10, "inflow": 5, "labels": 5},
        "test": {
            "targets": targets.tolist(),
            "good": (targets >= 4.0).tolist(),
            "groups": [str(n // 2) for n in range(12)],
        },
        "ways": {
            way: [version(number, error) for number, error in enumerate(errors[way])] for way in (CHOOSING, RANDOM)
        },
    }


def test_differences_are_choosing_less_random_averaged_over_versions_after_the_first() -> None:
    worlds = [_world(seed, {CHOOSING: [1.0, 0.6, 0.4], RANDOM: [1.0, 0.5, 0.1 * seed]}) for seed in (1, 2, 3)]
    found = summarise(worlds, replicates=50)
    assert found["curves"][CHOOSING][1]["mae"]["value"] == pytest.approx(0.6)
    assert found["curves"][RANDOM][2]["mae"]["by_seed"] == pytest.approx([0.1, 0.2, 0.3])
    assert found["curves"][RANDOM][2]["mae"]["spread"] == pytest.approx(0.1)
    by_seed = [(0.1 + 0.4 - 0.1 * seed) / 2 for seed in (1, 2, 3)]
    assert found["overall"]["mae"]["by_seed"] == pytest.approx(by_seed)
    assert found["overall"]["mae"]["over_seeds"] == pytest.approx(student_interval(np.array(by_seed)))
    assert found["n"] == 36 and found["n_groups"] == 18


@pytest.mark.parametrize(
    ("choosing", "answer"), [(0.30, "better"), (0.70, "worse"), (0.50, "not better")]
)  # fmt: skip
def test_the_verdict_goes_by_the_interval_over_seeds(choosing: float, answer: str) -> None:
    worlds = [
        _world(seed, {CHOOSING: [1.0, choosing + wobble], RANDOM: [1.0, 0.5]})
        for seed, wobble in enumerate((-0.02, 0.01, 0.02), start=1)
    ]
    verdict = summarise(worlds, replicates=50)["verdict"]
    assert verdict["answer"] == answer
    assert "GENERATED" in verdict["sentence"] and "n = 36 test rows in 18 groups" in verdict["sentence"]


def test_one_world_proves_nothing() -> None:
    found = summarise([_world(1, {CHOOSING: [1.0, 0.1], RANDOM: [1.0, 0.9]})], replicates=50)
    assert found["verdict"]["answer"] == "not better"
    assert "one seed has no interval" in found["verdict"]["sentence"]
    assert "not better" in loop_page(found)


def test_an_undefined_precision_is_null_and_enters_no_mean() -> None:
    worlds = [_world(seed, {CHOOSING: [1.0, 0.2], RANDOM: [1.0, 0.2]}) for seed in (1, 2)]
    worlds[0]["ways"][CHOOSING][1]["passes"] = [False] * 12
    found = summarise(worlds, replicates=50)
    assert found["curves"][CHOOSING][1]["precision"]["by_seed"][0] is None
    assert found["overall"]["precision"]["num_seeds"] == 1
    assert found["overall"]["precision"]["over_seeds"] is None
    assert found["overall"]["mae"]["num_seeds"] == 2


def test_an_interval_of_a_mean_is_students() -> None:
    from scipy.stats import ttest_1samp

    values = np.array([0.1, -0.3, 0.4, 0.2, 0.25])
    expected = ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert student_interval(values) == pytest.approx([expected.low, expected.high])
    assert student_interval(values[:1]) is None


def test_the_page_shows_both_curves_and_needs_nothing_else() -> None:
    worlds = [_world(seed, {CHOOSING: [1.0, 0.6, 0.4], RANDOM: [1.0, 0.5, 0.1 * seed]}) for seed in (1, 2, 3)]
    found = summarise(worlds, replicates=50)
    page = loop_page(found)
    assert page == loop_page(found)
    assert page.count("<svg") == 6
    assert 'aria-label="choosing"' in page and 'aria-label="random"' in page
    assert "GENERATED" in page
    assert found["verdict"]["sentence"] in page
    assert "://" not in page and "<script" not in page
