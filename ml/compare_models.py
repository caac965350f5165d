"""The verb `compare_models`: two trainings of one model version in, how far they are apart out. No torch here.

    python -m ml.compare_models --recorded RUN_DIR BUNDLE_DIR --again RUN_DIR BUNDLE_DIR --manifest manifest_full.csv
        --store URL

Weights are compared tensor by tensor, graphs without their metadata, predictions on the golden images and on a sample
of the manifest's images, each in the units of its output.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ml.bundle import Bundle, BundleError, load_bundle, read_model
from ml.events import Progress, VerbError, run_verb
from ml.images.store import FileStore
from ml.inference import Scorer
from ml.manifest import read_manifest

SAMPLE = 64
"""Images of the manifest that both models score, evenly spread over its rows."""
TOLERANCE = 1e-3
"""Largest difference of predictions that nobody could see, in the units of each output: a thousandth of a rating."""
WEIGHTS_FILE, TRAINING_FILE, OOF_FILE = "weights.safetensors", "training.json", "oof.csv"


class RunUnreadable(VerbError):
    """A run's directory lacks a file or holds a damaged one."""

    code = "bad_run"


@dataclass(frozen=True)
class Model:
    """What a training and its export left."""

    run: Path
    bundle: Bundle
    facts: dict[str, Any]
    """training.json."""

    @classmethod
    def read(cls, run: Path, bundle: Path) -> Model:
        """Read both directories.

        Raises:
            BundleError: The bundle is incomplete or has changed.
            RunUnreadable: The run is.
        """
        try:
            facts = json.loads((run / TRAINING_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunUnreadable(f"{run} is not a finished training run: {error}") from error
        return cls(run, load_bundle(bundle), facts)


def compare_models(recorded: Model, again: Model, manifest: Path, store: FileStore) -> dict[str, Any]:
    """Compare two models that should be one.

    Returns:
        `weights`, `out_of_fold` (None without any), `graph`, `threshold` (the policy) and `predictions`, each with
        `identical`; `self_test`, what the recorded bundle's self-test says here (None: passed).
    """
    progress = Progress()
    progress.report(0.1, "comparing weights")
    weights = compare_weights(recorded, again)
    graph = _compare_graphs(recorded.bundle, again.bundle)
    hashes = [str(row.image_sha256) for row in read_manifest(manifest) if row.split is not None]
    sample = [hashes[place] for place in np.linspace(0, len(hashes) - 1, min(SAMPLE, len(hashes))).astype(int)]
    progress.report(0.3, f"comparing predictions on {len(recorded.bundle.golden) + len(sample)} images")
    old, new = Scorer(recorded.bundle), Scorer(again.bundle)
    return {
        "weights": weights,
        "out_of_fold": _compare_files(recorded.run / OOF_FILE, again.run / OOF_FILE),
        "graph": graph,
        "threshold": {"identical": recorded.bundle.threshold_policy == again.bundle.threshold_policy},
        "predictions": _compare_predictions(old, new, store, sample),
        "self_test": _self_test(old),
    }


def compare_weights(recorded: Model, again: Model) -> dict[str, Any]:
    """Hashes of all tensors, whether they are equal, and if not the largest difference and the tensor it is in."""
    first, second = recorded.facts["weights_sha256"], again.facts["weights_sha256"]
    found = {"recorded": first, "again": second, "identical": first == second}
    if first == second:
        return {**found, "max_abs_difference": 0.0, "tensor": None}
    before, now = _tensors(recorded.run), _tensors(again.run)
    misfits = [name for name in sorted({*before, *now})
               if name not in before or name not in now or before[name].shape != now[name].shape]  # fmt: skip
    if misfits:
        return {**found, "max_abs_difference": None, "tensor": misfits[0]}
    largest = {name: _largest(before[name], now[name]) for name in before}
    worst = max(largest, key=lambda name: largest[name])
    return {**found, "max_abs_difference": largest[worst], "tensor": worst}


def _tensors(run: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors: dict[str, np.ndarray] = load((run / WEIGHTS_FILE).read_bytes())
    except (OSError, SafetensorError) as error:
        raise RunUnreadable(f"cannot read the weights in {run}: {error}") from error
    return tensors


def _largest(first: np.ndarray, second: np.ndarray) -> float:
    difference = np.abs(first.astype(np.float64) - second.astype(np.float64))
    return float(difference.max()) if difference.size else 0.0


def _compare_files(first: Path, second: Path) -> dict[str, Any] | None:
    """Whether both are there with the same bytes; None where neither is."""
    contents = [path.read_bytes() if path.exists() else None for path in (first, second)]
    return None if contents == [None, None] else {"identical": contents[0] == contents[1]}


def _compare_graphs(recorded: Bundle, again: Bundle) -> dict[str, Any]:
    """Whether both files have the same bytes (`same_file`), or the same graph: metadata says when and with what."""
    same_file = recorded.model_sha256 == again.model_sha256
    identical = same_file or _bare(read_model(recorded)) == _bare(read_model(again))
    return {"recorded": recorded.model_sha256, "again": again.model_sha256, "same_file": same_file,
            "identical": identical}  # fmt: skip


def _bare(model: bytes) -> bytes:
    import onnx

    proto = onnx.load_model_from_string(model)
    del proto.metadata_props[:]
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def _compare_predictions(old: Scorer, new: Scorer, store: FileStore, sample: Sequence[str]) -> dict[str, Any]:
    """The largest difference over golden images and sample, of each output that both have, and where it is."""
    images = {golden.file: (old.bundle.directory / golden.file).read_bytes() for golden in old.bundle.golden}
    images |= {sha256: store.image(sha256) for sha256 in sample}
    before, now = (scorer.score_images(images.values()) for scorer in (old, new))
    about: dict[str, Any] = {"n_golden": len(old.bundle.golden), "n_images": len(sample)}
    if set(before) != set(now):
        return {**about, "identical": False, "max_abs_difference": None, "output": None, "image": None}
    apart = {name: np.abs(before[name].astype(np.float64) - now[name]) for name in before}
    worst = max(apart, key=lambda name: float(apart[name].max()))
    largest = float(apart[worst].max())
    if not largest:
        return {**about, "identical": True, "max_abs_difference": 0.0, "output": None, "image": None}
    image = list(images)[int(apart[worst].argmax())]
    return {**about, "identical": False, "max_abs_difference": largest, "output": worst, "image": image}


def _self_test(scorer: Scorer) -> str | None:
    try:
        scorer.self_test()
    except BundleError as error:
        return str(error)
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and compare; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m ml.compare_models", description="Compare two trainings of a model."
    )
    for name in ("recorded", "again"):
        parser.add_argument(f"--{name}", required=True, type=Path, nargs=2, metavar=("RUN_DIR", "BUNDLE_DIR"))
    parser.add_argument("--manifest", required=True, type=Path, help="manifest_full.csv of the recorded run")
    parser.add_argument("--store", required=True, help="address of the image store")
    given = parser.parse_args(arguments)
    return run_verb(
        lambda: compare_models(
            Model.read(*given.recorded), Model.read(*given.again), given.manifest, FileStore(given.store)
        )
    )


if __name__ == "__main__":
    sys.exit(main())
