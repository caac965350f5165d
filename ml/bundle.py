"""What a served model is: a directory with a graph, its facts and the images that it tests itself on. No torch here.

    model.onnx   uint8 (N, H, W, 3) sRGB in, named float32 (N,) outputs; the same facts as JSON in its metadata
    golden/      small images whose outputs are known
    bundle.json  the facts, written last

Law: fields of bundle.json are only ever added, with defaults, while `format` stays the same. A bundle may come from
anywhere, so every fact is checked before it is used: type, range, size.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ml.calibration import Calibration
from ml.images.store import directory_sha256
from ml.judgements.base import Scale
from ml.strict_json import read_object

FORMAT = 1
BUNDLE_FILE, MODEL_FILE, GOLDEN_DIR = "bundle.json", "model.onnx", "golden"
# A description with a recipe and a few hundred knots has some 30 kB; the largest graph we export has 45 MB.
MAX_DESCRIPTION_BYTES = 4 << 20
MAX_MODEL_BYTES = 1 << 30
MAX_GOLDEN_BYTES = 4 << 20
MAX_GOLDEN = 100
MAX_OUTPUTS = 32
MAX_INPUT_PX = 4096

GOLDEN_NAME = re.compile(r"golden/[A-Za-z0-9_-]{1,100}\.png")
_OUTPUT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
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
    sha256: str | None = None
    """Of the file; None in bundles that were written before it was recorded."""


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
        facts: every key of bundle.json but `format`, `model_sha256` and the golden images' sha256, which are set here.
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
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in golden_images.items()}
    content = {
        **facts,
        "golden": [{**each, "sha256": hashes[each["file"]]} for each in facts.get("golden", ())],
        "format": FORMAT,
        "model_sha256": hashlib.sha256(model).hexdigest(),
    }
    text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False)
    (directory / BUNDLE_FILE).write_text(text + "\n", encoding="utf-8")


def load_bundle(directory: Path) -> Bundle:
    """Read and check a bundle, without opening the graph.

    Raises:
        BundleError: A file is missing, its hash differs from the description's, or the description cannot be read.
    """
    directory = Path(directory)
    data = _read(directory / BUNDLE_FILE, MAX_DESCRIPTION_BYTES)
    try:
        bundle = replace(parse_facts(read_description(data)), directory=directory)
    except BundleError as error:
        raise BundleError(f"{directory}: {error}") from error
    read_model(bundle)
    for golden in bundle.golden:
        image = _read(directory / golden.file, MAX_GOLDEN_BYTES)
        if golden.sha256 is not None and hashlib.sha256(image).hexdigest() != golden.sha256:
            raise BundleError(f"{directory / golden.file} is not the image that bundle.json names: its sha256 differs")
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


def read_description(data: bytes) -> dict[str, Any]:
    """The JSON object of bundle.json, not yet judged.

    Raises:
        BundleError: It is no JSON object, or holds what a database has no word for: NaN, infinities, NUL.
    """
    try:
        return read_object(data)
    except ValueError as error:
        raise BundleError(f"{BUNDLE_FILE} {error}") from error


def parse_facts(content: Mapping[str, Any]) -> Bundle:
    """The facts of a description, each checked; its `directory` is not set.

    Raises:
        BundleError: A fact is missing, of the wrong type or out of its range.
    """
    if content.get("format") != FORMAT:
        raise BundleError(
            f"this is a bundle of format {_said(content.get('format'))}; this release reads format {FORMAT}"
        )
    known = {each.name for each in fields(Bundle)} - {"directory"}
    try:
        values = {**{key: value for key, value in content.items() if key in known}, "directory": "."}
        # Strict, and as JSON: there a list may be a tuple, but "1" is no number and true no integer.
        bundle = _adapter().validate_json(json.dumps(values), strict=True)
        Calibration.from_json(bundle.calibration)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{BUNDLE_FILE} lacks a fact or states it wrongly: {place}: {first['msg']}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{BUNDLE_FILE} lacks a fact or states it wrongly: calibration: {error!r}") from error
    _check_ranges(bundle)
    _check_golden(bundle)
    return bundle


@cache
def _adapter() -> TypeAdapter[Bundle]:
    return TypeAdapter(Bundle)


def _check_ranges(bundle: Bundle) -> None:
    check_version_name(bundle.model_version)
    low, high = bundle.scale
    wrong = [
        name
        for name, right in (
            ("scale", low < high and abs(low) <= 1e6 and abs(high) <= 1e6),
            ("input_size", all(1 <= side <= MAX_INPUT_PX for side in bundle.input_size)),
            ("outputs", 1 <= len(set(bundle.outputs)) == len(bundle.outputs) <= MAX_OUTPUTS
                        and all(_OUTPUT_NAME.fullmatch(each) for each in bundle.outputs)),
            ("model_sha256", _SHA256.fullmatch(bundle.model_sha256)),
            ("dataset_sha256", _SHA256.fullmatch(bundle.dataset_sha256)),
            ("weights_sha256", _SHA256.fullmatch(bundle.weights_sha256)),
            ("kind", len(bundle.kind) <= 100),
            ("head", 1 <= len(bundle.head) <= 100),
        )
        if not right
    ]  # fmt: skip
    if wrong:
        raise BundleError(
            f"{BUNDLE_FILE} states {wrong[0]} wrongly: {_said(getattr(bundle, wrong[0]))} is out of its range"
        )


def _check_golden(bundle: Bundle) -> None:
    if not 1 <= len(bundle.golden) <= MAX_GOLDEN:
        count = len(bundle.golden) or "no"
        raise BundleError(f"it names {count} golden images, but needs 1 to {MAX_GOLDEN} to test itself")
    for golden in bundle.golden:
        if not GOLDEN_NAME.fullmatch(golden.file):
            raise BundleError(f"it names a golden image outside of golden/: {_said(golden.file)}")
        if golden.sha256 is not None and not _SHA256.fullmatch(golden.sha256):
            raise BundleError(f"{golden.file} has a sha256 that is none: {_said(golden.sha256)}")
        if set(golden.expected) != set(bundle.outputs):
            raise BundleError(f"{golden.file} must state {', '.join(bundle.outputs)} and nothing else")


def _said(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:100] + "..."


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise BundleError(f"{path} is missing: this is not a complete bundle") from error
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > max_bytes:
        raise BundleError(f"{path} is larger than {max_bytes} bytes")
    return data
