"""Run a bundle: pixels to scores with onnxruntime. No torch here, and none may come.

Legend: N images, H x W the bundle's input size in pixels.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from pydantic import BaseModel

from ml.bundle import Bundle, BundleError, load_bundle, read_model
from ml.images.decode import ImageError, ImageInfo, Pixels, read_model_input, to_model_input
from ml.judgements import UnknownKind, judgement

INPUT_NAME = "image"
# Other CPUs round differently: some 1e-6 of a rating. A wrong decoder, resize or weight shows in the second decimal.
SELF_TEST_TOLERANCE = 1e-4
# In a graph, weights in another file are named by an entry with the key `location`. Whatever the wire format's
# encoding of its length, the byte before the key is its last: 8, or 0 where it is padded.
_EXTERNAL_DATA = re.compile(rb"[\x08\x00]location")

Outputs = dict[str, npt.NDArray[np.float32]]


class Scorer:
    """One bundle, ready to score. May be used from several threads at once."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        """Open the graph.

        Args:
            bundle: as `load_bundle` returned it.
            threads: CPU threads of one call.

        Raises:
            BundleError: The graph cannot be opened, is not the one described, or refers to other files.
        """
        self.bundle = bundle
        try:
            self.judgement = judgement(bundle.kind)
        except UnknownKind as error:
            raise BundleError(f"{bundle.model_version} cannot be served: {error}") from error
        if self.judgement.version != bundle.kind_version:
            raise BundleError(
                f"{bundle.model_version} was trained on version {bundle.kind_version} of the kind {bundle.kind!r}; "
                f"this release knows version {self.judgement.version}"
            )
        self._session = open_session(read_model(bundle), threads)
        self._check_graph()

    @classmethod
    def load(cls, directory: Path, threads: int = 1) -> Scorer:
        """Read, check, open and self-test the bundle in a directory.

        Raises:
            BundleError: Any of these failed; such a bundle must not be served.
        """
        scorer = cls(load_bundle(directory), threads)
        scorer.self_test()
        return scorer

    def run(self, pixels: Pixels) -> Outputs:
        """Score pixels.

        Args:
            pixels: uint8 `(N, H, W, 3)`, RGB in sRGB, resized by `to_model_input`.

        Returns:
            Output name -> float32 `(N,)`; empty arrays where N is 0.

        Raises:
            ValueError: Another shape or dtype.
            BundleError: The graph failed or returned a number that is not finite.
        """
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (*self.bundle.input_size, 3):
            height, width = self.bundle.input_size
            raise ValueError(f"pixels must be uint8 (N, {height}, {width}, 3), not {pixels.dtype} {pixels.shape}")
        names = list(self.bundle.outputs)
        if len(pixels) == 0:
            return {name: np.zeros(0, dtype=np.float32) for name in names}
        return run_graph(self._session, names, pixels)

    def read(self, data: bytes) -> tuple[ImageInfo, Pixels]:
        """Decode an image once: what it is, and the model's input, uint8 `(H, W, 3)`.

        Raises:
            ImageError: The bytes are not an image that we take.
        """
        return read_model_input(data, *self.bundle.input_size, version=self.bundle.preprocessing_version)

    def score_input(self, pixels: Pixels) -> tuple[dict[str, float], BaseModel]:
        """Score one image as `read` gave it: the outputs by name, and the kind's prediction.

        Raises:
            BundleError: The graph failed or returned a number that is not finite.
        """
        outputs = self.run(pixels[None])
        prediction = self.judgement.decode(dict(outputs), self.bundle.score_scale, self.bundle.head)[0]
        return {name: float(values[0]) for name, values in outputs.items()}, prediction

    def score_image(self, data: bytes | Pixels) -> tuple[dict[str, float], BaseModel]:
        """Score one image, encoded or decoded by `ml.images.decode`: the outputs by name, and the kind's prediction.

        Raises:
            ImageError: The bytes are not an image that we take.
        """
        return self.score_input(self._pixels(data))

    def score_images(self, images: Iterable[bytes], batch_size: int = 8) -> Outputs:
        """Score encoded images, `batch_size` at a time, in order; output name -> float32 `(N,)`.

        Raises:
            ImageError: One of them is not an image that we take.
        """
        parts = [self.run(np.zeros((0, *self.bundle.input_size, 3), dtype=np.uint8))]
        for batch in _batched(images, batch_size):
            parts.append(self.run(np.stack([self._pixels(data) for data in batch])))
        return {name: np.concatenate([part[name] for part in parts]) for name in self.bundle.outputs}

    def self_test(self) -> None:
        """Score the golden images as a request would be, and compare with what the bundle says.

        Raises:
            BundleError: An output differs by more than 1e-4.
        """
        for golden in self.bundle.golden:
            try:
                outputs = self.run(self.read((self.bundle.directory / golden.file).read_bytes())[1][None])
            except (ImageError, OSError) as error:
                raise BundleError(
                    f"{self.bundle.model_version}: self-test failed: {golden.file} cannot be read: {error}"
                ) from error
            for name, expected in golden.expected.items():
                actual = float(outputs[name][0])
                if not abs(actual - expected) <= SELF_TEST_TOLERANCE:
                    raise BundleError(
                        f"{self.bundle.model_version}: self-test failed: {golden.file} gives {name} {actual:.6f}, "
                        f"its export gave {expected:.6f}; the graph, the image or the decoder is not the one exported"
                    )

    def _pixels(self, data: bytes | Pixels) -> Pixels:
        return to_model_input(data, *self.bundle.input_size, version=self.bundle.preprocessing_version)

    def _check_graph(self) -> None:
        """Compare the graph with its description: name, input and outputs."""
        version = self.bundle.model_version
        written = self._session.get_modelmeta().custom_metadata_map.get("model_version")
        if written != json.dumps(version):
            raise BundleError(f"bundle.json says model version {version!r}, the graph says {written or 'nothing'}")
        inputs = [(each.name, each.type, each.shape[1:]) for each in self._session.get_inputs()]
        if inputs != [(INPUT_NAME, "tensor(uint8)", [*self.bundle.input_size, 3])]:
            raise BundleError(f"{version}: the graph takes {inputs}, which is not what bundle.json describes")
        outputs = tuple(each.name for each in self._session.get_outputs())
        if outputs != self.bundle.outputs:
            raise BundleError(f"{version}: the graph gives {outputs}, bundle.json names {self.bundle.outputs}")


def _batched(images: Iterable[bytes], size: int) -> Iterable[list[bytes]]:
    iterator = iter(images)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def open_session(model: bytes, threads: int) -> ort.InferenceSession:
    """Open a graph on the CPU, from its bytes.

    Raises:
        BundleError: It refers to other files, or onnxruntime cannot open it.
    """
    if _EXTERNAL_DATA.search(model):
        raise BundleError("the graph refers to other files, which is not allowed")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    # Spinning threads take the core from whoever decodes the next image.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen types of its own, without a common base
        raise BundleError(f"onnxruntime cannot open the graph: {error}") from error


def run_graph(session: ort.InferenceSession, names: Sequence[str], pixels: Pixels) -> Outputs:
    """Run a graph on pixels, uint8 `(N, H, W, 3)`; output name -> float32 `(N,)`.

    Raises:
        BundleError: The graph failed, or returned a number that is not finite: a score is never made up.
    """
    try:
        values = session.run(list(names), {INPUT_NAME: pixels})
    except Exception as error:  # onnxruntime raises a dozen types of its own, without a common base
        raise BundleError(f"the graph failed on {len(pixels)} images: {error}") from error
    outputs: Outputs = {}
    for name, value in zip(names, values, strict=True):
        array = np.asarray(value, dtype=np.float32)
        if array.shape != (len(pixels),) or not np.isfinite(array).all():
            raise BundleError(f"the graph returned a {name} that is not one finite number per image")
        outputs[name] = array
    return outputs
