"""A zip of a bundle from anywhere: judged by its list of files before a byte is unpacked. No torch here.

Neither names nor sizes nor types of the entries are trusted: a bundle has three kinds of files, and nothing else is
written. A stated size is kept by the zip reader, which stops there and then finds the wrong checksum.
"""

from __future__ import annotations

import lzma
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from ml.bundle import (
    BUNDLE_FILE,
    GOLDEN_NAME,
    MAX_DESCRIPTION_BYTES,
    MAX_GOLDEN,
    MAX_GOLDEN_BYTES,
    MAX_MODEL_BYTES,
    MODEL_FILE,
    BundleError,
    read_description,
)  # fmt: skip

MAX_MEMBERS = MAX_GOLDEN + 2
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_. -]{0,120}(/[A-Za-z0-9_-][A-Za-z0-9_. -]{0,120}){0,4}")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1


class ArchiveError(BundleError):
    """A zip holds no bundle, or more than one may; the message goes on from "the zip"."""


def read_archive_description(archive: Path) -> dict[str, Any]:
    """The JSON object of the bundle.json at the top of a zip whose list of files was found right.

    Raises:
        ArchiveError: The zip cannot be read, or its list of files is not that of a bundle.
        BundleError: bundle.json is no JSON object.
    """
    with _reading(), zipfile.ZipFile(archive) as opened:
        members = _members(opened, PurePosixPath())
        return read_description(opened.read(members[BUNDLE_FILE]))


def unpack(archive: Path | IO[bytes], target: Path) -> None:
    """Unpack a bundle, at the top of the zip or in one directory of it, into a missing directory.

    Raises:
        ArchiveError: The zip cannot be read, or its list of files is not that of a bundle. Nothing is left.
    """
    try:
        with _reading(), zipfile.ZipFile(archive) as opened:
            members = _members(opened, _root(opened))
            (target / "golden").mkdir(parents=True)
            for name, member in members.items():
                with opened.open(member) as source, (target / name).open("xb") as written:
                    shutil.copyfileobj(source, written, 1 << 20)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _root(archive: zipfile.ZipFile) -> PurePosixPath:
    names = [name for name in archive.namelist() if PurePosixPath(name).name == BUNDLE_FILE]
    if len(set(names)) != 1:
        raise ArchiveError(f"must hold one {BUNDLE_FILE}, with {MODEL_FILE} and golden/ beside it")
    return PurePosixPath(names[0]).parent


def _members(archive: zipfile.ZipFile, root: PurePosixPath) -> dict[str, zipfile.ZipInfo]:
    """Name in the bundle -> entry, all of them judged."""
    entries = archive.infolist()
    if len(entries) > 2 * MAX_MEMBERS:
        raise ArchiveError(f"holds {len(entries)} entries; a bundle has at most {MAX_MEMBERS} files")
    found: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        _check_entry(entry)
        if entry.is_dir():
            continue
        path = PurePosixPath(entry.filename)
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else entry.filename
        if name in found:
            raise ArchiveError(f"holds {name} twice")
        found[name] = entry
    for needed in (BUNDLE_FILE, MODEL_FILE):
        if needed not in found:
            raise ArchiveError(
                f"holds no {needed}; zip the content of the bundle's directory, not the directory itself"
            )
    for name, entry in found.items():
        _check_size(name, entry)
    return found


def _check_entry(entry: zipfile.ZipInfo) -> None:
    shown = ascii(entry.filename)[:120]
    if not _PLAIN_NAME.fullmatch(entry.filename.removesuffix("/")):
        raise ArchiveError(f"holds {shown}, which is no plain relative file name and leaves the bundle")
    # 0 where the zip was made on a system without such types.
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ArchiveError(f"holds {shown}, which is a link or a device; only a plain relative file is taken")
    if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _METHODS:
        raise ArchiveError(f"holds {shown} encrypted or compressed in a rare way; use plain zip (deflate)")


def _check_size(name: str, entry: zipfile.ZipInfo) -> None:
    limits = {BUNDLE_FILE: MAX_DESCRIPTION_BYTES, MODEL_FILE: MAX_MODEL_BYTES}
    if name not in limits and not GOLDEN_NAME.fullmatch(name):
        raise ArchiveError(
            f"holds {ascii(name)[:120]}, which is no part of a bundle: {MODEL_FILE}, {BUNDLE_FILE} and golden/*.png are"
        )
    limit = limits.get(name, MAX_GOLDEN_BYTES)
    if entry.file_size > limit:
        raise ArchiveError(f"holds {name} with {entry.file_size} bytes; at most {limit} are taken")


@contextmanager
def _reading() -> Iterator[None]:
    """Turn what the zip reader raises on a damaged archive into words."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ArchiveError(f"is not a zip file that can be read: {error}") from error
    except (OSError, ValueError) as error:
        if isinstance(error, BundleError):
            raise
        raise ArchiveError(f"is not a zip file that can be read: {error}") from error
