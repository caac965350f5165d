"""The verb `evaluate`: a bundle and a manifest in; report.json, the same as a page, predictions.csv and suspects.csv out.

    python -m ml.evaluate --bundle BUNDLE_DIR --manifest manifest_full.csv --store URL --out REPORT_DIR
        [--run RUN_DIR] [--active BUNDLE_DIR] [--webcams FILE] [--ratings FILE] [--dataset FILE] [--cache DIR]
        [--recipe FILE]

Method `test`: the bundle, exactly as it would be served, on the test rows. Method `kfold` (the run says which): the
run's out-of-fold scores of all rows, and the bundle on what test rows there are. Beside it stand baselines fitted on
the rows that the model learned from, and the noise of the raters. report.json is written last.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml import report as reports
from ml.baselines import Baselines, peers_of, read_recipe
from ml.bundle import bundle_sha256
from ml.curves import read_webcams
from ml.evaluated import write_predictions
from ml.events import Progress, run_verb
from ml.frames import suspect_frames
from ml.gate_material import gate_material
from ml.images.fingerprints import fingerprints_of
from ml.images.store import FileStore
from ml.inference import Scorer
from ml.latency import MAX_IMAGES
from ml.leak_audit import audit, naive_split
from ml.manifest import ManifestError, manifest_sha256, read_manifest
from ml.noise import read_ratings
from ml.noise_report import Judged, noise_content, noise_sentence
from ml.report_content import parts_of, report_content
from ml.report_files import PREDICTIONS_FILE, complete, read_dataset, write_report
from ml.scored_rows import (
    KFOLD,
    TEST,
    entries_of,
    method_of,
    network_features,
    num_threads,
    on_test_rows,
    out_of_fold,
    rival_of,
    sky_features,
    unlearned,
    with_target,
)
from ml.suspects import SUSPECTS_FILE, rank_suspects, suspects_bytes


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
    dataset: Path | None = None,
    recipe: Path | None = None,
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
        cache: directory of cached features; without it they are computed anew.
        dataset: JSON file with `id` and `as_of` of the dataset; without it the data card does not name one.
        recipe: JSON of the run's recipe; without it nobody knows which baselines are its peers, and none is
            fitted on the features of its network.

    Raises:
        ManifestError: There are no rows to evaluate on, an image is missing, or the run's files do not fit.
        BundleError: A bundle cannot be used.
    """
    progress = Progress()
    scorer = Scorer.load(bundle, threads=num_threads())
    judgement, head = scorer.judgement, scorer.bundle.head
    store, known_as = FileStore(store_url), read_dataset(dataset)
    full = read_manifest(manifest)
    method = method_of(run)
    kept = [with_target(row, judgement, head) for row in full if row.split is not None]
    test_rows = [row for row in kept if row.split == "test"]
    learned = [row for row in kept if row.split != "test"]
    if not kept or (method == TEST and not test_rows):
        raise ManifestError(
            f"{manifest} has no test row to evaluate on; label snapshots of more webcams and days, or train with "
            "evaluation=kfold"
        )
    if not learned:
        raise ManifestError(f"{manifest} has no train or val row, so no baseline can be fitted; use the run's manifest")
    rival, notes = rival_of(active, scorer)
    facts = read_webcams(webcams) if webcams is not None else {}
    votes = read_ratings(ratings) if ratings is not None else None
    features = sky_features(store, kept, cache, progress.part(0.02, 0.2))
    trained_by = read_recipe(recipe)
    frozen = network_features(trained_by, store, kept, cache, progress.part(0.2, 0.3))
    baselines = Baselines(judgement, head, features, facts, frozen, peers_of(trained_by))
    tested = on_test_rows(scorer, rival, store, test_rows, progress.part(0.3, 0.65)) if test_rows else None
    if tested is not None:
        progress.report(0.65, "fitting the baselines")
        tested.entries += entries_of(baselines.of(learned, test_rows), baselines.peers)
    folded = None
    if method == KFOLD:
        assert run is not None
        folded = out_of_fold(scorer, rival, store, run, kept, baselines, progress.part(0.7, 0.8))
    progress.report(0.8, f"drawing {replicates} bootstrap replicates")
    parts = parts_of(tested, folded)
    content = report_content(scorer, rival, method, parts, replicates, notes, facts)
    judged = {name: Judged(part.rows, part.model) for name, part in parts.items()}
    content["noise"] = noise_content(votes, kept, judgement, head, judged, replicates)
    content["noise"]["sentence"] = noise_sentence(scorer.bundle.model_version, content["noise"], content["headline"])
    notes.insert(1, content["noise"]["sentence"])
    shown = [store.image(str(row.image_sha256)) for row in (test_rows or kept)[:MAX_IMAGES]]
    content["gate"] = gate_material(scorer, rival, parts, facts, shown, read_recipe(recipe), replicates)
    prints = fingerprints_of(store.image, [str(row.image_sha256) for row in kept], cache, threads=num_threads())
    content["audit"] = audit(full, kept, prints, folded.folds if folded is not None else None)
    content["audit"]["naive"] = naive_split(judgement, head, kept, features, replicates)
    notes.insert(2, content["audit"]["verdict"])
    noise = content["noise"]
    sigma = noise["sigma_w"] / unit if noise["known"] and (unit := judgement.stars_per_target(head)) else 0.0
    ranked = rank_suspects(unlearned(tested, folded, learned, features), votes, sigma)
    content["suspects"] = suspect_frames(kept, ranked, facts, votes)
    content["manifest_sha256"] = manifest_sha256(full)
    content["bundle_sha256"] = bundle_sha256(bundle)
    main = parts[content["headline"]]
    complete(content, scorer, main, full, votes, facts, run, known_as)
    reports.validate(content)
    out.mkdir(parents=True, exist_ok=True)
    (out / SUSPECTS_FILE).write_bytes(suspects_bytes(ranked))
    write_predictions(out / PREDICTIONS_FILE, scorer.bundle.outputs, tested, folded)
    write_report(out, content, main, store)
    headline = content["subsets"][content["headline"]]
    return {key: content[key] for key in ("model_version", "method", "headline", "primary", "skill", "notes")} | {
        "n": headline["n"], "n_groups": headline["n_groups"], "rows": headline["rows"],
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and evaluate; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ml.evaluate", description="Evaluate a bundle on frozen rows.")
    parser.add_argument("--bundle", required=True, type=Path, help="directory of the bundle")
    parser.add_argument("--manifest", required=True, type=Path, help="manifest_full.csv of the dataset")
    parser.add_argument("--run", type=Path, help="directory of the run; without it the bundle is tested on test rows")
    parser.add_argument("--store", required=True, help="address of the image store")
    parser.add_argument("--out", required=True, type=Path, help="directory of the report")
    parser.add_argument("--active", type=Path, help="bundle of the active model, measured on the same rows")
    parser.add_argument("--webcams", type=Path, help="CSV webcam_id, lat, lng, region, source, title")
    parser.add_argument("--ratings", type=Path, help="CSV snapshot_id, rater, rating, verdict, label_source")
    parser.add_argument("--dataset", type=Path, help="JSON file with id and as_of of the dataset")
    parser.add_argument("--cache", type=Path, help="directory of cached features")
    parser.add_argument("--recipe", type=Path, help="JSON file of the recipe that the model was trained by")
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
            given.dataset,
            given.recipe,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
