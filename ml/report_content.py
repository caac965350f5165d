"""What a report holds: a table for each set of rows, the headline among them, and the words that go with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ml import report as reports
from ml.calibration_report import calibration_content
from ml.curves import WebcamFacts, classification, passed, slices
from ml.evaluated import Evaluated
from ml.inference import Scorer
from ml.threshold_fit import achieved

OUT_OF_FOLD = "out_of_fold"
SLICE_REPLICATES = 500


def parts_of(tested: Evaluated | None, folded: Evaluated | None) -> dict[str, Evaluated]:
    """The rows of each table, by its name."""
    parts: dict[str, Evaluated] = {}
    if folded is not None:
        parts[OUT_OF_FOLD] = folded
    if tested is not None:
        unseen = np.array([row.seen is False for row in tested.rows])
        parts |= {
            name: tested.part(chosen)
            for name, chosen in (("test_unseen", unseen), ("test_seen", ~unseen), ("test", np.ones_like(unseen)))
            if chosen.any()
        }
    return parts


def report_content(
    scorer: Scorer,
    rival: Scorer | None,
    method: str,
    parts: dict[str, Evaluated],
    replicates: int,
    notes: list[str],
    webcams: dict[int, WebcamFacts],
) -> dict[str, Any]:
    """Tables, slices, calibration and decisions of a report; appends to `notes`, with the headline's sentence first.

    `threshold_policy` is the bundle's, `threshold_achieved` what it reaches on the headline's rows (see `achieved`).
    """
    judgement, bundle = scorer.judgement, scorer.bundle
    primary = judgement.metrics(bundle.head)[0]
    subsets = {name: part.table(judgement, bundle.head, replicates) for name, part in parts.items()}
    headline = _headline(subsets, primary.name)
    if OUT_OF_FOLD in parts and rival is not None:
        _compare_on_test(subsets, rival.bundle.model_version, notes)
    notes += [f"{name}: {content['insufficient']}" for name, content in subsets.items() if "insufficient" in content]
    main = parts[headline]
    passes = passed(judgement, bundle, main.model, main.outputs)
    sentence = reports.skill_sentence(bundle.model_version, subsets[headline])
    notes.insert(0, sentence)
    return {
        "format": reports.FORMAT,
        "kind": bundle.kind,
        "head": bundle.head,
        "model_version": bundle.model_version,
        "active_version": rival.bundle.model_version if rival else None,
        "method": method,
        "primary": {
            "name": primary.name,
            "higher_is_better": primary.higher_is_better,
            "best": primary.high if primary.higher_is_better else primary.low,
        },
        "metrics": {spec.name: spec.meaning for spec in judgement.metrics(bundle.head)},
        "headline": headline,
        "skill": {**subsets[headline]["skill"], "sentence": sentence},
        "replicates": replicates,
        "subsets": subsets,
        "slices": slices(
            main.rows, webcams, lambda chosen: main.part(chosen).table(judgement, bundle.head, SLICE_REPLICATES)
        ),
        **calibration_content(judgement, bundle, main, replicates),
        **classification(judgement, bundle, main.rows, main.model, passes),
        "threshold_policy": bundle.threshold_policy,
        "threshold_achieved": {"subset": headline, **achieved(main.rows, passes, replicates)},
        "notes": notes,
    }


def _headline(subsets: dict[str, dict[str, Any]], metric: str) -> str:
    """The first table, in order of how much it tells, in which the model's primary metric is defined."""
    order = [name for name in (OUT_OF_FOLD, "test_unseen", "test") if name in subsets]
    for name in order:
        model = next(row for row in subsets[name]["rows"] if row["role"] == reports.MODEL)
        if model["metrics"][metric] is not None:
            return name
    return order[-1]


def _compare_on_test(subsets: dict[str, dict[str, Any]], active: str, notes: list[str]) -> None:
    """Out of fold the active model is in sample; where test rows exist, the fair comparison there is quoted."""
    for comparison in subsets.get("test", {}).get("comparisons", []):
        if comparison["against"] == active:
            subsets[OUT_OF_FOLD]["comparisons"].append({**comparison, "subset": "test"})
            notes.append(f"the comparison with the active {active} is made on the {subsets['test']['n']} test rows")
            return
    notes.append(f"there are no test rows, so the active {active} cannot be compared fairly: its scores are in sample")
