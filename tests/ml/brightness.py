"""A real bundle without training: the graph's raw score is an image's mean brightness, its rating five times that."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper
from PIL import Image

from ml.bundle import write_bundle
from ml.calibration import Calibration
from ml.judgements.base import Scale
from ml.judgements.rating import Rating

SIZE = 16


def image(brightness: float, seed: int = 0) -> bytes:
    """A PNG of this mean brightness, 0..1, give or take a little noise that `seed` chooses."""
    noise = np.random.default_rng(seed).integers(-3, 4, (SIZE, SIZE, 3))
    pixels = np.clip(round(brightness * 255) + noise, 0, 255).astype(np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def brightness_bundle(directory: Path, version: str, head: str = "regression", inverted: bool = False) -> Path:
    """Write the bundle; `inverted` makes one that calls dark images good."""
    other, factor = ("ai_rating", 5.0) if head == "regression" else ("p_good", 1.0)
    scale, offset = (-1.0 / 255, 1.0) if inverted else (1.0 / 255, 0.0)

    def constant(name: str, value: float) -> object:
        return helper.make_tensor(name, TensorProto.FLOAT, [], [value])

    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "scale"], ["scaled"]),
            helper.make_node("Add", ["scaled", "offset"], ["raw_score"]),
            helper.make_node("Mul", ["raw_score", "factor"], [other]),
        ],
        "brightness",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"]) for name in ("raw_score", other)],
        [
            helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3]),
            constant("scale", scale), constant("offset", offset), constant("factor", factor),
        ],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    entry = model.metadata_props.add()
    entry.key, entry.value = "model_version", json.dumps(version)
    white = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE), "white").save(white, "PNG")
    raw = 0.0 if inverted else 1.0
    facts = {
        "kind": "rating",
        "kind_version": 1,
        "head": head,
        "model_version": version,
        "scale": [0.0, 5.0],
        "input_size": [SIZE, SIZE],
        "preprocessing_version": 1,
        "outputs": ["raw_score", other],
        "calibration": Calibration("none").to_json(),
        "threshold_policy": Rating().threshold_policy(head, Scale(0.0, 5.0)),
        "dataset_sha256": "0" * 64,
        "weights_sha256": "0" * 64,
        "golden": [{"file": "golden/white.png", "expected": {"raw_score": raw, other: factor * raw}}],
    }
    write_bundle(directory, facts, model.SerializeToString(), {"golden/white.png": white.getvalue()})
    return directory
