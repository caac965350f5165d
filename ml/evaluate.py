"""The verb `evaluate`: a bundle and a manifest in; report.json and predictions.csv out.

    python -m ml.evaluate --bundle BUNDLE_DIR --manifest manifest_full.csv --store URL --out REPORT_DIR
        [--run RUN_DIR] [--active BUNDLE_DIR]

Method `test`: the bundle, exactly as it would be served, on the test rows. Method `kfold` (the run says which): the
run's out-of-fold scores of all rows, and the bundle on what test rows there are. report.json is written last.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ml import report as reports
from ml.baselines import baseline_scores_out_of_fold
from ml.bundle import bundle_sha256
from ml.curves import WebcamFacts, calibration_table, classification, read_webcams, slices
from ml.events import Progress, finite, run_verb
from ml.images.decode import ImageError
from ml.images.store import FileStore, StoreError
from ml.inference import Scorer
from ml.judgements.base import Judgement
from ml.manifest import ManifestError, ManifestRow, manifest_sha256, read_manifest

REPORT_FILE, PREDICTIONS_FILE = "report.json", "predictions.csv"
TEST, KFOLD = "test", "kfold"
OUT_OF_FOLD = "out_of_fold"
IN_SAMPLE = "in sample, not comparable: the active model may have learned from these very rows"
SLICE_REPLICATES = 500
BATCH = 16
MAX_THREADS = 4


@dataclass
class Evaluated:
    """Rows and what everyone says of them."""

    rows: list[ManifestRow]
    entries: list[reports.Scores]
    outputs: dict[str, np.ndarray] = field(default_factory=dict)
    """The bundle's named outputs, each (N,); empty where it was not run."""
    baselines: Callable[[Sequence[ManifestRow]], dict[str, np.ndarray]] | None = None
    """Baselines of any of these rows; None where they belong to all rows together, as out of fold."""

    @property
    def targets(self) -> np.ndarray:
        """Targets, float (N,)."""
        return np.array([row.target_label for row in self.rows], dtype=np.float64)

    @property
    def model(self) -> np.ndarray:
        """The model's scores, float (N,)."""
        return next(entry.scores for entry in self.entries if entry.role == reports.MODEL)

    def part(self, chosen: np.ndarray) -> Evaluated:
        """The rows where `chosen`, bool (N,), is true, with the baselines that mean something for them."""
        rows = [row for row, keep in zip(self.rows, chosen, strict=True) if keep]
        entries = [reports.Scores(each.name, each.role, each.scores[chosen], each.remark) for each in self.entries]
        if self.baselines is not None:
            listed = self.baselines(rows)  # the mean of a webcam is none where no row's webcam was seen
            entries = [each for each in entries if each.role != reports.BASELINE or each.name in listed]
        return Evaluated(rows, entries, baselines=self.baselines)

    def table(self, judgement: Judgement, head: str, replicates: int) -> dict[str, Any]:
        """The table of these rows."""
        groups = [row.group_id for row in self.rows]
        return reports.table(judgement, head, self.entries, self.targets, groups, replicates)


def evaluate(
    bundle: Path,
    manifest: Path,
    store_url: str,
    out: Path,
    run: Path | None = None,
    active: Path | None = None,
    replicates: int = reports.REPLICATES,
    webcams: Path | None = None,
) -> dict[str, Any]:
    """Evaluate a bundle and write its report; returns the headline as the verb's result.

    Raises:
        ManifestError: There are no rows to evaluate on, an image is missing, or the run's files do not fit.
        BundleError: A bundle cannot be used.
    """
    progress = Progress()
    scorer = Scorer.load(bundle, threads=_threads())
    judgement, head = scorer.judgement, scorer.bundle.head
    store = FileStore(store_url)
    full = read_manifest(manifest)
    method = _method(run)
    kept = [_with_target(row, judgement, head) for row in full if row.split is not None]
    test_rows = [row for row in kept if row.split == "test"]
    learned = [row for row in kept if row.split != "test"]
    if not kept or (method == TEST and not test_rows):
        raise ManifestError(
            f"{manifest} has no test row to evaluate on; label snapshots of more webcams and days, or train with "
            "evaluation=kfold"
        )
    if not learned:
        raise ManifestError(f"{manifest} has no train or val row, so no baseline can be fitted; use the run's manifest")
    rival, notes = _rival(active, scorer)
    tested = _test(scorer, rival, store, test_rows, learned, progress.part(0.05, 0.6)) if test_rows else None
    folded = None
    if method == KFOLD:
        assert run is not None
        folded = _out_of_fold(scorer, rival, store, run, kept, progress.part(0.6, 0.8))
    progress.report(0.8, f"drawing {replicates} bootstrap replicates")
    facts = read_webcams(webcams) if webcams is not None else {}
    content = _report(scorer, rival, method, tested, folded, replicates, notes, facts)
    content["manifest_sha256"] = manifest_sha256(full)
    content["bundle_sha256"] = bundle_sha256(bundle)
    reports.validate(content)
    out.mkdir(parents=True, exist_ok=True)
    _write_predictions(out / PREDICTIONS_FILE, scorer.bundle.outputs, tested, folded)
    text = json.dumps(finite(content), indent=2, sort_keys=True, allow_nan=False)
    (out / REPORT_FILE).write_text(text + "\n", encoding="utf-8")
    headline = content["subsets"][content["headline"]]
    return {key: content[key] for key in ("model_version", "method", "headline", "primary", "notes")} | {
        "n": headline["n"], "n_groups": headline["n_groups"], "rows": headline["rows"],
    }  # fmt: skip


