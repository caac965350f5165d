"""Zips that claim to hold a bundle: names, links, sizes and entries that lie."""

import io
import stat
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from ml.bundle import BUNDLE_FILE, MAX_GOLDEN_BYTES, MODEL_FILE, BundleError, load_bundle
from ml.bundle_archive import ArchiveError, read_archive_description, unpack
from tests.tiny_model import BRIGHT

FILES = {path.relative_to(BRIGHT).as_posix(): path.read_bytes() for path in BRIGHT.rglob("*") if path.is_file()}


def zipped(
    more: dict[str, bytes],
    prefix: str = "",
    mode: int = 0,
    method: int = zipfile.ZIP_DEFLATED,
    files: dict[str, bytes] = FILES,
) -> bytes:
    """A zip of the bundle's files under a prefix, and of more, whose Unix file type is `mode`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(prefix + name, data)
        for name, data in more.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            entry.compress_type = method
            archive.writestr(entry, data)
    return buffer.getvalue()


def refused(data: bytes, target: Path) -> str:
    with pytest.raises(ArchiveError) as caught:
        unpack(io.BytesIO(data), target)
    assert not target.exists()
    assert list(target.parent.iterdir()) == []
    return str(caught.value)


@pytest.mark.parametrize("prefix", ["", "my_bundle/"])
def test_a_bundle_comes_out_as_it_went_in(tmp_path: Path, prefix: str) -> None:
    unpack(io.BytesIO(zipped({}, prefix)), tmp_path / "out")
    assert load_bundle(tmp_path / "out").model_version == "tiny_bright"
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == set(FILES)


@pytest.mark.parametrize(
    "name",
    ["../escaped", "golden/../../escaped", "/etc/escaped", "..\\escaped", "C:/escaped", "golden/a\nb.png", "./x", ".hidden",
     "golden/\u202egnp.png", "a/" * 50 + "x", "x" * 300, "golden//x.png", "~root/x"],
)  # fmt: skip
def test_a_name_that_is_not_plain_is_refused(tmp_path: Path, name: str) -> None:
    assert "no plain relative file name" in refused(zipped({name: b"x"}), tmp_path / "out")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_a_link_or_a_device_is_refused(tmp_path: Path, kind: int) -> None:
    assert "link or a device" in refused(zipped({"golden/x.png": b"/etc/passwd"}, mode=kind | 0o777), tmp_path / "out")


@pytest.mark.parametrize(
    "name", ["README.txt", "golden/x.txt", "golden/sub/x.png", "__MACOSX/_bundle.json", "weights.bin"]
)
def test_a_file_that_is_no_part_of_a_bundle_is_refused(tmp_path: Path, name: str) -> None:
    assert "no part of a bundle" in refused(zipped({name: b"x"}), tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", [MODEL_FILE, "golden/gradient.png"])
def test_a_name_that_stands_twice_is_refused(tmp_path: Path, name: str) -> None:
    assert "twice" in refused(zipped({name: b"other"}), tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", [BUNDLE_FILE, "inner/bundle.json"])
def test_two_descriptions_are_refused(tmp_path: Path, name: str) -> None:
    refused(zipped({name: b"{}"}), tmp_path / "out")


@pytest.mark.parametrize("name", [BUNDLE_FILE, MODEL_FILE])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for each, data in FILES.items():
            if each != name:
                archive.writestr(each, data)
    assert name in refused(buffer.getvalue(), tmp_path / "out")


def test_a_bomb_is_refused_by_its_stated_size_without_unpacking_it(tmp_path: Path) -> None:
    data = zipped({"golden/bomb.png": b"\0" * (MAX_GOLDEN_BYTES + 1)})
    assert len(data) < 50_000
    tracemalloc.start()
    assert "bytes; at most" in refused(data, tmp_path / "out")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MAX_GOLDEN_BYTES


def test_a_size_that_lies_is_noticed(tmp_path: Path) -> None:
    honest = 2_000_000
    data = bytearray(zipped({"golden/liar.png": b"\0" * honest}))
    for at in range(len(data) - 4):
        if struct.unpack_from("<I", data, at)[0] == honest:
            struct.pack_into("<I", data, at, 10)
    assert "cannot be read" in refused(bytes(data), tmp_path / "out") or "CRC" in refused(bytes(data), tmp_path / "out")


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    assert "entries" in refused(zipped({f"golden/{number}.png": b"" for number in range(300)}), tmp_path / "out")


@pytest.mark.parametrize(
    "data",
    [b"", b"no zip", zipped({})[:-30], zipped({})[40:], zipped({}, method=zipfile.ZIP_LZMA)],
    ids=["empty", "text", "cut", "beheaded", "lzma"],
)
def test_a_damaged_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    refused(data, tmp_path / "out")


def test_a_flipped_byte_is_noticed_by_its_checksum(tmp_path: Path) -> None:
    data = bytearray(zipped({}))
    data[data.index(FILES[MODEL_FILE][:4]) if FILES[MODEL_FILE][:4] in data else 200] ^= 0xFF
    refused(bytes(data), tmp_path / "out")


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    data = bytearray(zipped({}))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.index(mark)
        data[at + offset] |= 1
    assert "encrypted" in refused(bytes(data), tmp_path / "out")


def test_the_description_alone_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "b.zip"
    path.write_bytes(zipped({}))
    assert read_archive_description(path)["model_version"] == "tiny_bright"
    path.write_bytes(zipped({}, "inner/"))
    with pytest.raises(BundleError, match="not the directory itself"):
        read_archive_description(path)
