"""A tiny dataset whose colour is the label, and the verbs run on it as the worker runs them."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ml.images.store import FileStore
from ml.manifest import ManifestRow, manifest_bytes
from tests.ml.rows import row

SIZE = 32


@dataclass(frozen=True)
class TinyDataset:
    """A manifest on disk and its store."""

    directory: Path
    rows: tuple[ManifestRow, ...]

    @property
    def manifest(self) -> Path:
        return self.directory / "manifest_full.csv"

    @property
    def store(self) -> str:
        return str(self.directory / "store")


def coloured(value: float, seed: int) -> bytes:
    """A noisy PNG, 64 x 48, the redder the higher `value` (0..5)."""
    noise = np.random.default_rng(seed).normal(0.0, 12.0, (48, 64, 3))
    pixels = np.clip(np.array([60.0 + 35.0 * value, 90.0, 200.0 - 30.0 * value]) + noise, 0, 255)
    written = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(written, format="PNG")
    return written.getvalue()


def make_dataset(directory: Path, head: str = "regression", n: int = 40) -> TinyDataset:
    """`n` images of `n / 2` groups: 24 in 40 train, 8 val, 8 test."""
    store = FileStore(str(directory / "store"))
    rows = []
    for number in range(n):
        value = 5.0 * (number * 7 % n) / (n - 1)
        split = ("train", "train", "val", "train", "test")[number // 2 % 5]
        rows.append(
            row(
                number + 1, webcam_id=number % 8 + 1, label_value=value, is_good=value >= 4.0, split=split,
                target_label=value if head == "regression" else float(value >= 2.5),
                image_sha256=store.put_image(coloured(value, number)), group_id=f"group:{number // 2}",
            )
        )  # fmt: skip
    (directory / "manifest_full.csv").write_bytes(manifest_bytes(rows))
    return TinyDataset(directory, tuple(rows))


def write_recipe(path: Path, **keys: Any) -> Path:
    """A recipe that trains in a second."""
    content = {
        "backbone": "resnet18",
        "image_size": SIZE,
        "epochs": 20,
        "learning_rate": 0.001,
        "dropout": 0.1,
        "folds": 3,
        "threads": 1,
        **keys,
    }
    path.write_text(json.dumps(content))
    return path


def run_module(module: str, *arguments: object) -> tuple[int, list[dict[str, Any]]]:
    """Run a verb in a fresh process: its exit status and its events. Every line of stdout must be JSON."""
    done = subprocess.run(
        [sys.executable, "-m", module, *(str(each) for each in arguments)],
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def train_in_process(
    dataset: TinyDataset, out: Path, resume: Path | None = None, attempt: str = "1", **keys: Any
) -> dict[str, Any]:
    """Train in this process, with a checkpoint after every epoch; returns training.json's content."""
    from ml.train import train

    recipe = write_recipe(out.with_name(out.name + ".json"), **keys)
    cache = dataset.directory / "cache"
    return train("rating", dataset.manifest, recipe, dataset.store, cache, out, resume, attempt, 0.0)


def run_train(
    dataset: TinyDataset, out: Path, cache: Path, readers: int | None = None, **keys: Any
) -> tuple[int, list[dict[str, Any]]]:
    """Train in a fresh process."""
    recipe = write_recipe(out.with_name(out.name + ".json"), **keys)
    return run_module(
        "ml.train", "--kind", "rating", "--manifest", dataset.manifest, "--recipe", recipe, "--store", dataset.store,
        "--cache", cache, "--out", out, *([] if readers is None else ["--readers", readers]),
    )  # fmt: skip


def run_export(dataset: TinyDataset, run: Path, out: Path, version: str) -> tuple[int, list[dict[str, Any]]]:
    """Export in a fresh process."""
    return run_module(
        "ml.export_onnx", "--run", run, "--version", version, "--store", dataset.store,
        "--manifest", dataset.manifest, "--out", out,
    )  # fmt: skip


def train_and_kill(
    dataset: TinyDataset, out: Path, resume: Path, attempt: str, fit: str, epoch: int, **keys: Any
) -> list[dict[str, Any]]:
    """Train in a fresh process and kill it, with all its children, in the middle of the epoch after a checkpoint."""
    recipe = write_recipe(out.with_name(out.name + ".json"), **keys)
    arguments = (
        fit, epoch, "--kind", "rating", "--manifest", dataset.manifest, "--recipe", recipe, "--store", dataset.store,
        "--cache", dataset.directory / "cache", "--out", out, "--resume", resume, "--attempt", attempt,
        "--checkpoint-s", 0,
    )  # fmt: skip
    events: list[dict[str, Any]] = []
    with subprocess.Popen(
        [sys.executable, "-m", "tests.ml.held_training", *(str(each) for each in arguments)],
        stdout=subprocess.PIPE, start_new_session=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        for line in child.stdout:
            events.append(json.loads(line))
            if events[-1]["event"] == "held":
                os.killpg(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL, events[-1:]
    return events
