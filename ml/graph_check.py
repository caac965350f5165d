"""Judging an ONNX graph that somebody else made, before any runtime opens it. No torch here.

Where the library `onnx` is installed (with the extra `train`) the graph is read and judged node by node; elsewhere only
what its bytes tell. onnxruntime judges it in any case, when it is opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from ml.bundle import BundleError

MAX_NODES = 50_000
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
"""Of ONNX itself: a bundle is served by any runtime, so it may not need one with operators of its own."""
_SHOWN = 200


def check_graph(model: bytes) -> None:
    """Check a graph without opening it.

    Raises:
        BundleError: It is no ONNX, refers to other files, uses operators outside of ONNX, has more than 50,000 nodes,
            states tensors larger than its file can hold, or breaks the standard otherwise.
    """
    if find_spec("onnx") is None:
        return
    import onnx

    try:
        proto = onnx.load_model_from_string(model)
    except Exception as error:  # protobuf's own type, which only its C part defines
        raise BundleError(f"model.onnx is not ONNX, or is cut off: {str(error)[:_SHOWN]}") from error
    if not proto.graph.node:
        raise BundleError("model.onnx is not ONNX, or holds no graph")
    own = {(each.domain, each.name) for each in proto.functions}
    num_nodes = 0
    for nodes, tensors in _parts(proto):
        num_nodes += len(nodes)
        if num_nodes > MAX_NODES:
            raise BundleError(f"the graph has more than {MAX_NODES} nodes")
        for node in nodes:
            if node.domain not in DOMAINS and (node.domain, node.op_type) not in own:
                raise BundleError(
                    f"the graph uses {ascii(node.op_type)[:60]} of {ascii(node.domain)[:60]}, which is no operator of "
                    "ONNX; export it with standard operators only"
                )
        for tensor in tensors:
            _check_tensor(tensor, len(model))
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # the checker raises its own type, and those of the C++ below it
        raise BundleError(f"the graph breaks the ONNX standard: {str(error)[:_SHOWN]}") from error


def _check_tensor(tensor: Any, file_bytes: int) -> None:
    if tensor.external_data or tensor.data_location:
        raise BundleError("the graph refers to other files, which is not allowed; save its weights inside model.onnx")
    elements = 1
    for size in tensor.dims:
        if size < 0:
            raise BundleError(f"the tensor {ascii(tensor.name)[:60]} has a negative size")
        elements *= size
    # The smallest elements have four bits.
    if elements > 2 * file_bytes:
        raise BundleError(
            f"the tensor {ascii(tensor.name)[:60]} states {elements} numbers, which a file of {file_bytes} bytes "
            "cannot hold"
        )


def _parts(proto: Any) -> Iterator[tuple[Any, list[Any]]]:
    """The nodes and the constant tensors of the graph, of its functions, and of every graph inside a node."""
    waiting: list[Any] = [proto.graph, *proto.functions]
    while waiting:
        part = waiting.pop()
        tensors = list(getattr(part, "initializer", ()))
        for sparse in getattr(part, "sparse_initializer", ()):
            tensors += [sparse.values, sparse.indices]
        for node in part.node:
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs
                tensors += [attribute.t] if attribute.HasField("t") else []
                tensors += attribute.tensors
                for sparse in [attribute.sparse_tensor, *attribute.sparse_tensors]:
                    tensors += [sparse.values, sparse.indices]
        yield part.node, tensors
