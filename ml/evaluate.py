"""The verb `evaluate`: a bundle and a manifest in; report.json, the same as a page, predictions.csv and suspects.csv out.

    python -m ml.evaluate --bundle BUNDLE_DIR --manifest manifest_full.csv --store URL --out REPORT_DIR
        [--run RUN_DIR] [--active BUNDLE_DIR] [--webcams FILE] [--ratings FILE] [--dataset FILE] [--cache DIR]
        [--recipe FILE] [--cycle FILE]

Method `test`: the bundle, exactly as it would be served, on the test rows. Method `kfold` (the run says which): the
run's out-of-fold scores of all rows, and the bundle on what test rows there are. Beside it stand baselines fitted on
the rows that the model learned from, and the noise of the raters. report.json is written last.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ml import report as reports
from ml.baselines import Baselines, read_recipe
from ml.bundle import bundle_sha256
from ml.curves import WebcamFacts, read_webcams
from ml.evaluated import Evaluated, write_predictions
from ml.events import Progress, run_verb
from ml.frames import suspect_frames
from ml.gate_material import gate_material
from ml.images.fingerprints import fingerprints_of
from ml.images.store import FileStore
from ml.inference import Scorer
from ml.latency import MAX_IMAGES
from ml.leak_audit import audit, naive_split
from ml.manifest import ManifestError, ManifestRow, manifest_sha256, read_manifest
from ml.noise import Ratings, read_ratings
from ml.noise_report import Judged, noise_content, noise_sentence
from ml.report_content import parts_of, report_content
from ml.report_files import PREDICTIONS_FILE, complete, read_cycle, read_dataset, write_report
from ml.scored_rows import (
    KFOLD,
    TEST,
    active_of,
    entries_of,
    method_of,
    network_features,
    num_threads,
    on_test_rows,
    out_of_fold,
    sky_features,
    unlearned,
    with_target,
)
from ml.suspects import SUSPECTS_FILE, Suspect, rank_suspects, suspects_bytes
from ml.training.recipe import Recipe


@dataclass(frozen=True)
class Material:
    """What is evaluated, on which rows, and all that is known of them."""

    scorer: Scorer
    active: Scorer | None
    """The active model, where the two can be compared."""
    store: FileStore
    method: str
    full: list[ManifestRow]
    """All rows of the manifest."""
    kept: list[ManifestRow]
    """Those in a split, with the target of the bundle's head."""
    webcams: dict[int, WebcamFacts]
    votes: Ratings | None
    recipe: Recipe | None
    run: Path | None
    cache: Path | None
    replicates: int

    @property
    def test_rows(self) -> list[ManifestRow]:
        """Rows of the test split."""
        return [row for row in self.kept if row.split == "test"]

    @property
    def learned(self) -> list[ManifestRow]:
        """Rows that the served model learned from."""
        return [row for row in self.kept if row.split != "test"]


