"""The cards of a report: what the data is, what the model is, and how to make both again. Facts only, as JSON.

Source of the idea: Gebru et al. 2018 (datasheets for datasets) and Mitchell et al. 2019 (model cards).
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np

from ml.bundle import Bundle
from ml.manifest import SPLITS, ManifestError, ManifestRow, manifest_sha256
from ml.noise import Ratings
from ml.report import ReportError

UNKNOWN = "unknown"
NOT_A_SUNSET = "not a sunset"
LABEL_STEP = 0.5
"""Width of a bar of the labels' histogram, on the labels' scale."""
_IMAGENET = (
    "published by torchvision, whose code is BSD-3-Clause; trained on ImageNet-1k, whose images are for non-commercial "
    "research. torchvision names no licence for the weights and leaves it to you whether your use is permitted"
)
LICENCES = {
    "none": "none: the weights are random",
    "imagenet": _IMAGENET,
    "file": "unknown: the weights were given as a file; ask whoever made it",
    "definitions": "there are no weights: the features are definitions in Afterglow's own code",
}
"""Kind of source -> what is known of the licence of a backbone's weights."""
TORCHVISION_FILES = {
    "f37072fd": "resnet18-f37072fd.pth", "047dcff4": "mobilenet_v3_small-047dcff4.pth",
    "7ebf99e0": "mobilenet_v2-7ebf99e0.pth", "b0353104": "mobilenet_v2-b0353104.pth",
}  # fmt: skip
"""First eight digits of the sha256 -> torchvision's ImageNet file, which it checks by these digits itself."""


