"""The store on this machine's disk. Each file appears as a whole: written beside its place, flushed, then renamed."""

from __future__ import annotations

import shutil
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from ml.images.atomic import TEMPORARY, rename_directory, write_flushed, write_once
from ml.images.decode import sha256_of
from ml.images.store_keys import StoreError, plain_errors
from ml.images.store_listing import same_or_refuse


class LocalFiles:
    """Files under one directory, which is made when first written to. Keys are checked by the caller."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def address(self, key: str) -> str:
        """The absolute path."""
        return str(self.root / key)

    def exists(self, key: str) -> bool:
        """Whether a file lies here."""
        return (self.root / key).is_file()

    def read(self, key: str) -> bytes:
        """A file's bytes; FileNotFoundError and its like where there is none."""
        return (self.root / key).read_bytes()

    def write(self, key: str, data: bytes) -> bool:
        """Write a new file; whether it is ours: False where somebody else wrote it in this moment."""
        try:
            write_once(self.root / key, data)
        except FileExistsError:
            return False
        return True

    def put_directory(self, source: Path, files: dict[str, str], key: str) -> None:
        """Copy a directory of known content; nothing where it lies here already."""
        final = self.root / key
        if final.exists():
            same_or_refuse(final, files)
            return
        part = final.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
        try:
            with plain_errors(f"cannot write {final}"):
                part.mkdir(parents=True)
                for name, sha256 in files.items():
                    data = (source / name).read_bytes()
                    if sha256_of(data) != sha256:
                        raise StoreError("changed", f"{source / name} changed while it was being stored")
                    write_flushed(part / name, data)
                rename_directory(part, final)
        except FileExistsError:
            same_or_refuse(final, files)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def fetch_directory(self, key: str, target: Path) -> Path:
        """The stored directory itself, which nobody may write into."""
        stored = self.root / key
        if not stored.is_dir():
            raise StoreError("missing", f"the store has no directory {key} ({stored})")
        return stored

    def keys(self, prefix: str) -> list[str]:
        """Keys of all files under a prefix, in no order."""
        names = [path.relative_to(self.root) for path in (self.root / prefix).rglob("*") if path.is_file()]
        return [name.as_posix() for name in names if not any(part.startswith(TEMPORARY) for part in name.parts)]

    def delete(self, key: str) -> None:
        """Remove a file; nothing where it is gone already."""
        (self.root / key).unlink(missing_ok=True)

    def delete_under(self, prefix: str) -> None:
        """Remove all files under a prefix, and its directories."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self.root / prefix, onerror=_unless_gone)


def _unless_gone(_function: object, _path: object, caught: tuple[Any, BaseException, Any]) -> None:
    """Another process may be deleting the same files."""
    if not isinstance(caught[1], FileNotFoundError):
        raise caught[1]
