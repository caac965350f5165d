"""Photos on a disk: what is a photo, what is not and why, and that nothing is followed or waited for."""

from __future__ import annotations

import io
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from ml.images.hashing import phash
from ml.images.photo_files import UnreadablePhoto, file_mark, read_photo, walk
from tests.tiny_model import picture


def test_every_directory_comes_once_in_order_of_paths_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b/z.png", "a/y.png", "a/c/x.png", ".git/w.png", "v.png", ".hidden.png", "a/y.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    found = [(os.path.relpath(folder.path, tmp_path), folder.files.of) for folder in walk(tmp_path)]
    assert found == [
        (".", {"v.png": ()}), ("a", {"y.png": ("y.txt",)}), ("a/c", {"x.png": ()}), ("b", {"z.png": ()}),
    ]  # fmt: skip


def test_links_pipes_and_names_that_are_no_text_are_told_and_not_followed(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    root.mkdir()
    (outside / "a.png").write_bytes(picture(1))
    (root / "link.png").symlink_to(outside / "a.png")
    (root / "linked").symlink_to(outside)
    (root / "round").symlink_to(root)
    os.mkfifo(root / "pipe.png")
    (Path(os.fsdecode(bytes(root) + b"/\xff.png"))).write_bytes(picture(1))
    (folder,) = walk(root)
    assert folder.files.of == {}
    assert {Path(path).name: reason.partition(":")[0] for path, reason in folder.odd.items()} == {
        "link.png": "is a link", "linked": "is a link", "round": "is a link", "pipe.png": "is no plain file",
        "\ufffd.png": "its name is not UTF-8",
    }  # fmt: skip


def test_a_photo_is_read_with_what_its_name_says(tmp_path: Path) -> None:
    path = tmp_path / "20250727_224840_stage1.5_face_swapped.png"
    path.write_bytes(data := picture(5))
    found = read_photo(str(path))
    assert (found.stage, found.taken_at) == (1.5, datetime(2025, 7, 27, 22, 48, 40, tzinfo=UTC))
    assert (found.info.orientation, found.phash) == (1, phash(data))
    assert file_mark(str(path)) == (found.info.byte_size, found.modified_ns)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_the_orientation_is_kept_and_the_size_is_upright(tmp_path: Path, orientation: int) -> None:
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.new("RGB", (30, 20)).save(out, "JPEG", exif=exif)
    (tmp_path / "a.jpg").write_bytes(out.getvalue())
    info = read_photo(str(tmp_path / "a.jpg")).info
    assert (info.orientation, info.width, info.height) == (orientation, *((20, 30) if orientation == 6 else (30, 20)))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"text", "not an image"), (picture(3)[:-30], "cut off"), (b"II*\0" + b"\0" * 40, "TIFF")],
)
def test_what_is_no_photo_says_why(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UnreadablePhoto, match=reason):
        read_photo(str(tmp_path / "a.png"))


def test_a_file_that_is_gone_or_became_a_pipe_or_a_link_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UnreadablePhoto, match="No such file"):
        read_photo(str(tmp_path / "a.png"))
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UnreadablePhoto, match="no plain file"):
        read_photo(str(tmp_path / "pipe.png"))
    (tmp_path / "link.png").symlink_to(tmp_path / "pipe.png")
    with pytest.raises(UnreadablePhoto, match="cannot be read"):
        read_photo(str(tmp_path / "link.png"))
    assert file_mark(str(tmp_path / "a.png")) is None
