"""What a served model is: a directory with a graph, its facts and the images that it tests itself on. No torch here.

    model.onnx   uint8 (N, H, W, 3) sRGB in, named float32 (N,) outputs; the same facts as JSON in its metadata
    golden/      small images whose outputs are known
    bundle.json  the facts, written last

Law: fields of bundle.json are only ever added, with defaults, while `format` stays the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ml.calibration import Calibration
from ml.images.store import directory_sha256
from ml.judgements.base import Scale

FORMAT = 1
BUNDLE_FILE, MODEL_FILE, GOLDEN_DIR = "bundle.json", "model.onnx", "golden"
# A description with a recipe and a few hundred knots has some 30 kB; the largest graph we export has 45 MB.
MAX_DESCRIPTION_BYTES = 4 << 20
MAX_MODEL_BYTES = 1 << 30

_GOLDEN_NAME = re.compile(r"golden/[A-Za-z0-9_-]+\.png")
_VERSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class BundleError(ValueError):
    """A bundle is incomplete, damaged or of another format; the message says what was found."""


@dataclass(frozen=True)
class Golden:
    """One image whose outputs are known."""

    file: str
    """Path inside the bundle."""
    expected: dict[str, float]
    """Output name -> value."""


@dataclass(frozen=True)
class Bundle:
    """The facts of one model version, as they stand in bundle.json."""

    directory: Path
    format: int
    kind: str
    """Name of the judgement."""
    kind_version: int
    head: str
    model_version: str
    scale: tuple[float, float]
    """Values of the app's scale at raw scores 0 and 1."""
    input_size: tuple[int, int]
    """Height and width of the graph's input in pixels."""
    preprocessing_version: int
    """Which decode and resize made the pixels that it was trained on."""
    outputs: tuple[str, ...]
    """Names of the graph's outputs, in order."""
    calibration: dict[str, Any]
    """Already inside the graph; kept here to be read."""
    threshold_policy: dict[str, Any]
    dataset_sha256: str
    weights_sha256: str
    model_sha256: str
    """Of the file model.onnx."""
    golden: tuple[Golden, ...]
    metrics: dict[str, Any] = field(default_factory=dict)
    feature_encoder: dict[str, Any] | None = None
    """The encoder bundle that a head on embeddings needs; None where the graph reads pixels."""
    parity: dict[str, Any] = field(default_factory=dict)
    """How far onnxruntime was from torch at export: `n` images, `max_abs_difference`."""
    training: dict[str, Any] = field(default_factory=dict)
    """Recipe, libraries and origin of the weights."""

    @property
    def score_scale(self) -> Scale:
        """The scale as the judgement's methods take it."""
        return Scale(*self.scale)

    @property
    def fitted_calibration(self) -> Calibration:
        """The calibration as an object."""
        return Calibration.from_json(self.calibration)

    @property
    def model_path(self) -> Path:
        """Where the graph lies."""
        return self.directory / MODEL_FILE


def bundle_sha256(directory: Path) -> str:
    """Name a bundle by its content: sha256 over the names and contents of all its files."""
    return directory_sha256(directory)


def check_version_name(version: str) -> None:
    """Refuse a model version that could not be a file's name.

    Raises:
        BundleError: The name has other characters than letters, digits, `_`, `.` and `-`.
    """
    if not _VERSION_NAME.fullmatch(version):
        raise BundleError(f"model version {version!r} may hold letters, digits, '_', '.' and '-' only")


def write_bundle(directory: Path, facts: Mapping[str, Any], model: bytes, golden_images: Mapping[str, bytes]) -> None:
    """Write a bundle into an empty or missing directory, `bundle.json` last.

    Args:
        directory: where to.
        facts: every key of bundle.json but `format` and `model_sha256`, which are set here.
        model: the bytes of model.onnx.
        golden_images: file inside the bundle (`golden/NAME.png`) -> PNG bytes.

    Raises:
        BundleError: The directory already holds a bundle, which never changes.
    """
    if (directory / BUNDLE_FILE).exists():
        raise BundleError(f"{directory} already holds a bundle, and a bundle never changes; choose another directory")
    (directory / GOLDEN_DIR).mkdir(parents=True, exist_ok=True)
    for name, data in golden_images.items():
        (directory / name).write_bytes(data)
    (directory / MODEL_FILE).write_bytes(model)
    content = {**facts, "format": FORMAT, "model_sha256": hashlib.sha256(model).hexdigest()}
    text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False)
    (directory / BUNDLE_FILE).write_text(text + "\n", encoding="utf-8")


def load_bundle(directory: Path) -> Bundle:
    """Read and check a bundle, without opening the graph.

    Raises:
        BundleError: A file is missing, its hash differs from the description's, or the description cannot be read.
    """
    directory = Path(directory)
    bundle = _parse(directory, _read(directory / BUNDLE_FILE, MAX_DESCRIPTION_BYTES))
    read_model(bundle)
    if not bundle.golden:
        raise BundleError(f"{directory} names no golden images, so it cannot test itself")
    for golden in bundle.golden:
        if not _GOLDEN_NAME.fullmatch(golden.file):
            raise BundleError(f"{directory} names a golden image outside of golden/: {golden.file!r}")
        if not (directory / golden.file).is_file():
            raise BundleError(f"{directory} lacks {golden.file}")
        if set(golden.expected) != set(bundle.outputs):
            raise BundleError(f"{directory}: {golden.file} must state {', '.join(bundle.outputs)} and nothing else")
    return bundle


def read_model(bundle: Bundle) -> bytes:
    """The graph's bytes.

    Raises:
        BundleError: The file is missing or is not the one that the description names.
    """
    data = _read(bundle.model_path, MAX_MODEL_BYTES)
    actual = hashlib.sha256(data).hexdigest()
    if actual != bundle.model_sha256:
        raise BundleError(
            f"{bundle.model_path} has changed since its export: its sha256 is {actual[:12]}..., "
            f"bundle.json names {bundle.model_sha256[:12]}..."
        )
    return data


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        if path.stat().st_size > max_bytes:
            raise BundleError(f"{path} is larger than {max_bytes} bytes")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise BundleError(f"{path.parent} is not a complete bundle: {path.name} is missing") from error
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}") from error


def _parse(directory: Path, data: bytes) -> Bundle:
    try:
        content = json.loads(data)
    except ValueError as error:
        raise BundleError(f"{directory / BUNDLE_FILE} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise BundleError(f"{directory / BUNDLE_FILE} must hold one JSON object")
    if content.get("format") != FORMAT:
        raise BundleError(
            f"{directory} is a bundle of format {content.get('format')!r}; this release reads format {FORMAT}"
        )
    known = {each.name for each in fields(Bundle)} - {"directory"}
    try:
        values = {key: value for key, value in content.items() if key in known}
        low, high = (float(value) for value in content["scale"])
        height, width = (int(value) for value in content["input_size"])
        values["scale"], values["input_size"] = (low, high), (height, width)
        values["outputs"] = tuple(str(name) for name in content["outputs"])
        values["golden"] = tuple(
            Golden(str(each["file"]), {str(name): float(value) for name, value in each["expected"].items()})
            for each in content["golden"]
        )
        Calibration.from_json(content["calibration"])
        return Bundle(directory=directory, **values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"{directory / BUNDLE_FILE} lacks a fact or states it wrongly: {error!r}") from error