def _threads() -> int:
    return min(MAX_THREADS, os.cpu_count() or 1)


def _method(run: Path | None) -> str:
    if run is None:
        return TEST
    try:
        return KFOLD if json.loads((run / "training.json").read_text(encoding="utf-8"))["method"] == KFOLD else TEST
    except (OSError, ValueError, KeyError) as error:
        raise ManifestError(f"{run} is not a finished run: {error!r}") from error


def _with_target(row: ManifestRow, judgement: Judgement, head: str) -> ManifestRow:
    """The row with the target of this bundle's head, whichever head the manifest was exported for."""
    if row.label_value is None:
        raise ManifestError(f"snapshot {row.snapshot_id} is in a split but has no label; export the dataset again")
    return replace(row, target_label=judgement.target(row.label_value, head))


def _rival(active: Path | None, scorer: Scorer) -> tuple[Scorer | None, list[str]]:
    """The active model, where its scores can be compared at all."""
    if active is None:
        return None, []
    rival = Scorer.load(active, threads=_threads())
    mine, theirs = scorer.bundle, rival.bundle
    if mine.model_version == theirs.model_version:
        return None, [f"{mine.model_version} is the active model itself, so it is compared with baselines only"]
    if (mine.kind, mine.kind_version, mine.head) == (theirs.kind, theirs.kind_version, theirs.head):
        return rival, []
    return None, [
        f"the active model {theirs.model_version} ({theirs.kind}, {theirs.head} head) answers another question than "
        f"{mine.model_version} ({mine.kind}, {mine.head} head), so the two are not compared"
    ]


def _images(store: FileStore, rows: Sequence[ManifestRow], progress: Progress, what: str) -> Iterator[bytes]:
    for done, row in enumerate(rows, start=1):
        if row.image_sha256 is None:
            raise ManifestError(f"snapshot {row.snapshot_id} has no image sha256; cache the images first")
        try:
            yield store.image(row.image_sha256)
        except StoreError as error:
            raise ManifestError(f"the image of snapshot {row.snapshot_id} cannot be read: {error}") from error
        progress.report(done / len(rows), f"{what}: image {done}/{len(rows)}")


def _serve(scorer: Scorer, store: FileStore, rows: Sequence[ManifestRow], progress: Progress) -> dict[str, np.ndarray]:
    """The bundle's named outputs for these rows, each (N,)."""
    try:
        return dict(scorer.score_images(_images(store, rows, progress, scorer.bundle.model_version), BATCH))
    except ImageError as error:
        raise ManifestError(f"an image of the manifest cannot be decoded: {error}") from error


def _test(
    scorer: Scorer,
    rival: Scorer | None,
    store: FileStore,
    rows: list[ManifestRow],
    learned: Sequence[ManifestRow],
    progress: Progress,
) -> Evaluated:
    judgement, head = scorer.judgement, scorer.bundle.head
    outputs = _serve(scorer, store, rows, progress.part(0.0, 0.5))
    entries = [reports.Scores(scorer.bundle.model_version, reports.MODEL, judgement.scores(outputs, head))]
    if rival is not None:
        theirs = judgement.scores(_serve(rival, store, rows, progress.part(0.5, 1.0)), head)
        entries.append(reports.Scores(rival.bundle.model_version, reports.ACTIVE, theirs))
    baselines = partial(judgement.baselines, learned, head=head)
    for name, scores in baselines(rows).items():
        entries.append(reports.Scores(name, reports.BASELINE, scores))
    return Evaluated(rows, entries, outputs, baselines)


