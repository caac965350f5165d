"""What a directory of the store holds: relative names and their sha256, and its name by that content."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ml.images.decode import sha256_of
from ml.images.store_keys import StoreError, check_key, plain_errors


def directory_sha256(path: Path) -> str:
    """Name the content of a directory: sha256 over the sorted pairs of relative name and file sha256.

    Empty subdirectories, times and permissions do not count.

    Raises:
        StoreError: the directory is missing or holds no files, or holds a link or something that is no plain file.
    """
    return sha256_of(json.dumps(sorted(hashed_files(path).items())).encode())


def hashed_files(directory: Path) -> dict[str, str]:
    """Map relative names to sha256, sorted by name.

    Raises:
        StoreError: as `directory_sha256`.
    """
    if not directory.is_dir():
        raise StoreError("missing", f"{directory} is not a directory")
    found: dict[str, str] = {}
    with plain_errors(f"cannot read {directory}"):
        for path in directory.rglob("*"):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise StoreError("bad_key", f"{path} is a link or a device; only plain files are stored")
            if path.is_file():
                name = path.relative_to(directory).as_posix()
                check_key(name)
                with path.open("rb") as opened:
                    found[name] = hashlib.file_digest(opened, "sha256").hexdigest()
    if not found:
        raise StoreError("missing", f"{directory} holds no files")
    return dict(sorted(found.items()))


def same_or_refuse(existing: Path, files: dict[str, str]) -> Path:
    """The existing directory, where it holds exactly these files.

    Raises:
        StoreError: `exists`, it holds something else.
    """
    if not existing.is_dir() or hashed_files(existing) != files:
        raise StoreError("exists", f"{existing} exists with other content; stored directories are never overwritten")
    return existing
