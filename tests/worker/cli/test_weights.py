"""A file of weights is checked before a run is recorded, and named as its owner names it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from ml.training.recipe import RecipeError
from tests.worker.cli.conftest import Afterglow
from worker.cli.weights import OLD_TORCH_MAGIC, check_weights


def _safetensors(path: Path, num_bytes: int = 8) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * num_bytes)


def _torch_file(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")


@pytest.mark.parametrize("weights", ["none", "imagenet", "sha256:" + "0" * 64, None])
def test_what_is_no_file_is_left_to_the_training(weights: str | None) -> None:
    assert check_weights({"weights": weights}) is None


def test_files_as_torch_and_safetensors_write_them_are_taken(tmp_path: Path) -> None:
    _safetensors(tmp_path / "a.safetensors")
    _torch_file(tmp_path / "b.pth")
    (tmp_path / "c.pth").write_bytes(OLD_TORCH_MAGIC + b"more")
    found = [check_weights({"weights": str(tmp_path / name)}) for name in ("a.safetensors", "b.pth", "c.pth")]
    assert [each.suffix for each in found if each] == [".safetensors", ".pth", ".pth"]


def test_a_file_that_real_torch_wrote_is_taken(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "real.pth"
    torch.save({"a": torch.zeros(2)}, path)
    assert check_weights({"weights": str(path)}) is not None


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("w.onnx", b"x", "must end in .pth"),
        ("w.pth", b"", "empty"),
        ("w.pth", b"<html>not found</html>", "web page"),
        ("w.pth", b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        ("w.pth", b"PK\x03\x04 half a file", "cut off"),
        ("w.pth", b"just some words here", "begins neither"),
        ("w.safetensors", (1 << 40).to_bytes(8, "little") + b"{", "longer than the file"),
        ("w.safetensors", (4).to_bytes(8, "little") + b"{no}", "header is damaged"),
        ("w.safetensors", (2).to_bytes(8, "little") + b"{}", "no tensors"),
    ],
)
def test_a_file_that_cannot_be_weights_is_refused_by_its_own_name(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=says) as caught:
        check_weights({"weights": str(path)})
    assert str(path) in str(caught.value)


def test_a_cut_off_safetensors_file_is_refused(tmp_path: Path) -> None:
    _safetensors(tmp_path / "w.safetensors", num_bytes=5)
    with pytest.raises(RecipeError, match="cut off"):
        check_weights({"weights": str(tmp_path / "w.safetensors")})


def test_a_wrong_file_costs_no_version_name(database: str, afterglow: Afterglow, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(b"<html>")
    assert afterglow("train", "rating", "--set", f"weights={path}", "--no-wait").code == 2
    assert afterglow("runs", "--json").json == []


def test_a_reason_that_names_the_stored_copy_names_the_users_file_instead(tmp_path: Path) -> None:
    _torch_file(tmp_path / "mine.pth")
    weights = check_weights({"weights": str(tmp_path / "mine.pth")})
    assert weights is not None
    said = weights.with_own_name(f"the weights /var/work/{weights.sha256}.pth do not fit ({weights.sha256}.pth)")
    assert said == f"the weights {tmp_path}/mine.pth do not fit ({tmp_path}/mine.pth)"
    assert weights.with_own_name("weights.pth is damaged") == f"{tmp_path}/mine.pth is damaged"
