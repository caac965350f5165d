"""Images named by a CSV: only plain files below the directory that was given."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from ml.images.decode import MAX_IMAGE_BYTES
from worker.importers.snapshot_rows import read_image
from worker.importers.table import RowRefused


@pytest.fixture
def root(tmp_path: Path) -> Path:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    inside = tmp_path / "photos"
    (inside / "sub").mkdir(parents=True)
    for path in (inside / "a.png", inside / "sub" / "b.png", tmp_path / "secret.png"):
        path.write_bytes(buffer.getvalue())
    (inside / "link_in.png").symlink_to("sub/b.png")
    (inside / "link_out.png").symlink_to("../secret.png")
    (inside / "dir_out").symlink_to("..")
    (inside / "loop.png").symlink_to("loop.png")
    os.mkfifo(inside / "pipe.png")
    with (inside / "large.png").open("wb") as file:
        file.truncate(MAX_IMAGE_BYTES + 1)
    return inside


@pytest.mark.parametrize("name", ["a.png", "sub/../a.png", "./sub/b.png", "link_in.png"])
def test_what_lies_in_the_directory_is_read(root: Path, name: str) -> None:
    data, info = read_image(name, root)
    assert (data, info.width) == ((root / "a.png").read_bytes(), 8)
    assert read_image(str(root / "a.png"), root)[0] == data


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../secret.png", "lies outside"),
        ("sub/../../secret.png", "lies outside"),
        ("link_out.png", "lies outside"),
        ("dir_out/secret.png", "lies outside"),
        ("/etc/passwd", "lies outside"),
        ("/dev/zero", "lies outside"),
        ("pipe.png", "not a plain file"),
        ("sub", "not a plain file"),
        ("none.png", "not a file"),
        ("a.png/b.png", "cannot be read"),
        ("large.png", "larger than 25 MiB"),
        ("x" * 300, "cannot be read"),
        ("a\0.png", "not a path"),
        ("file:///etc/passwd", "neither a path nor"),
        ("data:image/png;base64,AA", "neither a path nor"),
    ],
)
def test_what_leads_elsewhere_or_is_no_plain_file_is_refused(root: Path, name: str, words: str) -> None:
    with pytest.raises(RowRefused, match=words) as caught:
        read_image(name, root)
    assert caught.value.column == "image"


def test_a_link_to_itself_is_refused(root: Path) -> None:
    with pytest.raises(RowRefused):
        read_image("loop.png", root)


def test_a_path_needs_its_directory_named(root: Path) -> None:
    with pytest.raises(RowRefused, match="--images DIR"):
        read_image("a.png", None)