def data_card(
    rows: Sequence[ManifestRow], votes: Ratings | None, dataset: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What the rows of a manifest are; every candidate is counted once.

    Args:
        rows: all candidates, excluded ones too.
        votes: the raw verdicts behind kept rows; None where they are not known.
        dataset: `id` and `as_of` of the dataset they were frozen as, and `fresh` where the model was trained on another
            one; None where that is not known.

    Raises:
        ReportError: Kept and excluded rows do not add up to the candidates.
    """
    kept = [row for row in rows if row.split is not None]
    reasons = Counter(row.exclusion_reason or "no reason recorded" for row in rows if row.split is None)
    if len(kept) + sum(reasons.values()) != len(rows):
        raise ReportError(f"{len(kept)} kept and {sum(reasons.values())} excluded rows are not {len(rows)} candidates")
    times = sorted(row.captured_at.astimezone(UTC) for row in kept)
    return {
        "manifest_sha256": manifest_sha256(rows),
        "dataset": dict(dataset) if dataset else None,
        "candidates": len(rows),
        "kept": len(kept),
        "excluded": len(rows) - len(kept),
        "exclusions": [{"reason": reason, "n": n} for reason, n in sorted(reasons.items(), key=_most_first)],
        "splits": [_part(name, part) for name, part in _splits(kept) if part],
        "sources": [
            _part(source, [row for row in kept if row.label_source == source])
            for source in sorted({row.label_source for row in kept})
        ],
        "labels": _label_histogram(kept),
        "good": _share_good(kept),
        "ratings_per_row": [
            {"ratings": count, "n": n} for count, n in sorted(Counter(row.rating_count for row in kept).items())
        ],
        "ratings": None if votes is None else _votes(votes.of([row.snapshot_id for row in kept])),
        "first_captured_at": times[0].isoformat() if times else None,
        "last_captured_at": times[-1].isoformat() if times else None,
        "images": len({row.image_sha256 for row in kept if row.image_sha256 is not None}),
    }


def _most_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _splits(kept: Sequence[ManifestRow]) -> list[tuple[str, list[ManifestRow]]]:
    """Train, val and test; test apart by whether the webcam is held out as a whole."""
    found = [(split, [row for row in kept if row.split == split]) for split in SPLITS if split != "test"]
    test = [row for row in kept if row.split == "test"]
    found.append(("test, webcams seen", [row for row in test if row.seen is not False]))
    found.append(("test, webcams not seen", [row for row in test if row.seen is False]))
    return found


def _part(name: str, rows: Sequence[ManifestRow]) -> dict[str, Any]:
    return {
        "name": name,
        "n": len(rows),
        "groups": len({row.group_id for row in rows}),
        "webcams": len({row.webcam_id for row in rows}),
    }


def _label_histogram(kept: Sequence[ManifestRow]) -> list[dict[str, Any]]:
    """Labels in steps of half a unit, lower edge included; empty steps in between are shown as 0."""
    values = np.array([row.label_value for row in kept if row.label_value is not None], dtype=np.float64)
    if len(values) == 0:
        return []
    steps = np.floor(values / LABEL_STEP + 1e-9).astype(int)
    return [
        {"low": step * LABEL_STEP, "high": (step + 1) * LABEL_STEP, "n": int((steps == step).sum())}
        for step in range(int(steps.min()), int(steps.max()) + 1)
    ]


def _share_good(kept: Sequence[ManifestRow]) -> dict[str, Any] | None:
    known = [row.is_good for row in kept if row.is_good is not None]
    return {"n": sum(known), "of": len(known)} if known else None


def _votes(votes: Ratings) -> dict[str, Any]:
    stars = votes.stars[~np.isnan(votes.stars)]
    counts = {f"{value:g}": int(n) for value, n in zip(*np.unique(stars, return_counts=True), strict=True)}
    given = {f"{star}": counts.get(f"{star}", 0) for star in range(1, 6)}
    return {
        "n": len(votes.stars),
        "raters": len(np.unique(votes.raters)),
        "histogram": [
            {"rating": name, "n": n}
            for name, n in ((NOT_A_SUNSET, int(np.isnan(votes.stars).sum())), *given.items())
        ],
    }  # fmt: skip


def model_card(bundle: Bundle, bundle_sha256: str, run: Path | None) -> dict[str, Any]:
    """What the evaluated model is and what it was made with; what was not recorded is null.

    A bundle from elsewhere says of its training what it likes: what has not the shape of ours counts as not recorded.

    Args:
        bundle: the model's bundle.
        bundle_sha256: its name by content.
        run: directory of the run, whose training.json may know more than the bundle does; None where there is none.

    Raises:
        ManifestError: The run's training.json cannot be read.
    """
    known = {**bundle.training, **_training_facts(run)}
    recipe = _mapping(bundle.training.get("recipe")) or _mapping(known.get("recipe")) or {}
    notes = known.get("notes")
    return {
        "model_version": bundle.model_version,
        "kind": bundle.kind,
        "kind_version": bundle.kind_version,
        "head": bundle.head,
        "bundle_sha256": bundle_sha256,
        "model_sha256": bundle.model_sha256,
        "weights_sha256": bundle.weights_sha256,
        "dataset_sha256": bundle.dataset_sha256,
        "backbone": recipe.get("backbone"),
        "backbone_weights": _backbone_weights(_mapping(known.get("weights_source"))),
        "input_size": list(bundle.input_size),
        "preprocessing_version": bundle.preprocessing_version,
        "normalisation": known.get("normalisation"),
        "outputs": list(bundle.outputs),
        "scale": list(bundle.scale),
        "calibration": {key: bundle.calibration.get(key) for key in ("method", "n", "fitted_on")},
        "recipe": recipe,
        "counts": _mapping(known.get("counts")),
        "groups": _mapping(known.get("groups")),
        "best_epoch": known.get("best_epoch"),
        "code": known.get("code"),
        "libraries": known.get("libraries"),
        "machine": known.get("machine"),
        "threads": known.get("threads"),
        "seed": known.get("seed"),
        "parity": bundle.parity or None,
        "notes": list(notes) if isinstance(notes, list) else [],
    }


def _mapping(value: Any) -> dict[str, Any] | None:
    return {str(key): each for key, each in value.items()} if isinstance(value, Mapping) else None


def _training_facts(run: Path | None) -> dict[str, Any]:
    if run is None:
        return {}
    try:
        content = json.loads((run / "training.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ManifestError(f"{run} is not a finished run: {error!r}") from error
    return dict(content)


def _backbone_weights(source: Mapping[str, Any] | None) -> dict[str, Any]:
    if not source:
        return {"source": UNKNOWN, "sha256": None, "file": None, "licence": f"{UNKNOWN}: the source was not recorded"}
    kind, sha256 = str(source.get("kind")), source.get("sha256")
    licence = LICENCES.get(kind, UNKNOWN)
    name = TORCHVISION_FILES.get(str(sha256)[:8])
    if kind == "file" and name is not None:
        licence = f"by its sha256 this file is torchvision's {name}: {_IMAGENET}"
    return {"source": kind, "sha256": sha256, "file": source.get("path_name"), "licence": licence}


def how_to_reproduce(card: Mapping[str, Any], data: Mapping[str, Any], method: str) -> list[dict[str, str]]:
    """What to run, in order: `what` it does, and the `command`. Texts from elsewhere are quoted for the shell."""
    version, recipe = str(card["model_version"]), card["recipe"]
    steps = [
        {
            "what": "Rebuild the rows from provenance, train again in a fresh process, export, and compare with this version.",
            "command": f"afterglow reproduce {shlex.quote(version)}",
        }
    ]
    known_as = data["dataset"] or {}
    dataset, fresh = known_as.get("id"), bool(known_as.get("fresh"))
    if dataset is not None and not fresh:
        chosen = " ".join(f"--set {shlex.quote(f'{key}={_yaml(value)}')}" for key, value in sorted(recipe.items()))
        steps.append({
            "what": f"Train on the same frozen rows, dataset {dataset}, with the same recipe: a new version.",
            "command": f"afterglow train {shlex.quote(str(card['kind']))} --dataset {dataset} {chosen}".rstrip(),
        })  # fmt: skip
    run = " --run RUN" if method == "kfold" else ""
    known = " --recipe RUN/recipe.json" if recipe else ""
    again = "Measure this version again on the rows it was tested on, and write this report anew."
    if fresh:
        again = "Measure this version on the labels as they are then, less those it learned from: no longer quite these rows."
    steps += [
        {"what": again, "command": f"afterglow evaluate {shlex.quote(version)}{' --fresh' if fresh else ''}"},
        {
            "what": "The same without a database: from the bundle, the manifest with the sha256 of the data card and the run's "
            "files. Without --ratings the noise floor is not known, without --webcams there are no slices by place and sun.",
            "command": f"python -m ml.evaluate --bundle BUNDLE --manifest manifest_full.csv --store STORE{run}{known} "
            "--ratings RATINGS --webcams WEBCAMS --out REPORT",
        },
    ]
    return steps


def _yaml(value: Any) -> str:
    return "null" if value is None else json.dumps(value) if not isinstance(value, str) else value
