"""Makes the tiny bundles beside this file: real bundles of a few kB, for tests of serving that must not need torch.

`tiny_bundle` scores the mean of all colour values (bright is good), `tiny_bundle_dark` the opposite, `tiny_bundle_yes`
is a yes/no model on the mean. Run it only to change them: `python -m tests.golden.make_tiny_bundle`.
"""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ml.bundle import write_bundle
from ml.calibration import Calibration
from ml.images.decode import PREPROCESSING_VERSION, to_model_input
from ml.inference import Scorer
from ml.thresholds import fixed_policy

HERE = Path(__file__).parent
SIDE = 16
"""Pixels of the square input: large enough for a resize to happen, small enough to be nothing."""
ZEROS = "0" * 64
"""In place of the sha256 of data and weights that these models never had."""


def golden_images() -> dict[str, np.ndarray]:
    """Name -> uint8 (H, W, 3): a gradient, a checkerboard and an odd size."""
    ramp = np.tile(np.linspace(0, 255, 64, dtype=np.uint8), (48, 1))
    board = (np.indices((40, 40)).sum(axis=0) // 5 % 2 * 255).astype(np.uint8)
    odd = np.zeros((37, 53, 3), dtype=np.uint8)
    odd[:, :, 0], odd[:18, :, 2] = 200, 90
    return {"gradient": np.dstack([ramp] * 3), "checkerboard": np.dstack([board] * 3), "odd_size": odd}


def make_graph(version: str, second_output: str, sign: float, offset: float, factor: float) -> bytes:
    """The graph: `raw_score = offset + sign * mean / 255` and `second_output = factor * raw_score`."""
    from onnx import TensorProto, checker, helper

    def constant(name: str, value: float) -> Any:
        return helper.make_tensor(name, TensorProto.FLOAT, [], [value])

    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "slope"], ["sloped"]),
        helper.make_node("Add", ["sloped", "offset"], ["raw_score"]),
        helper.make_node("Mul", ["raw_score", "factor"], [second_output]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in ("raw_score", second_output)],
        [
            helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3]),
            constant("slope", sign / 255.0),
            constant("offset", offset),
            constant("factor", factor),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {"model_version": json.dumps(version), "kind": json.dumps("rating")})
    checker.check_model(model)
    return bytes(model.SerializeToString())


def make_bundle(directory: Path, version: str, *, head: str, sign: float, offset: float) -> None:
    """Write one bundle and let it test itself."""
    second, factor = ("ai_rating", 5.0) if head == "regression" else ("p_good", 1.0)
    policy = fixed_policy(4.0, second, (0, 5)) if head == "regression" else fixed_policy(0.5, second, (0, 1))
    images, golden = {}, []
    for name, pixels in golden_images().items():
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        images[f"golden/{name}.png"] = buffer.getvalue()
        mean = float(to_model_input(buffer.getvalue(), SIDE, SIDE).astype(np.float64).mean()) / 255.0
        raw = offset + sign * mean
        golden.append({"file": f"golden/{name}.png", "expected": {"raw_score": raw, second: factor * raw}})
    facts = {
        "kind": "rating", "kind_version": 1, "head": head, "model_version": version, "scale": [0.0, 5.0],
        "input_size": [SIDE, SIDE], "preprocessing_version": PREPROCESSING_VERSION, "outputs": ["raw_score", second],
        "calibration": Calibration("none").to_json(), "threshold_policy": policy, "metrics": {},
        "dataset_sha256": ZEROS, "weights_sha256": ZEROS, "feature_encoder": None, "golden": golden,
        "parity": {"n": len(golden), "max_abs_difference": 0.0}, "training": {},
    }  # fmt: skip
    shutil.rmtree(directory, ignore_errors=True)
    write_bundle(directory, facts, make_graph(version, second, sign, offset, factor), images)
    Scorer.load(directory)


def main() -> None:
    """Make all three."""
    make_bundle(HERE / "tiny_bundle", "tiny_bright", head="regression", sign=1.0, offset=0.0)
    make_bundle(HERE / "tiny_bundle_dark", "tiny_dark", head="regression", sign=-1.0, offset=1.0)
    make_bundle(HERE / "tiny_bundle_yes", "tiny_yes", head="binary", sign=1.0, offset=0.0)


if __name__ == "__main__":
    main()
