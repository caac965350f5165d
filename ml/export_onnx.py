"""The verb `export_onnx`: a finished run in, a bundle out.

    python -m ml.export_onnx --run RUN_DIR --version V --store URL --manifest manifest_full.csv --out BUNDLE_DIR

The graph takes uint8 `(N, H, W, 3)` and holds everything behind the resize: normalisation, backbone, head,
calibration. The same run gives the same bytes. Legend: N images, H x W the recipe's input size in pixels.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn
from torch.fx.experimental.optimization import fuse

from ml.bundle import FORMAT, check_version_name, write_bundle
from ml.events import Progress, VerbError, run_verb
from ml.features.backbones import BatchNorm, Encoder
from ml.golden import golden_images
from ml.images.decode import Pixels, to_model_input
from ml.images.store import FileStore
from ml.inference import INPUT_NAME, Scorer, open_session, run_graph
from ml.manifest import manifest_sha256, read_manifest
from ml.training.dataset import ImageReader
from ml.training.heads import TrainedRun, read_run
from ml.training.loop import make_deterministic

OPSET = 18
PARITY_IMAGES = 32
# In the units of each output, so at most a thousandth of a rating: far below what people could see.
PARITY_TOLERANCE = 1e-3


class ParityError(VerbError):
    """onnxruntime and torch disagree about the exported model, so it must not be served."""

    code = "parity"


class GraphModel(nn.Module):
    """What is exported: pixels to named scores."""

    def __init__(self, run: TrainedRun) -> None:
        super().__init__()
        self.run_facts = run
        self.model = run.model

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Outputs in the order of `output_names`, each float32 (N,), of pixels uint8 `(N, H, W, 3)`."""
        return tuple(self.named(image).values())

    def named(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """The same, by name."""
        run = self.run_facts
        return run.judgement.graph_outputs(self.model(image), run.calibration, run.scale, run.recipe.head)


def export(run_dir: Path, version: str, store: str, manifest: Path, out: Path) -> dict[str, Any]:
    """Export a run, compare onnxruntime with torch, and write the bundle."""
    check_version_name(version)
    progress = Progress()
    run = read_run(run_dir)
    make_deterministic(int(run.facts["seed"]), int(run.facts["threads"]))
    rows = read_manifest(manifest)
    size = int(run.facts["input_size"][0])
    golden = golden_images()
    graph = GraphModel(run).eval()
    preprocessing = int(run.facts["preprocessing_version"])
    reader = ImageReader(FileStore(store), size, preprocessing)
    hashes = [str(row.image_sha256) for row in rows if row.split is not None][:PARITY_IMAGES]
    pixels = [to_model_input(data, size, size, preprocessing) for data in golden.values()]
    pixels += [reader.read(sha256) for sha256 in hashes]
    by_torch = _outputs_of_torch(graph, pixels)
    names = tuple(by_torch)
    facts = _facts(run, version, manifest_sha256(rows), names)
    progress.report(0.2, "writing the graph")
    _for_export(run.model.encoder)
    model = export_graph(graph, size, names, facts)
    progress.report(0.8, f"comparing onnxruntime with torch on {len(pixels)} images")
    by_onnx = _outputs_of_onnx(model, names, pixels)
    largest = max(float(np.abs(by_torch[name] - by_onnx[name]).max()) for name in names)
    if not largest <= PARITY_TOLERANCE:
        raise ParityError(
            f"onnxruntime and torch differ by {largest:.2g} on {len(pixels)} images, more than {PARITY_TOLERANCE}; "
            "the model was not exported"
        )
    facts["parity"] = {"n": len(pixels), "max_abs_difference": largest}
    facts["golden"] = [
        {"file": name, "expected": {output: float(by_onnx[output][place]) for output in names}}
        for place, name in enumerate(golden)
    ]
    write_bundle(out, facts, model, golden)
    progress.report(0.9, "self-test")
    bundle = Scorer.load(out).bundle
    return {
        "model_version": version,
        "model_sha256": bundle.model_sha256,
        "weights_sha256": bundle.weights_sha256,
        "parity": facts["parity"],
    }


def export_graph(graph: GraphModel, size: int, names: Sequence[str], facts: dict[str, Any]) -> bytes:
    """The graph's bytes, with `facts` as JSON in its metadata, and without traces of the machine that wrote it.

    Args:
        graph: in eval mode.
        size: side of the input in pixels.
        names: of the outputs.
        facts: key -> JSON value.
    """
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        # The exporter warns about its own internals.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=list(names),
            dynamic_shapes={"image": {0: torch.export.Dim("batch", min=1)}},
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    _strip(proto)
    for key in sorted(facts):
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, json.dumps(facts[key], sort_keys=True)
    onnx.checker.check_model(proto, full_check=True)
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def _strip(proto: onnx.ModelProto) -> None:
    """Remove stack traces, doc strings and versions of tools: paths of this machine, and bytes that vary with them."""
    proto.doc_string = ""
    proto.producer_name, proto.producer_version = "afterglow", ""
    del proto.metadata_props[:]
    graphs = [proto.graph, *proto.functions]
    for graph in graphs:
        graph.doc_string = ""
        del graph.metadata_props[:]
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
        for value in graph.value_info:
            value.doc_string = ""
            del value.metadata_props[:]
    # Intermediate shapes are inferred anew by every runtime, and quantisation tools stumble over recorded ones.
    del proto.graph.value_info[:]
    for item in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]


