"""What the scoring benchmark needs: GENERATED frames, a bundle with random weights, a database, the API as a process."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from ml.demo import sky
from ml.images.store import FileStore
from ml.manifest import ManifestRow, manifest_bytes

VERSION = "bench_mobilenet_v3_small"
NUM_WEBCAMS = 100
NUM_TRAINING_ROWS = 40
START_TIMEOUT_S = 60.0


def write_frames(directory: Path, count: int, size: tuple[int, int], wanted_bytes: int) -> list[Path]:
    """Render GENERATED frames with sensor noise as JPEGs of about `wanted_bytes`.

    Args:
        directory: Where to; made if missing.
        count: How many.
        size: Width and height in pixels.
        wanted_bytes: Each has at most this many, by its quality.
    """
    directory.mkdir(parents=True, exist_ok=True)
    frames = sky.make_frames(sky.make_webcams(max(2, count // 4), seed=5), days=2, seed=5)
    rng = np.random.default_rng(5)
    paths = []
    for number, frame in zip(range(count), frames, strict=False):
        pixels = sky.render(frame, *size).astype(np.float32) + rng.normal(0.0, 4.0, (size[1], size[0], 1))
        image, data = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), b""
        for quality in range(95, 20, -3):
            out = io.BytesIO()
            image.save(out, "JPEG", quality=quality)  # chroma 4:2:0, as webcams send it
            data = out.getvalue()
            if len(data) <= wanted_bytes:
                break
        paths.append(directory / f"{number:03}.jpg")
        paths[-1].write_bytes(data)
    return paths


def make_bundle(directory: Path, image_size: int) -> Path:
    """Train a head on a backbone with RANDOM weights and export it by the real verbs: only its speed means anything."""
    store = FileStore(str(directory / "store"))
    frames = sky.make_frames(sky.make_webcams(8, seed=1), days=4, seed=1)[:NUM_TRAINING_ROWS]
    rows = []
    for number, frame in enumerate(frames):
        sha256 = store.put_image(sky.to_jpeg(sky.render(frame, 160, 120)))
        value = 1.0 + 2.0 * (number * 7 % len(frames)) / (len(frames) - 1)  # far from 5, the threshold
        rows.append(
            ManifestRow(
                snapshot_id=number + 1, webcam_id=number % 8 + 1, label_source="calculated_rating", label_value=value,
                target_label=value, is_good=value >= 4.0, split=("train", "train", "val", "test")[number // 2 % 4],
                seen=True, image_path_or_url="", phase="sunset", captured_at=datetime(2025, 1, 1, tzinfo=UTC)
                + timedelta(hours=number), rating_count=1, image_sha256=sha256, group_id=f"group:{number // 2}",
                exclusion_reason=None,
            )
        )  # fmt: skip
    manifest, recipe = directory / "manifest_full.csv", directory / "recipe.json"
    manifest.write_bytes(manifest_bytes(rows))
    recipe.write_text(
        json.dumps({"backbone": "mobilenet_v3_small", "weights": "none", "image_size": image_size, "threads": 1})
    )
    places = ("--manifest", manifest, "--store", store.url)
    _verb("ml.train", "--kind", "rating", *places, "--recipe", recipe, "--cache", directory / "cache",
          "--out", directory / "run")  # fmt: skip
    _verb("ml.export_onnx", "--run", directory / "run", "--version", VERSION, *places, "--out", directory / "bundle")
    return directory / "bundle"


def _verb(module: str, *arguments: object) -> None:
    argv = [sys.executable, "-m", module, *(str(each) for each in arguments)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{module} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


@dataclass(frozen=True)
class Prepared:
    """What the database holds before the first request."""

    key: str
    webcam_ids: list[int]


def prepare_database(bundle: Path) -> Prepared:
    """Migrate, register and promote the bundle, add webcams, make a key that may score. DATABASE_URL must be set."""
    from db.engine import migrate, session_scope
    from db.queries import access, models, webcams
    from ml.bundle import bundle_sha256, load_bundle
    from worker.places import bundle_key, file_store
    from worker.stages.register import register_version

    migrate(os.environ["DATABASE_URL"])
    facts, digest = load_bundle(bundle), bundle_sha256(bundle)
    file_store().put_directory(bundle, bundle_key(digest))
    with session_scope() as session:
        run = models.add_run(session, model_version=facts.model_version, kind=facts.kind, status="trained")
        register_version(session, run, facts, digest)
        models.add_activation(session, kind=facts.kind, model_version=facts.model_version, action="promote",
                              forced=True, verdict={}, activated_by="bench")  # fmt: skip
        found = [webcams.find_or_add_webcam(session, "bench", str(number))[0].id for number in range(NUM_WEBCAMS)]
        key = access.add_key(session, name="bench", scopes=["score"])[1]
    return Prepared(key, [each for each in found if each is not None])


@contextmanager
def api_process(data_dir: Path, log: Path, **variables: str) -> Iterator[tuple[int, int]]:
    """The API started by the command line that `afterglow up` starts it with; gives its port and process id."""
    from worker.up import serving_processes

    with socket.create_server(("127.0.0.1", 0)) as found:
        port = int(found.getsockname()[1])
    api = next(each for each in serving_processes("127.0.0.1", port, data_dir) if each.name == "api")
    with log.open("ab") as written:
        process = subprocess.Popen(api.argv, stdout=written, stderr=written, env=os.environ | dict(api.env) | variables)
    try:
        until = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == httpx.codes.OK:
                    break
            except httpx.HTTPError:
                pass
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the API did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.1)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(30)
