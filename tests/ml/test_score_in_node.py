"""The client of `docs/node`: real Node, real onnxruntime-node and sharp, on a real bundle, beside what Afterglow says.

See `tests/node_packages.py` for what it needs.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ml.demo.sky import make_frames, make_webcams, render, to_jpeg
from ml.golden import golden_images
from ml.images.decode import to_model_input
from ml.inference import Scorer
from tests.ml.conftest import Trained
from tests.node_packages import node_packages, run_node

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "docs" / "node"
JPEG_BOUND = 0.1
"""Of a rating, as docs/how-to/score-in-node.md says: what decoders of JPEG may add."""
WRITE_PIXELS = """
import { readFile, writeFile } from 'node:fs/promises';
import { toModelInput } from './preprocess.mjs';
const { files, side, version, out } = JSON.parse(process.argv[2]);
const all = [];
for (const file of files) all.push(await toModelInput(await readFile(file), side, side, version));
await writeFile(out, Buffer.concat(all));
"""


@pytest.fixture(scope="module")
def packages() -> Path:
    """The client's npm packages, as its lock names them."""
    return node_packages(CLIENT)


@pytest.fixture
def client(packages: Path, tmp_path: Path) -> Path:
    """A copy of the client with its packages."""
    directory = tmp_path / "client"
    directory.mkdir()
    for path in CLIENT.glob("*.mjs"):
        shutil.copy(path, directory)
    (directory / "node_modules").symlink_to(packages / "node_modules")
    (directory / "write_pixels.mjs").write_text(WRITE_PIXELS)
    return directory


def _pixels(client: Path, images: list[bytes], side: int, version: int) -> np.ndarray:
    """What Node makes of encoded images: uint8 (N, side, side, 3)."""
    files = []
    for number, data in enumerate(images):
        files.append(client / f"image-{number}")
        files[-1].write_bytes(data)
    asked = {"files": [str(each) for each in files], "side": side, "version": version, "out": str(client / "pixels")}
    done = run_node(client, "write_pixels.mjs", json.dumps(asked))
    assert done.returncode == 0, done.stderr
    return np.fromfile(client / "pixels", dtype=np.uint8).reshape(len(images), side, side, 3)


def _frames() -> list[bytes]:
    """GENERATED frames of several sizes: decoded at 1/8, at 1/2, whole with a rest, and smaller than a model's input."""
    frames = make_frames(make_webcams(4, 5), 2, 5, frames_per_day=1)
    sizes = ((640, 480), (448, 448), (333, 251), (96, 72))
    return [to_jpeg(render(frame, *size)) for frame, size in zip(frames, sizes * 2, strict=True)]


def test_golden_vectors_are_met_to_a_thousandth_of_a_rating(client: Path, exported: Trained) -> None:
    done = run_node(client, "score.mjs", str(exported.directory), "--self-test")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stdout + done.stderr
    assert {each["file"] for each in found} == set(golden_images())
    assert max(each["difference"] for each in found) <= 1e-3


def test_the_self_test_notices_another_resize(client: Path, exported: Trained) -> None:
    source = (client / "preprocess.mjs").read_text()
    changed = source.replace("const support = Math.max(scale, 1);", "const support = 1;")  # no antialiasing
    assert changed != source
    (client / "preprocess.mjs").write_text(changed)
    done = run_node(client, "score.mjs", str(exported.directory), "--self-test")
    assert done.returncode == 1, done.stdout


@pytest.mark.parametrize(("side", "version"), [(32, 1), (224, 2)])
def test_pixels_of_png_are_the_same_bit_by_bit(client: Path, side: int, version: int) -> None:
    images = list(golden_images().values())
    wanted = np.stack([to_model_input(data, side, side, version) for data in images])
    assert np.array_equal(_pixels(client, images, side, version), wanted)


@pytest.mark.parametrize("version", [1, 2])
def test_pixels_of_jpeg_differ_by_what_decoders_differ(client: Path, version: int) -> None:
    images = _frames()
    wanted = np.stack([to_model_input(data, 32, 32, version) for data in images])
    apart = np.abs(_pixels(client, images, 32, version).astype(int) - wanted)
    assert apart.mean(axis=(1, 2, 3)).max() < (0.1 if version == 1 else 1.0)


def test_scores_of_jpeg_files_stay_within_the_stated_bound(client: Path, exported: Trained) -> None:
    files = []
    for number, data in enumerate(_frames()):
        files.append(client / f"{number}.jpg")
        files[-1].write_bytes(data)
    done = run_node(client, "score.mjs", str(exported.directory), *map(str, files))
    assert done.returncode == 0, done.stderr
    scored = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["file"] for each in scored] == [str(each) for each in files]
    wanted = Scorer.load(exported.directory).score_images([each.read_bytes() for each in files])
    for name, values in wanted.items():
        assert np.abs(np.array([each[name] for each in scored]) - values).max() <= JPEG_BOUND


def test_what_is_no_image_and_a_changed_graph_are_told(client: Path, exported: Trained, tmp_path: Path) -> None:
    (client / "no.jpg").write_bytes(b"no image")
    done = run_node(client, "score.mjs", str(exported.directory), "no.jpg")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("no.jpg: ")
    shutil.copytree(exported.directory, tmp_path / "changed")
    with (tmp_path / "changed" / "model.onnx").open("ab") as opened:
        opened.write(b"\0")
    done = run_node(client, "score.mjs", str(tmp_path / "changed"), "--self-test")
    assert done.returncode != 0
    assert "is not the graph that bundle.json names" in done.stderr