def _facts(run: TrainedRun, version: str, dataset_sha256: str, names: Sequence[str]) -> dict[str, Any]:
    """What bundle.json and the graph's metadata both say."""
    recipe = dict(run.facts["recipe"])
    source = run.facts["weights_source"]
    if source["kind"] == "file":
        recipe["weights"] = f"sha256:{source['sha256']}"  # a path of this machine means nothing elsewhere
    kept = (
        "code", "libraries", "machine", "weights_source", "counts", "groups", "method", "best_epoch", "val_metrics",
        "normalisation", "threads", "seed", "notes",
    )  # fmt: skip
    return {
        "format": FORMAT,
        "kind": run.facts["kind"],
        "kind_version": run.facts["kind_version"],
        "head": run.facts["head"],
        "model_version": version,
        "scale": run.facts["scale"],
        "input_size": run.facts["input_size"],
        "preprocessing_version": run.facts["preprocessing_version"],
        "outputs": list(names),
        "calibration": run.facts["calibration"],
        "threshold_policy": run.facts["threshold_policy"],
        "metrics": {},
        "dataset_sha256": dataset_sha256,
        "weights_sha256": run.facts["weights_sha256"],
        "feature_encoder": None,
        "training": {"recipe": recipe, **{key: run.facts[key] for key in kept}},
    }


def _outputs_of_torch(graph: GraphModel, pixels: Sequence[Pixels]) -> dict[str, np.ndarray]:
    with torch.inference_mode():
        outputs = graph.named(torch.from_numpy(np.stack(pixels)))
    return {name: values.numpy() for name, values in outputs.items()}


def _for_export(encoder: Encoder) -> None:
    """Fold batch norm into the convolutions and forbid in-place work: the same function, exported in a third of the time.

    The parity check compares with the model as it was before.
    """
    if any(isinstance(module, BatchNorm) for module in encoder.modules()):
        encoder.net = fuse(encoder.net)
    for module in encoder.modules():
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010 mypy takes attributes of a module for tensors


def _outputs_of_onnx(model: bytes, names: Sequence[str], pixels: Sequence[Pixels]) -> dict[str, np.ndarray]:
    session = open_session(model, threads=1)
    each = [run_graph(session, names, image[None]) for image in pixels]
    return {name: np.concatenate([outputs[name] for outputs in each]) for name in names}


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and export; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ml.export_onnx", description="Export a training run as a bundle.")
    parser.add_argument("--run", required=True, type=Path, help="directory of a finished training run")
    parser.add_argument("--version", required=True, help="model version, e.g. sunset_v2_2026_02_12")
    parser.add_argument("--store", required=True, help="address of the image store")
    parser.add_argument("--manifest", required=True, type=Path, help="manifest_full.csv of the run's dataset")
    parser.add_argument("--out", required=True, type=Path, help="directory of the bundle, empty or missing")
    given = parser.parse_args(arguments)
    return run_verb(lambda: export(given.run, given.version, given.store, given.manifest, given.out))


if __name__ == "__main__":
    sys.exit(main())
