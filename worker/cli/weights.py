"""A file of pretrained weights on the command line: checked before a run is recorded, kept in the store under its hash.

Whether its tensors fit the backbone is known only to torch, in the job. What can be known from the file's first bytes
is told here, before a version name is spent.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml.training.recipe import RecipeError

SUFFIXES = (".pth", ".pt", ".safetensors")
MAX_BYTES = 2 << 30
OLD_TORCH_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")
"""How a file of torch before 1.6 begins (torchvision still serves such ones)."""
MAX_HEADER_BYTES = 100 << 20
"""What the format allows for the header of a safetensors file."""


@dataclass(frozen=True)
class WeightsFile:
    """A file that was checked."""

    path: Path
    sha256: str

    @property
    def suffix(self) -> str:
        """The suffix in the store."""
        return ".safetensors" if self.path.suffix.lower() == ".safetensors" else ".pth"

    def with_own_name(self, message: str) -> str:
        """A message with the user's file in the place of the copies' names: by hash in the store, `weights` in a job."""
        copies = rf"[^\s'\"()]*{self.sha256}(\.\w+)?|(?<![\w.-])([^\s'\"()]*/)?weights\{self.suffix}\b"
        return re.sub(copies, lambda _: str(self.path), message)


def check_weights(chosen: dict[str, Any]) -> WeightsFile | None:
    """The file that a recipe's `weights` name, checked; None when they name none.

    Raises:
        RecipeError: It is not there, or cannot be a file of weights; the message names the file as it was given.
    """
    weights = chosen.get("weights")
    if not isinstance(weights, str) or weights in ("none", "imagenet") or weights.startswith("sha256:"):
        return None
    path = Path(weights).expanduser()
    if not path.is_file():
        raise RecipeError(
            f"weights: there is no file {weights}; give a .pth or .safetensors file of a torchvision state_dict, "
            f"`imagenet` to download, or `none` for random weights"
        )
    try:
        problem = _problem(path)
        if problem is None:
            with path.open("rb") as stream:
                return WeightsFile(path, hashlib.file_digest(stream, "sha256").hexdigest())
    except OSError as error:
        problem = f"it cannot be read ({error.strerror})"
    raise RecipeError(
        f"weights: {weights} cannot be used: {problem}. Save a plain state_dict with torch.save(net.state_dict(), "
        "...) or as safetensors"
    )


def _problem(path: Path) -> str | None:
    if path.suffix.lower() not in SUFFIXES:
        return f"its name must end in {', '.join(SUFFIXES)}"
    size = path.stat().st_size
    if size == 0:
        return "it is empty"
    if size > MAX_BYTES:
        return f"it has {size / 2**30:.1f} GiB, and no network here has more than {MAX_BYTES >> 30}"
    with path.open("rb") as stream:
        start = stream.read(16)
    if start.lstrip()[:1] == b"<":
        return "it is a web page, not weights (a download that went wrong?)"
    if start.startswith(b"version https"):
        return "it is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`"
    if start[8:9] == b"{":
        return _safetensors_problem(path, size)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/data.pkl") for name in archive.namelist()):
                return None
        return "it is a zip archive, but not one that torch.save made"
    if start.startswith(OLD_TORCH_MAGIC):
        return None
    if start.startswith(b"PK"):
        return "it is cut off: its end is missing"
    return "it begins neither like a file of torch.save nor like safetensors"


def _safetensors_problem(path: Path, size: int) -> str | None:
    """The header is a little-endian length of 8 bytes and that many bytes of JSON: name -> dtype, shape, offsets."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(size - 8, MAX_HEADER_BYTES):
            return "it is cut off, or damaged: its header is longer than the file"
        try:
            header = json.loads(stream.read(length))
            ends = [each["data_offsets"][1] for name, each in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return "its safetensors header is damaged"
    if not ends:
        return "it holds no tensors"
    if 8 + length + max(ends) != size:
        return f"it is cut off: {size} bytes of {8 + length + max(ends)}"
    return None


def store_weights(weights: WeightsFile) -> str:
    """Put the file into the store, so that every worker, and a later one, finds it; returns `sha256:<hex>`."""
    from worker.cli.progress import working
    from worker.places import file_store, weights_key

    with working(f"storing {weights.path.name}"):
        file_store().put_file(weights.path, weights_key(weights.sha256, weights.suffix))
    return f"sha256:{weights.sha256}"
