"""What the promotion gate needs beside a report's tables: how it fares against the active model, parity, time, simplicity.

`ml.gate` judges it. Legend: N rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ml import report as reports
from ml.curves import WebcamFacts, passed, slices
from ml.evaluated import Evaluated
from ml.inference import SELF_TEST_TOLERANCE, Scorer
from ml.latency import measure_latency
from ml.simplicity import ORDER, place_of_baseline, place_of_model
from ml.training.recipe import Recipe

SLICE_REPLICATES = 500


def gate_material(
    scorer: Scorer,
    active: Scorer | None,
    parts: Mapping[str, Evaluated],
    webcams: Mapping[int, WebcamFacts],
    images: Sequence[bytes],
    recipe: Recipe | None,
    replicates: int,
) -> dict[str, Any]:
    """The part `gate` of a report. Without a recipe that we know of, the model counts as the most complex.

    Returns:
        `simplicity`: `order` in words, and the place in it of `model`, `active` (null without one) and each of
        `baselines`; `parity`: what the bundle says of onnxruntime beside torch (`n`, `max_abs_difference`; null where it
        says nothing) and `self_test` on golden images, which the evaluation passed; `latency`, see `measure_latency`;
        `against_active`: see `against`, null where there is no active model or no test row.
    """
    bundle, tested = scorer.bundle, parts.get("test")
    entries = {entry.name: entry for part in parts.values() for entry in part.entries}
    return {
        "simplicity": {
            "order": list(ORDER),
            "model": place_of_model(None if recipe is None else recipe.model_dump()),
            "active": None if active is None else place_of_model(active.bundle.training.get("recipe")),
            "baselines": {
                name: place_of_baseline(name, entry.scores)
                for name, entry in entries.items()
                if entry.role == reports.BASELINE
            },
        },
        "parity": {
            "n": bundle.parity.get("n"),
            "max_abs_difference": bundle.parity.get("max_abs_difference"),
            "self_test": {"n": len(bundle.golden), "tolerance": SELF_TEST_TOLERANCE},
        },
        "latency": measure_latency(scorer, active, images),
        "against_active": None
        if active is None or tested is None
        else against(scorer, active, tested, webcams, min(replicates, SLICE_REPLICATES)),
    }


def against(
    scorer: Scorer, active: Scorer, tested: Evaluated, webcams: Mapping[int, WebcamFacts], replicates: int
) -> dict[str, Any]:
    """The model beside the active one on all test rows, which neither has learned from.

    Returns:
        `version` of the active; `subset` ("test"), `n`, `n_groups`; `slices`: by phase, local hour, region, source and
        whether the webcam was seen, each a list of `value`, `n`, `n_groups`, `model`, `active`, `difference`,
        `interval`, `probability_better` in the primary metric; `decisions`, see `mcnemar`, of the two thresholds.
    """
    judgement, head = scorer.judgement, scorer.bundle.head
    primary = judgement.metrics(head)[0].name
    pair = [entry for entry in tested.entries if entry.role in (reports.MODEL, reports.ACTIVE)]
    both = Evaluated(tested.rows, pair)

    def compared(chosen: np.ndarray) -> dict[str, Any]:
        table = both.part(chosen).table(judgement, head, replicates)
        value = {row["role"]: row["metrics"][primary] for row in table["rows"]}
        (comparison,) = table["comparisons"]
        return {
            "n": table["n"], "n_groups": table["n_groups"], "model": value[reports.MODEL],
            "active": value[reports.ACTIVE],
            **{key: comparison[key] for key in ("difference", "interval", "probability_better")},
        }  # fmt: skip

    seen = np.array([row.seen is not False for row in tested.rows])
    found = slices(tested.rows, webcams, compared)
    found["webcam"] = [
        {"value": value, **compared(chosen)} for value, chosen in (("seen", seen), ("not seen", ~seen)) if chosen.any()
    ]
    decisions = None
    if all(row.is_good is not None for row in tested.rows):
        good = np.array([bool(row.is_good) for row in tested.rows])
        active_scores = next(entry.scores for entry in pair if entry.role == reports.ACTIVE)
        mine = passed(judgement, scorer.bundle, tested.model, tested.outputs)
        theirs = passed(active.judgement, active.bundle, active_scores, tested.active_outputs)
        decisions = mcnemar(mine == good, theirs == good)
    return {
        "version": active.bundle.model_version, "subset": "test", "n": len(tested.rows),
        "n_groups": len({row.group_id for row in tested.rows}), "slices": found, "decisions": decisions,
    }  # fmt: skip


def mcnemar(model_right: np.ndarray, active_right: np.ndarray) -> dict[str, Any]:
    """McNemar's exact test of two deciders on the same rows; both bool (N,), whether each was right.

    Returns:
        `n`, `both_right`, `only_model_right`, `only_active_right`, `both_wrong`, and `p_value`, two-sided: the chance of
        discordant counts as uneven as these were the two equally good. Rows count as independent. Source: McNemar 1947.
    """
    only_model = int((model_right & ~active_right).sum())
    only_active = int((active_right & ~model_right).sum())
    discordant = only_model + only_active
    tail = sum(math.comb(discordant, k) for k in range(min(only_model, only_active) + 1)) / 2**discordant
    return {
        "n": len(model_right), "both_right": int((model_right & active_right).sum()), "only_model_right": only_model,
        "only_active_right": only_active, "both_wrong": int((~model_right & ~active_right).sum()),
        "p_value": min(1.0, 2.0 * tail),
    }  # fmt: skip
