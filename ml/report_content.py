"""What a report holds: a table for each set of rows, the headline among them, and the words that go with it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from ml import report as reports
from ml.bundle import Bundle
from ml.calibration_report import calibration_content
from ml.curves import WebcamFacts, classification, passed, slices, threshold_score
from ml.disagreement_report import disagreement_content
from ml.evaluated import Evaluated
from ml.inference import Scorer
from ml.judgements.base import Judgement
from ml.threshold_fit import achieved
from ml.within_webcam import within_webcam

OUT_OF_FOLD = "out_of_fold"
SLICE_REPLICATES = 500


def parts_of(tested: Evaluated | None, folded: Evaluated | None) -> dict[str, Evaluated]:
    """The rows of each table, by its name: those of webcams not seen, those of webcams seen, and all.

    Out of fold a webcam was seen where rows of it are in other folds than the row that is judged; in the test split, where
    the webcam is not held out whole.
    """
    parts: dict[str, Evaluated] = {}
    for name, whole in ((OUT_OF_FOLD, folded), ("test", tested)):
        if whole is None:
            continue
        seen = _seen_out_of_fold(whole) if whole.folds is not None else [row.seen is not False for row in whole.rows]
        for suffix, chosen in (("_unseen", ~np.array(seen)), ("_seen", np.array(seen))):
            if chosen.any():
                parts[name + suffix] = whole.part(chosen)
        parts[name] = whole
    return parts


def _seen_out_of_fold(folded: Evaluated) -> list[bool]:
    """Of each row, whether the training that it was held out of had rows of its webcam."""
    assert folded.folds is not None
    folds_of: dict[int, set[int]] = defaultdict(set)
    for row in folded.rows:
        folds_of[row.webcam_id].add(folded.folds[row.snapshot_id])
    return [len(folds_of[row.webcam_id]) > 1 for row in folded.rows]


def report_content(
    scorer: Scorer,
    active: Scorer | None,
    method: str,
    parts: dict[str, Evaluated],
    replicates: int,
    notes: list[str],
    webcams: dict[int, WebcamFacts],
) -> dict[str, Any]:
    """Tables, slices, calibration and decisions of a report; appends to `notes`, with the headline's sentence first.

    `threshold_policy` is the bundle's, `threshold_achieved` what it reaches on the headline's rows (see `achieved`), with
    what `baselines` reach there; `disagreement` and `within_webcam` are of the same rows.
    """
    judgement, bundle = scorer.judgement, scorer.bundle
    primary = judgement.metrics(bundle.head)[0]
    subsets = {name: part.table(judgement, bundle.head, replicates) for name, part in parts.items()}
    headline = choose_headline(subsets, primary.name)
    if OUT_OF_FOLD in parts and active is not None:
        _compare_on_test(subsets, active.bundle.model_version, notes)
    notes += [f"{name}: {content['insufficient']}" for name, content in subsets.items() if "insufficient" in content]
    main = parts[headline]
    passes = passed(judgement, bundle, main.model, main.outputs)
    sentence = reports.skill_sentence(bundle.model_version, subsets[headline])
    if headline == "test" and "test_unseen" in subsets:
        notes.append("webcams not seen in training have too few test rows to be the headline: it is all test rows")
    notes.insert(0, sentence)
    return {
        "format": reports.FORMAT,
        "kind": bundle.kind,
        "head": bundle.head,
        "model_version": bundle.model_version,
        "active_version": active.bundle.model_version if active else None,
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
        "threshold_achieved": {
            "subset": headline,
            **achieved(main.rows, passes, replicates),
            "baselines": _baselines_achieve(judgement, bundle, main, replicates),
        },
        "disagreement": {"subset": headline, **disagreement_content(scorer, active, main, webcams, replicates)},
        "within_webcam": {"subset": headline, **within_webcam(main, replicates)},
        "notes": notes,
    }


def _baselines_achieve(judgement: Judgement, bundle: Bundle, main: Evaluated, replicates: int) -> list[dict[str, Any]]:
    """What each baseline reaches on the same rows where its score passes the same threshold: see `achieved`."""
    threshold = threshold_score(judgement, bundle)
    wanted = ("n_passed", "share_passed", "precision", "recall")
    found = []
    for entry in main.entries:
        if entry.role == reports.BASELINE:
            reached = achieved(main.rows, entry.scores >= threshold, replicates)
            found.append({"name": entry.name, **{name: reached[name] for name in wanted}})
    return found


def choose_headline(subsets: dict[str, dict[str, Any]], metric: str) -> str:
    """The first table, in order of how much it tells, in which the model's primary metric is defined; of these one with
    enough rows and groups, where there is any.
    """
    order = [name for name in (OUT_OF_FOLD, "test_unseen", "test") if name in subsets]
    defined = [
        name for name in order
        if any(row["role"] == reports.MODEL and row["metrics"][metric] is not None for row in subsets[name]["rows"])
    ]  # fmt: skip
    enough = [name for name in defined if "insufficient" not in subsets[name]]
    return (enough or defined or order[-1:])[0]


def _compare_on_test(subsets: dict[str, dict[str, Any]], active: str, notes: list[str]) -> None:
    """Out of fold the active model is in sample; where test rows exist, the fair comparison there is quoted."""
    for comparison in subsets.get("test", {}).get("comparisons", []):
        if comparison["against"] == active:
            subsets[OUT_OF_FOLD]["comparisons"].append({**comparison, "subset": "test"})
            notes.append(f"the comparison with the active {active} is made on the {subsets['test']['n']} test rows")
            return
    notes.append(f"there are no test rows, so the active {active} cannot be compared fairly: its scores are in sample")