def _out_of_fold(
    scorer: Scorer, rival: Scorer | None, store: FileStore, run: Path, kept: Sequence[ManifestRow], progress: Progress
) -> Evaluated:
    judgement, head = scorer.judgement, scorer.bundle.head
    by_snapshot = {row.snapshot_id: row for row in kept}
    rows, folds, scores = [], [], []
    try:
        with (run / "oof.csv").open(encoding="utf-8", newline="") as opened:
            for cells in csv.DictReader(opened):
                rows.append(by_snapshot[int(cells["snapshot_id"])])
                folds.append(int(cells["fold"]))
                scores.append(float(cells["score"]))
    except (OSError, KeyError, ValueError) as error:
        raise ManifestError(f"{run / 'oof.csv'} does not fit the manifest: {error!r}") from error
    if not np.isfinite(scores).all() or len(rows) != len(kept):
        raise ManifestError(f"{run / 'oof.csv'} has {len(rows)} of {len(kept)} rows, or scores that are not numbers")
    entries = [reports.Scores(scorer.bundle.model_version, reports.MODEL, np.array(scores))]
    if rival is not None:
        theirs = judgement.scores(_serve(rival, store, rows, progress), head)
        entries.append(reports.Scores(rival.bundle.model_version, reports.ACTIVE, theirs, IN_SAMPLE))
    for name, values in baseline_scores_out_of_fold(judgement, rows, np.array(folds), head).items():
        entries.append(reports.Scores(name, reports.BASELINE, values))
    return Evaluated(rows, entries)


def _report(
    scorer: Scorer,
    rival: Scorer | None,
    method: str,
    tested: Evaluated | None,
    folded: Evaluated | None,
    replicates: int,
    notes: list[str],
    webcams: dict[int, WebcamFacts],
) -> dict[str, Any]:
    judgement, bundle = scorer.judgement, scorer.bundle
    primary = judgement.metrics(bundle.head)[0]
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
    subsets = {name: part.table(judgement, bundle.head, replicates) for name, part in parts.items()}
    headline = _headline(subsets, primary.name)
    if folded is not None and rival is not None:
        _compare_on_test(subsets, rival.bundle.model_version, notes)
    notes += [f"{name}: {content['insufficient']}" for name, content in subsets.items() if "insufficient" in content]
    main = parts[headline]
    return {
        "format": reports.FORMAT,
        "kind": bundle.kind,
        "head": bundle.head,
        "model_version": bundle.model_version,
        "active_version": rival.bundle.model_version if rival else None,
        "method": method,
        "primary": {"name": primary.name, "higher_is_better": primary.higher_is_better},
        "metrics": {spec.name: spec.meaning for spec in judgement.metrics(bundle.head)},
        "headline": headline,
        "replicates": replicates,
        "subsets": subsets,
        "slices": slices(
            main.rows, webcams, lambda chosen: main.part(chosen).table(judgement, bundle.head, SLICE_REPLICATES)
        ),
        "calibration_table": calibration_table(judgement, bundle, main.model, main.targets),
        **classification(judgement, bundle, main.rows, main.model, main.targets),
        "threshold_policy": bundle.threshold_policy,
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


def _write_predictions(path: Path, outputs: Sequence[str], tested: Evaluated | None, folded: Evaluated | None) -> None:
    """One line a row: `score` and the named outputs are what the bundle serves, `out_of_fold_score` is the folds'."""
    served: dict[int, list[float]] = {}
    if tested is not None:
        for place, row in enumerate(tested.rows):
            served[row.snapshot_id] = [float(tested.model[place]), *(float(tested.outputs[o][place]) for o in outputs)]
    main = folded or tested
    assert main is not None
    with path.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        names = ("snapshot_id", "image_sha256", "split", "seen", "group_id", "target", "out_of_fold_score", "score")
        writer.writerow((*names, *outputs))
        for place, row in enumerate(main.rows):
            apart = repr(float(main.model[place])) if folded is not None else ""
            seen = "" if row.seen is None else str(row.seen).lower()
            cells = served.get(row.snapshot_id, [""] * (1 + len(outputs)))
            writer.writerow(
                (row.snapshot_id, row.image_sha256, row.split, seen, row.group_id, row.target_label, apart, *cells)
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and evaluate; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ml.evaluate", description="Evaluate a bundle on frozen rows.")
    parser.add_argument("--bundle", required=True, type=Path, help="directory of the bundle")
    parser.add_argument("--manifest", required=True, type=Path, help="manifest_full.csv of the dataset")
    parser.add_argument("--run", type=Path, help="directory of the run; without it the bundle is tested on test rows")
    parser.add_argument("--store", required=True, help="address of the image store")
    parser.add_argument("--out", required=True, type=Path, help="directory of the report")
    parser.add_argument("--active", type=Path, help="bundle of the active model, measured on the same rows")
    parser.add_argument("--webcams", type=Path, help="CSV webcam_id, lng, region, source; for slices")
    parser.add_argument("--replicates", type=int, default=reports.REPLICATES, help="bootstrap replicates")
    given = parser.parse_args(arguments)
    return run_verb(
        lambda: evaluate(
            given.bundle,
            given.manifest,
            given.store,
            given.out,
            given.run,
            given.active,
            given.replicates,
            given.webcams,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
