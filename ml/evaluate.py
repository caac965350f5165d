"""The verb `evaluate`: a bundle and a manifest in; report.json and predictions.csv out.

    python -m ml.evaluate --bundle BUNDLE_DIR --manifest manifest_full.csv --store URL --out REPORT_DIR
        [--run RUN_DIR] [--active BUNDLE_DIR] [--webcams FILE] [--ratings FILE] [--cache DIR]

Method `test`: the bundle, exactly as it would be served, on the test rows. Method `kfold` (the run says which): the
run's out-of-fold scores of all rows, and the bundle on what test rows there are. Beside it stand baselines fitted on
the rows that the model learned from, and the noise of the raters. report.json is written last.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ml import report as reports
from ml.baselines import Baseline, Baselines
from ml.bundle import bundle_sha256
from ml.curves import WebcamFacts, calibration_table, classification, read_webcams, slices
from ml.evaluated import Evaluated, write_predictions
from ml.events import Progress, finite, run_verb
from ml.features.handmade import cached_sky_features
from ml.images.decode import ImageError
from ml.images.store import FileStore, StoreError
from ml.inference import Scorer
from ml.judgements.base import Judgement
from ml.manifest import ManifestError, ManifestRow, manifest_sha256, read_manifest
from ml.noise import read_ratings
from ml.noise_report import Judged, noise_content, noise_sentence

REPORT_FILE, PREDICTIONS_FILE = "report.json", "predictions.csv"
TEST, KFOLD = "test", "kfold"
OUT_OF_FOLD = "out_of_fold"
IN_SAMPLE = "in sample, not comparable: the active model may have learned from these very rows"
SLICE_REPLICATES = 500
BATCH = 16
MAX_THREADS = 4


def evaluate(
    bundle: Path,
    manifest: Path,
    store_url: str,
    out: Path,
    run: Path | None = None,
    active: Path | None = None,
    replicates: int = reports.REPLICATES,
    webcams: Path | None = None,
    ratings: Path | None = None,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Evaluate a bundle and write its report; returns the headline as the verb's result.

    Args:
        bundle: directory of the bundle.
        manifest: `manifest_full.csv` of the rows that the model learned from and is tested on.
        store_url: the image store.
        out: directory of the report, made here.
        run: directory of the run; its out-of-fold scores are the headline where it has them.
        active: bundle of the active model, measured on the same rows.
        replicates: of the bootstrap.
        webcams: CSV of where webcams are; without it there are no slices by region, and no baseline knows the sun.
        ratings: CSV of the raw verdicts behind the labels; without it the noise of the raters is unknown.
        cache: directory of cached hand-made features; without it they are computed anew.

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
    facts = read_webcams(webcams) if webcams is not None else {}
    votes = read_ratings(ratings) if ratings is not None else None
    features = _sky_features(store, kept, cache, progress.part(0.02, 0.3))
    baselines = Baselines(judgement, head, features, facts)
    tested = _test(scorer, rival, store, test_rows, progress.part(0.3, 0.65)) if test_rows else None
    if tested is not None:
        progress.report(0.65, "fitting the baselines")
        tested.entries += _entries(baselines.of(learned, test_rows))
    folded = None
    if method == KFOLD:
        assert run is not None
        folded = _out_of_fold(scorer, rival, store, run, kept, baselines, progress.part(0.7, 0.8))
    progress.report(0.8, f"drawing {replicates} bootstrap replicates")
    parts = _parts(tested, folded)
    content = _report(scorer, rival, method, parts, replicates, notes, facts)
    judged = {name: Judged(part.rows, part.model) for name, part in parts.items()}
    content["noise"] = noise_content(votes, kept, judgement, head, judged, replicates)
    content["noise"]["sentence"] = noise_sentence(scorer.bundle.model_version, content["noise"], content["headline"])
    notes.insert(1, content["noise"]["sentence"])
    content["manifest_sha256"] = manifest_sha256(full)
    content["bundle_sha256"] = bundle_sha256(bundle)
    reports.validate(content)
    out.mkdir(parents=True, exist_ok=True)
    write_predictions(out / PREDICTIONS_FILE, scorer.bundle.outputs, tested, folded)
    text = json.dumps(finite(content), indent=2, sort_keys=True, allow_nan=False)
    (out / REPORT_FILE).write_text(text + "\n", encoding="utf-8")
    headline = content["subsets"][content["headline"]]
    return {key: content[key] for key in ("model_version", "method", "headline", "primary", "skill", "notes")} | {
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
    progress: Progress,
) -> Evaluated:
    judgement, head = scorer.judgement, scorer.bundle.head
    outputs = _serve(scorer, store, rows, progress.part(0.0, 0.5))
    entries = [reports.Scores(scorer.bundle.model_version, reports.MODEL, judgement.scores(outputs, head))]
    if rival is not None:
        theirs = judgement.scores(_serve(rival, store, rows, progress.part(0.5, 1.0)), head)
        entries.append(reports.Scores(rival.bundle.model_version, reports.ACTIVE, theirs))
    return Evaluated(rows, entries, outputs)


def _entries(baselines: Sequence[Baseline]) -> list[reports.Scores]:
    return [
        reports.Scores(each.name, reports.BASELINE, each.scores, detail=each.detail, knows=each.knows)
        for each in baselines
    ]


def _sky_features(
    store: FileStore, rows: Sequence[ManifestRow], cache: Path | None, progress: Progress
) -> dict[str, np.ndarray]:
    """Hand-made features of these rows' images, by sha256; each image is looked at once."""
    for row in rows:
        if row.image_sha256 is None:
            raise ManifestError(f"snapshot {row.snapshot_id} has no image sha256; cache the images first")
    owners = {str(row.image_sha256): row.snapshot_id for row in rows}
    hashes = list(owners)
    found: dict[str, np.ndarray] = {}
    try:
        for values in cached_sky_features(store.image, hashes, cache, _threads()):
            found[hashes[len(found)]] = values
            progress.report(len(found) / len(hashes), f"hand-made features: image {len(found)}/{len(hashes)}")
    except (StoreError, ImageError) as error:
        snapshot = owners[hashes[len(found)]]
        raise ManifestError(f"the image of snapshot {snapshot} cannot be used for the baselines: {error}") from error
    return found