@dataclass(frozen=True)
class Scored:
    """What everyone says of the rows of a `Material`."""

    tested: Evaluated | None
    """On test rows, where there are any."""
    folded: Evaluated | None
    """Out of fold, where that is the method."""
    features: dict[str, np.ndarray]
    """Hand-made features of all kept rows, by sha256 of the image."""


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
    cycle: Path | None = None,
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
        recipe: JSON of the run's recipe; without it the model counts as the most complex, and no baseline is fitted on
            the features of its network.
        cycle: JSON of what an evaluation cycle knows beside these rows; without it the report is of no cycle.

    Raises:
        ManifestError: There are no rows to evaluate on, an image is missing, or the run's files do not fit.
        BundleError: A bundle cannot be used.
    """
    progress, scorer, known_as = Progress(), Scorer.load(bundle, threads=num_threads()), read_dataset(dataset)
    full, kept = _rows(manifest, scorer, method_of(run))
    active_scorer, notes = active_of(active, scorer)
    material = Material(
        scorer, active_scorer, FileStore(store_url), method_of(run), full, kept,
        read_webcams(webcams) if webcams is not None else {}, read_ratings(ratings) if ratings is not None else None,
        read_recipe(recipe), run, cache, replicates,
    )  # fmt: skip
    scored = _score(material, progress)
    progress.report(0.8, f"drawing {replicates} bootstrap replicates")
    parts = parts_of(scored.tested, scored.folded)
    content, suspects = _content(material, scored, parts, notes)
    content |= {"manifest_sha256": manifest_sha256(full), "bundle_sha256": bundle_sha256(bundle)}
    content["cycle"] = read_cycle(cycle)
    complete(content, scorer, parts[content["headline"]], full, material.votes, material.webcams, run, known_as)
    _write(out, material, scored, parts, content, suspects)
    return _result(content)


def _rows(manifest: Path, scorer: Scorer, method: str) -> tuple[list[ManifestRow], list[ManifestRow]]:
    """All rows of the manifest, and those in a split with their targets.

    Raises:
        ManifestError: Nothing can be evaluated on them, or no baseline fitted.
    """
    full = read_manifest(manifest)
    kept = [with_target(row, scorer.judgement, scorer.bundle.head) for row in full if row.split is not None]
    if not kept or (method == TEST and all(row.split != "test" for row in kept)):
        raise ManifestError(
            f"{manifest} has no test row to evaluate on; label snapshots of more webcams and days, or train with "
            "evaluation=kfold"
        )
    if all(row.split == "test" for row in kept):
        raise ManifestError(f"{manifest} has no train or val row, so no baseline can be fitted; use the run's manifest")
    return full, kept


def _score(given: Material, progress: Progress) -> Scored:
    """The model, the active one and the baselines on test rows, and out of fold where that is the method."""
    scorer, store, test_rows = given.scorer, given.store, given.test_rows
    features = sky_features(store, given.kept, given.cache, progress.part(0.02, 0.2))
    frozen = network_features(given.recipe, store, given.kept, given.cache, progress.part(0.2, 0.3))
    baselines = Baselines(scorer.judgement, scorer.bundle.head, features, given.webcams, frozen)
    tested, folded = None, None
    if test_rows:
        tested = on_test_rows(scorer, given.active, store, test_rows, progress.part(0.3, 0.65))
        progress.report(0.65, "fitting the baselines")
        tested.entries += entries_of(baselines.of(given.learned, test_rows))
    if given.method == KFOLD:
        assert given.run is not None
        folded = out_of_fold(scorer, given.active, store, given.run, given.kept, baselines, progress.part(0.7, 0.8))
    return Scored(tested, folded, features)


def _content(
    given: Material, scored: Scored, parts: dict[str, Evaluated], notes: list[str]
) -> tuple[dict[str, Any], list[Suspect]]:
    """Tables and what is found beside them; and all rows by how suspicious their labels are. Appends to `notes`."""
    scorer, replicates = given.scorer, given.replicates
    content = report_content(scorer, given.active, given.method, parts, replicates, notes, given.webcams)
    content["noise"] = _noise(given, parts, content)
    shown = [given.store.image(str(row.image_sha256)) for row in (given.test_rows or given.kept)[:MAX_IMAGES]]
    content["gate"] = gate_material(scorer, given.active, parts, given.webcams, shown, given.recipe, replicates)
    content["audit"] = _audit(given, scored)
    notes[1:1] = [content["noise"]["sentence"], content["audit"]["verdict"]]
    suspects = _suspects(given, scored, content["noise"])
    content["suspects"] = suspect_frames(given.kept, suspects, given.webcams, given.votes)
    return content, suspects


def _noise(given: Material, parts: dict[str, Evaluated], content: dict[str, Any]) -> dict[str, Any]:
    """The raters' noise, with its sentence."""
    bundle, judged = given.scorer.bundle, {name: Judged(part.rows, part.model) for name, part in parts.items()}
    noise = noise_content(given.votes, given.kept, given.scorer.judgement, bundle.head, judged, given.replicates)
    return {**noise, "sentence": noise_sentence(bundle.model_version, noise, content["headline"])}


def _audit(given: Material, scored: Scored) -> dict[str, Any]:
    """The audit of leaks, and what a naive split would have shown."""
    scorer, kept = given.scorer, given.kept
    hashes = [str(row.image_sha256) for row in kept]
    prints = fingerprints_of(given.store.image, hashes, given.cache, threads=num_threads())
    found = audit(given.full, kept, prints, scored.folded.folds if scored.folded is not None else None)
    naive = naive_split(scorer.judgement, scorer.bundle.head, kept, scored.features, given.replicates)
    return {**found, "naive": naive}


def _suspects(given: Material, scored: Scored, noise: dict[str, Any]) -> list[Suspect]:
    """All kept rows, those with the most suspicious labels first."""
    unit = given.scorer.judgement.stars_per_target(given.scorer.bundle.head)
    sigma = noise["sigma_w"] / unit if noise["known"] and unit else 0.0
    by = unlearned(scored.tested, scored.folded, given.learned, scored.features)
    return rank_suspects(by, given.votes, sigma)


def _write(
    out: Path,
    given: Material,
    scored: Scored,
    parts: dict[str, Evaluated],
    content: dict[str, Any],
    suspects: list[Suspect],
) -> None:
    """All files of the report, report.json last.

    Raises:
        ReportError: A number lacks its baseline, n or interval; nothing is written.
    """
    reports.validate(content)
    out.mkdir(parents=True, exist_ok=True)
    (out / SUSPECTS_FILE).write_bytes(suspects_bytes(suspects))
    write_predictions(out / PREDICTIONS_FILE, given.scorer.bundle.outputs, scored.tested, scored.folded)
    write_report(out, content, parts[content["headline"]], given.store)


def _result(content: dict[str, Any]) -> dict[str, Any]:
    """What the verb says at its end."""
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
    parser.add_argument("--cycle", type=Path, help="JSON file of what the evaluation cycle knows beside these rows")
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
            given.cycle,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
