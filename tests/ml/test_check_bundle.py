"""Models that were made elsewhere: each bad one is refused, in a process of its own, and nothing of it runs in ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
import hashlib

from onnx import AttributeProto, ModelProto, TensorProto, helper

from ml.check_bundle import BadModel, check_bundle
from tests.tiny_model import BRIGHT, DARK, YES


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return shutil.copytree(BRIGHT, tmp_path / "bundle")


def describe(directory: Path, **changes: Any) -> None:
    path = directory / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def put_model(directory: Path, data: bytes) -> None:
    """Another graph, and a description that agrees with it."""
    (directory / "model.onnx").write_bytes(data)
    describe(directory, model_sha256=hashlib.sha256(data).hexdigest())


def changed(directory: Path, change: Callable[[ModelProto], None]) -> None:
    proto = ModelProto.FromString((directory / "model.onnx").read_bytes())
    change(proto)
    put_model(directory, proto.SerializeToString())


def add_node(proto: ModelProto, *operators: str, domain: str = "", **attributes: Any) -> None:
    """Put an operator between what was `raw_score` and its users."""
    for node in proto.graph.node:
        node.output[:] = ["inner" if name == "raw_score" else name for name in node.output]
    for place, operator in enumerate(operators):
        source = "inner" if place == 0 else f"step{place}"
        target = "raw_score" if place == len(operators) - 1 else f"step{place + 1}"
        proto.graph.node.append(helper.make_node(operator, [source], [target], domain=domain, **attributes))
    nodes = sorted(proto.graph.node, key=lambda node: "raw_score" in node.input)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def external(location: str) -> Callable[[ModelProto], None]:
    def change(proto: ModelProto) -> None:
        tensor = next(each for each in proto.graph.initializer if each.name == "slope")
        tensor.ClearField("float_data")
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", "4")):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value

    return change


def external_in_a_constant(proto: ModelProto) -> None:
    tensor = TensorProto(name="hidden", data_type=TensorProto.FLOAT, dims=[1])
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../secret"
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["unused"], value=tensor))


def huge_initializer(proto: ModelProto) -> None:
    slope = next(each for each in proto.graph.initializer if each.name == "slope")
    slope.dims[:] = [2_500_000_000]


def negative_size(proto: ModelProto) -> None:
    next(each for each in proto.graph.initializer if each.name == "slope").dims[:] = [-1]


def huge_constant(proto: ModelProto) -> None:
    """A few bytes of file that ask for 3.2 GB of memory."""
    graph = proto.graph
    graph.initializer.append(helper.make_tensor("size", TensorProto.INT64, [1], [800_000_000]))
    graph.node.insert(0, helper.make_node("ConstantOfShape", ["size"], ["filled"]))
    graph.node.insert(1, helper.make_node("ReduceSum", ["filled"], ["total"], keepdims=0))
    for node in graph.node:
        if "offset" in node.input:
            node.input[:] = ["total" if name == "offset" else name for name in node.input]


def endless_loop(proto: ModelProto) -> None:
    """A loop of 2^62 rounds around the score."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Sin", ["value"], ["next"])],
        "body",
        [helper.make_tensor_value_info("round", TensorProto.INT64, []),
         helper.make_tensor_value_info("go", TensorProto.BOOL, []),
         helper.make_tensor_value_info("value", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
         helper.make_tensor_value_info("next", TensorProto.FLOAT, ["N"])],
    )  # fmt: skip
    add_node(proto, "Identity")
    proto.graph.initializer.append(helper.make_tensor("rounds", TensorProto.INT64, [], [2**62]))
    proto.graph.initializer.append(helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    node = next(each for each in proto.graph.node if "raw_score" in each.output)
    node.CopyFrom(helper.make_node("Loop", ["rounds", "yes", "inner"], ["raw_score"], body=body))


def foreign_operator_in_a_branch(proto: ModelProto) -> None:
    branch = helper.make_graph(
        [helper.make_node("Evil", [], ["out"], domain="org.evil")],
        "branch", [], [helper.make_tensor_value_info("out", TensorProto.FLOAT, [])],
    )  # fmt: skip
    proto.graph.initializer.append(helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    proto.graph.node.append(helper.make_node("If", ["yes"], ["unused"], then_branch=branch, else_branch=branch))


def foreign_operator_in_a_list_of_graphs(proto: ModelProto) -> None:
    graph = helper.make_graph([helper.make_node("Evil", [], ["out"], domain="org.evil")], "one", [], [])
    node = next(each for each in proto.graph.node if "raw_score" in each.output)
    node.attribute.append(helper.make_attribute("many", [graph]))


def many_nodes(proto: ModelProto) -> None:
    add_node(proto, *["Identity"] * 50_001)


def wrong_input(proto: ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 32


def float_input(proto: ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def second_input(proto: ModelProto) -> None:
    proto.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, ["N"]))


def missing_output(proto: ModelProto) -> None:
    del proto.graph.output[1]


def one_image_only(proto: ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


BAD_GRAPHS: list[tuple[Callable[[ModelProto], None], str]] = [
    (external("../../secret"), "refers to other files"),
    (external("/etc/passwd"), "refers to other files"),
    (external("link"), "refers to other files"),
    (external("sub/../../secret"), "refers to other files"),
    (external_in_a_constant, "refers to other files"),
    (lambda proto: add_node(proto, "Evil", domain="org.evil"), "'Evil' of 'org.evil', which is no operator of ONNX"),
    (foreign_operator_in_a_branch, "'Evil' of 'org.evil'"),
    (foreign_operator_in_a_list_of_graphs, "'Evil' of 'org.evil'"),
    (lambda proto: add_node(proto, "NoSuchOperator"), "breaks the ONNX standard"),
    (huge_initializer, "states 2500000000 numbers"),
    (negative_size, "negative size"),
    (many_nodes, "more than 50000 nodes"),
    (wrong_input, "which is not what bundle.json describes|self-test|cannot open"),
    (float_input, "which is not what bundle.json describes"),
    (second_input, "which is not what bundle.json describes"),
    (missing_output, "the graph gives"),
    (lambda proto: add_node(proto, "Neg", "Sqrt", "Log"), "not one finite number"),
    (lambda proto: add_node(proto, "Neg"), "self-test failed"),
    (one_image_only, "the graph failed on 3 images"),
    (lambda proto: proto.graph.node[0].input.append("cycle"), "breaks the ONNX standard"),
]


@pytest.mark.parametrize(("change", "words"), BAD_GRAPHS, ids=[words[:30] for _, words in BAD_GRAPHS])
def test_a_bad_graph_is_refused_in_words(bundle: Path, change: Callable[[ModelProto], None], words: str) -> None:
    (bundle.parent / "secret").write_bytes(np.float32(1 / 255).tobytes())
    (bundle / "link").symlink_to("../secret")
    changed(bundle, change)
    with pytest.raises(BadModel, match=words):
        check_bundle(bundle)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not ONNX"),
        (b"hello", "not ONNX"),
        ((BRIGHT / "model.onnx").read_bytes()[:-40], "not ONNX"),
        (b"\x80\x04cos\nsystem\n(S'touch canary'\ntR.", "not ONNX"),
    ],
    ids=["empty", "text", "cut", "pickle"],
)
def test_what_is_no_whole_onnx_is_refused(bundle: Path, data: bytes, words: str) -> None:
    put_model(bundle, data)
    with pytest.raises(BadModel, match=words):
        check_bundle(bundle)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "mood"}, "mood"),
        ({"kind_version": 99}, "version 99"),
        ({"model_version": "another"}, "the graph says"),
        ({"preprocessing_version": 99}, "99"),
        ({"threshold_policy": {}}, "threshold policy lacks"),
        ({"threshold_policy": {"kind": "fixed", "threshold": "x", "on": "raw_score", "scale": [0, 1]}}, "threshold_policy"),
        ({"threshold_policy": {"kind": "fixed", "threshold": 1, "on": "magic", "scale": [0, 1]}}, "no output of the graph"),
        ({"threshold_policy": {"kind": "fixed", "threshold": 4, "on": "raw_score", "scale": [0, 5]}}, "on the scale"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_facts_that_do_not_hold_are_refused(bundle: Path, changes: dict[str, Any], words: str) -> None:
    describe(bundle, **changes)
    with pytest.raises(BadModel, match=words):
        check_bundle(bundle)


def test_golden_images_that_are_all_alike_prove_nothing(bundle: Path) -> None:
    facts = json.loads((bundle / "bundle.json").read_text())
    describe(bundle, golden=[facts["golden"][0], facts["golden"][0]])
    with pytest.raises(BadModel, match="proves nothing"):
        check_bundle(bundle)


def test_a_golden_image_that_is_none_is_refused(bundle: Path) -> None:
    (bundle / "golden" / "gradient.png").write_bytes(b"GIF89a")
    with pytest.raises(BadModel, match=r"gradient\.png cannot be read"):
        check_bundle(bundle)


@pytest.mark.parametrize("directory", [BRIGHT, DARK, YES], ids=lambda path: path.name)
def test_a_good_bundle_is_taken(directory: Path) -> None:
    assert check_bundle(directory)["kind"] == "rating"


def in_a_process(directory: Path, *more: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "ml.check_bundle", "--bundle", str(directory), *more],
        capture_output=True, text=True, timeout=100, env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def test_a_graph_that_asks_for_more_memory_than_there_is_ends_its_own_process_only(bundle: Path) -> None:
    changed(bundle, huge_constant)
    status, event = in_a_process(bundle, "--memory-mib", "2048")
    assert (status, event["event"], event.get("code")) == (2, "error", "bad_model")
    status, event = in_a_process(BRIGHT, "--memory-mib", "2048")
    assert (status, event["event"]) == (0, "done")


def test_a_graph_that_never_ends_is_stopped(bundle: Path) -> None:
    changed(bundle, endless_loop)
    status, event = in_a_process(bundle, "--time", "3")
    assert (status, event["code"]) == (2, "bad_model")
    assert "took more than 3 s" in event["message"]


def test_graph_attribute_kinds_that_hold_tensors_are_all_looked_into() -> None:
    """A new kind of attribute in ONNX must not become a hiding place."""
    known = {"FLOAT", "INT", "STRING", "TENSOR", "GRAPH", "SPARSE_TENSOR", "TYPE_PROTO"}
    names = set(AttributeProto.AttributeType.keys()) - {"UNDEFINED"}
    assert {name if name in known else name.removesuffix("S") for name in names} == known