def _out_of_fold(
    scorer: Scorer,
    rival: Scorer | None,
    store: FileStore,
    run: Path,
    kept: Sequence[ManifestRow],
    baselines: Baselines,
    progress: Progress,
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
    return Evaluated(rows, entries + _entries(baselines.out_of_fold(rows, np.array(folds))))


def _parts(tested: Evaluated | None, folded: Evaluated | None) -> dict[str, Evaluated]:
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


def _report(
    scorer: Scorer,
    rival: Scorer | None,
    method: str,
    parts: dict[str, Evaluated],
    replicates: int,
    notes: list[str],
    webcams: dict[int, WebcamFacts],
) -> dict[str, Any]:
    judgement, bundle = scorer.judgement, scorer.bundle
    primary = judgement.metrics(bundle.head)[0]
    subsets = {name: part.table(judgement, bundle.head, replicates) for name, part in parts.items()}
    headline = _headline(subsets, primary.name)
    if OUT_OF_FOLD in parts and rival is not None:
        _compare_on_test(subsets, rival.bundle.model_version, notes)
    notes += [f"{name}: {content['insufficient']}" for name, content in subsets.items() if "insufficient" in content]
    main = parts[headline]
    sentence = reports.skill_sentence(bundle.model_version, subsets[headline])
    notes.insert(0, sentence)
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
        "skill": {**subsets[headline]["skill"], "sentence": sentence},
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and evaluate; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ml.evaluate", description="Evaluate a bundle on frozen rows.")
    parser.add_argument("--bundle", required=True, type=Path, help="directory of the bundle")
    parser.add_argument("--manifest", required=True, type=Path, help="manifest_full.csv of the dataset")
    parser.add_argument("--run", type=Path, help="directory of the run; without it the bundle is tested on test rows")
    parser.add_argument("--store", required=True, help="address of the image store")
    parser.add_argument("--out", required=True, type=Path, help="directory of the report")
    parser.add_argument("--active", type=Path, help="bundle of the active model, measured on the same rows")
    parser.add_argument("--webcams", type=Path, help="CSV webcam_id, lat, lng, region, source")
    parser.add_argument("--ratings", type=Path, help="CSV snapshot_id, rater, rating, verdict, label_source")
    parser.add_argument("--cache", type=Path, help="directory of cached features")
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
            given.ratings,
            given.cache,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
