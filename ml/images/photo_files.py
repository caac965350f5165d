"""Photos on a disk: which files of a directory are photos, and what one of them is. Files are only read.

Links are not followed, neither to files nor to directories: what is scanned lies under the directory that was named.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ml.images.companions import Companions, find_companions, is_taken
from ml.images.decode import MAX_IMAGE_BYTES, ImageError, ImageInfo, read
from ml.images.hashing import phash
from ml.images.photo_names import read_photo_name


class UnreadablePhoto(ValueError):
    """A file cannot be taken as a photo; the message says why."""


@dataclass(frozen=True)
class Folder:
    """One directory below the one that is scanned, without those below it."""

    path: str
    """Absolute."""
    files: Companions
    odd: dict[str, str]
    """Path -> why a file or a directory here was left out."""


@dataclass(frozen=True)
class PhotoFile:
    """A photo that was read completely."""

    info: ImageInfo
    phash: int
    """0 .. 2**64 - 1."""
    stage: float | None
    taken_at: datetime | None
    modified_ns: int
    """When the file was changed last, in ns since 1970."""


def walk(root: Path) -> Iterator[Folder]:
    """Every directory from `root` down, in order of their paths; hidden ones and hidden files are left out.

    Raises:
        OSError: The root itself cannot be listed.
    """
    waiting = [os.path.realpath(root)]
    while waiting:
        path = waiting.pop()
        try:
            with os.scandir(path) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if path == os.path.realpath(root):
                raise
            yield Folder(path, find_companions(()), {path: f"the directory cannot be listed: {error.strerror}"})
            continue
        names, below, odd = _sorted_out(found)
        yield Folder(path, find_companions(names), odd)
        waiting += reversed(below)


def _sorted_out(entries: list[os.DirEntry[str]]) -> tuple[list[str], list[str], dict[str, str]]:
    """Names of plain files, paths of directories, and what is neither with why."""
    names, below, odd = [], [], {}
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if not _is_text(entry.name):
            odd[entry.path.encode(errors="surrogateescape").decode(errors="replace")] = (
                "its name is not UTF-8: rename it"
            )
        elif entry.is_dir(follow_symlinks=False):
            below.append(entry.path)
        elif entry.is_file(follow_symlinks=False):
            names.append(entry.name)
        elif is_taken(entry.name) or entry.is_dir():
            odd[entry.path] = "is a link: links are not followed" if entry.is_symlink() else "is no plain file"
    return names, below, odd


def file_mark(path: str) -> tuple[int, int] | None:
    """Size in bytes and time of the last change in ns, by which a file is known again unread; None if it is not there."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def read_photo(path: str) -> PhotoFile:
    """Read and decode a photo completely, once.

    Raises:
        UnreadablePhoto: It cannot be read, changed while it was read, or is no image that we take.
    """
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(opened, "rb") as file:
            before = os.fstat(opened)
            if not stat.S_ISREG(before.st_mode):
                raise UnreadablePhoto("is no plain file")
            data = file.read(MAX_IMAGE_BYTES + 1)
            after = os.fstat(opened)
    except OSError as error:
        raise UnreadablePhoto(f"cannot be read: {error.strerror}") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise UnreadablePhoto("changed while it was read: scan again when nobody writes it")
    try:
        info, pixels = read(data)
    except ImageError as error:
        raise UnreadablePhoto(str(error)) from error
    named = read_photo_name(path)
    return PhotoFile(info, phash(pixels), named.stage, named.taken_at, before.st_mtime_ns)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
