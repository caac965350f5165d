"""Weights files that are something else: refused in words, and nothing of them is ever run."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from ml.features.backbones import WeightsError, build_encoder, load_backbone

NAME = "mobilenet_v3_small"


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.canary}",)


def _safetensors(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def _described(**tensors: Any) -> bytes:
    return json.dumps(tensors).encode()


def _refuse(path: Path, words: str = "") -> None:
    with pytest.raises(WeightsError, match=words or path.name):
        load_backbone(NAME, str(path), seed=0)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol", "ignore:.*looks like a TorchScript archive")
@pytest.mark.parametrize("how", ["zip", "legacy", "raw", "protocol 0", "inside a state_dict", "torchscript"])
def test_a_pickle_that_would_run_a_command_is_refused_and_runs_nothing(tmp_path: Path, how: str) -> None:
    canary, path = tmp_path / "canary", tmp_path / "weights.pt"
    evil = Evil(canary)
    if how == "raw":
        path.write_bytes(pickle.dumps(evil))
    elif how == "protocol 0":
        path.write_bytes(pickle.dumps(evil, protocol=0))
    elif how == "inside a state_dict":
        torch.save({"conv1.weight": torch.zeros(2), "more": evil}, path)
    elif how == "torchscript":
        torch.save(evil, path)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("weights/constants.pkl", pickle.dumps(evil))
    else:
        torch.save(evil, path, _use_new_zipfile_serialization=how == "zip")
    assert not canary.exists()
    _refuse(path)
    assert not canary.exists()
    # The file is a weapon: read without the safety net it goes off.
    if how in ("zip", "legacy"):
        torch.load(path, weights_only=False)
        assert canary.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"hello",
        b"\x89PNG\r\n\x1a\n",
        _safetensors(b"{}", length=2**63),
        _safetensors(b"{}", length=200 << 20),
        _safetensors(b"{}", length=1),
        _safetensors(b"{" * 100_000),
        _safetensors(b'{"a": NaN}'),
        _safetensors(_described(a={"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4 * 10**9]}), b"\0" * 8),
        _safetensors(_described(a={"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}), b"\0" * 4),
        _safetensors(_described(a={"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}), b"\0" * 8),
        _safetensors(_described(a={"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}), b"\0" * 4),
        _safetensors(_described(a={"dtype": "OBJECT", "shape": [1], "data_offsets": [0, 4]}), b"\0" * 4),
        _safetensors(_described(a={"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}), b"\0" * 4),
        _safetensors(_described(a=[1, 2])),
        _safetensors(_described(a={"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}), b"\0" * 900),
    ],
    ids=["empty", "one byte", "text", "png", "header 2^63", "header 200 MiB", "header short", "header deep",
         "header nan", "data short", "shape lies", "offsets turned", "negative", "dtype", "overflow", "list", "tail"],
)  # fmt: skip
def test_a_file_that_is_no_whole_set_of_tensors_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "weights").write_bytes(data)
    _refuse(tmp_path / "weights")


@pytest.mark.parametrize("cut", [1, 100, 5_000, 2_000_000])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    buffer = io.BytesIO()
    torch.save(build_encoder(NAME, 0).net.state_dict(), buffer)
    (tmp_path / "cut.pth").write_bytes(buffer.getvalue()[:-cut])
    _refuse(tmp_path / "cut.pth")


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
@pytest.mark.parametrize(
    "content",
    [
        [],
        torch.zeros(3),
        {},
        {"state_dict": {}},
        {"conv1.weight": 1},
        {"conv1.weight": [torch.zeros(1)]},
        {1: torch.zeros(1)},
        {"conv1.weight": torch.zeros(1)},
        {"conv1.weight": torch.zeros(64, 3, 7, 7, dtype=torch.complex64)},
        {"conv1.weight": torch.zeros(64, 3, 7, 7).to_sparse()},
        {"conv1.weight": torch.zeros(64, 3, 7, 7, device="meta")},
        {"\0" * 9000: torch.zeros(1)},
    ],
    ids=["list", "tensor", "empty", "nested empty", "number", "list inside", "number as name", "shape", "complex",
         "sparse", "meta", "odd name"],
)  # fmt: skip
def test_tensors_that_are_not_this_network_are_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "other.pth")
    _refuse(tmp_path / "other.pth")


def test_a_directory_a_pipe_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    for path in (tmp_path, tmp_path / "pipe.pth", tmp_path / "none.pth", Path("/dev/zero")):
        _refuse(path, "there is no weights file")
