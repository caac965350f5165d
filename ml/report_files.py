"""What a report holds beside its tables, and its files: report.json for machines, report.html for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ml.cards import data_card, how_to_reproduce, model_card
from ml.curves import WebcamFacts, score_of_raw
from ml.evaluated import Evaluated
from ml.events import finite
from ml.frames import NUM_FRAMES, doubtful_frames, thumbnails, worst_frames
from ml.images.decode import ImageError
from ml.images.store import FileStore, StoreError
from ml.inference import Scorer
from ml.manifest import ManifestError, ManifestRow
from ml.noise import Ratings
from ml.report_page import report_page
from ml.residuals import residuals
from ml.verdict import verdict

REPORT_FILE, PAGE_FILE, PREDICTIONS_FILE = "report.json", "report.html", "predictions.csv"
FRAME_LISTS = ("worst", "doubtful", "suspects")
"""Keys of a report that list rows by `image_sha256`, shown with thumbnails."""


def read_dataset(path: Path | None) -> dict[str, Any] | None:
    """Which dataset the rows were frozen as: a JSON file with `id` and `as_of`, and `fresh` where it is not the one that the
    model was trained on; None without a path.

    Raises:
        ManifestError: The file is missing or is no such object.
    """
    if path is None:
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {"id": int(content["id"]), "as_of": str(content["as_of"]), "fresh": bool(content.get("fresh", False))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{path} does not say which dataset this is: {error!r}") from error


def read_cycle(path: Path | None) -> dict[str, Any] | None:
    """What an evaluation cycle knows beside the rows: a JSON object with `role` and `versions`; None without a path.

    Raises:
        ManifestError: The file is missing or is no such object.
    """
    if path is None:
        return None
    try:
        content = dict(json.loads(path.read_text(encoding="utf-8")))
        return {**content, "role": str(content["role"]), "versions": dict(content["versions"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{path} does not say which cycle this is: {error!r}") from error


def complete(
    content: dict[str, Any],
    scorer: Scorer,
    main: Evaluated,
    full: Sequence[ManifestRow],
    votes: Ratings | None,
    webcams: Mapping[int, WebcamFacts],
    run: Path | None,
    dataset: Mapping[str, Any] | None,
) -> None:
    """Add residuals, frames, cards and, last, the verdict to a report whose tables are done.

    Args:
        content: the report; `bundle_sha256` and `noise` are already there.
        scorer: the evaluated model.
        main: the headline's rows and what everyone says of them.
        full: all rows of the manifest.
        votes: raw verdicts behind the labels; None where they are not known.
        webcams: facts of webcams by id.
        run: directory of the run; None where there is none.
        dataset: `id` and `as_of`; None where they are not known.
    """
    judgement, bundle = scorer.judgement, scorer.bundle
    score_range = (score_of_raw(judgement, bundle, 0.0), score_of_raw(judgement, bundle, 1.0))
    against = content["subsets"][content["headline"]]["skill"]["against"]
    best = next(((each.name, each.scores) for each in main.entries if each.name == against), None)
    groups = [row.group_id for row in main.rows]
    confusion = content.get("confusion")
    threshold = confusion["threshold"] if confusion else None
    card = model_card(bundle, str(content["bundle_sha256"]), run)
    data = data_card(full, votes, dataset)
    content |= {
        "score_range": list(score_range),
        "residuals": residuals(main.targets, main.model, best, groups, score_range, content["replicates"]),
        "worst": worst_frames(main.rows, main.model, webcams, votes),
        "doubtful": doubtful_frames(main.rows, main.model, webcams, votes, threshold),
        "data_card": data,
        "model_card": card,
        "how_to_reproduce": how_to_reproduce(card, data, content["method"]),
        "verdict": verdict(content),
    }


def write_report(out: Path, content: Mapping[str, Any], main: Evaluated, store: FileStore) -> None:
    """Write report.html and, last, report.json into an existing directory.

    Raises:
        ReportError: A number lacks its baseline, n or interval.
        ManifestError: The image of a frame that is shown cannot be read.
    """
    plain: dict[str, Any] = finite(content)
    points = np.stack([main.targets, main.model], axis=1)
    page = report_page(plain, points, _thumbnails(plain, store))
    (out / PAGE_FILE).write_text(page, encoding="utf-8")
    text = json.dumps(plain, indent=2, sort_keys=True, allow_nan=False)
    (out / REPORT_FILE).write_text(text + "\n", encoding="utf-8")


def _thumbnails(content: Mapping[str, Any], store: FileStore) -> dict[str, bytes]:
    shown = [row for name in FRAME_LISTS for row in (content.get(name) or [])[:NUM_FRAMES]]
    try:
        return thumbnails((row["image_sha256"] for row in shown if row.get("image_sha256")), store.image)
    except (StoreError, ImageError) as error:
        raise ManifestError(f"a frame that the report shows cannot be read: {error}") from error
