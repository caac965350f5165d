"""The store on an object service, through fsspec. A directory's list of files comes last; without it, there is none."""

from __future__ import annotations

import json
import shutil
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import fsspec

from ml.images.atomic import TEMPORARY, rename_directory, write_flushed
from ml.images.decode import sha256_of
from ml.images.store_keys import StoreError, check_key, plain_errors
from ml.images.store_listing import same_or_refuse

_LIST_SUFFIX = ".files.json"


class RemoteFiles:
    """Files under `s3://bucket/prefix` or another fsspec address. Keys are checked by the caller."""

    def __init__(self, url: str) -> None:
        self.url = url
        # Cached listings would hide what another host has stored meanwhile.
        self.service, self.prefix = fsspec.url_to_fs(url, use_listings_cache=False)

    def address(self, key: str) -> str:
        """The address with its protocol."""
        return str(self.service.unstrip_protocol(self._path(key)))

    def exists(self, key: str) -> bool:
        """Whether a file lies here."""
        with plain_errors(f"cannot reach {self.url}"):
            return bool(self.service.exists(self._path(key)))

    def read(self, key: str) -> bytes:
        """A file's bytes; FileNotFoundError where there is none."""
        return bytes(self.service.cat_file(self._path(key)))

    def write(self, key: str, data: bytes) -> bool:
        """Write a new file."""
        self.service.pipe_file(self._path(key), data)
        return True

    def put_directory(self, source: Path, files: dict[str, str], key: str) -> None:
        """Copy a directory of known content; nothing where it lies here already."""
        listed = self._list(key)
        if listed is not None:
            if listed != files:
                raise StoreError("exists", f"{self.address(key)} exists with other content; choose another key")
            return
        with plain_errors(f"cannot write {self.address(key)}"):
            for name in files:
                # Files left here by an upload that died have no list and may be replaced.
                self.service.pipe_file(self._path(f"{key}/{name}"), (source / name).read_bytes())
            content = json.dumps(files, sort_keys=True, indent=1).encode()
            self.service.pipe_file(self._path(key + _LIST_SUFFIX), content)

    def fetch_directory(self, key: str, target: Path) -> Path:
        """Download a directory into `target`, whole or not at all."""
        listed = self._list(key)
        if listed is None:
            raise StoreError("missing", f"the store has no directory {key} ({self.address(key)})")
        if target.is_dir() and any(target.iterdir()):
            return same_or_refuse(target, listed)
        part = target.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
        try:
            for name, sha256 in sorted(listed.items()):
                data = self._read_listed(f"{key}/{name}")
                if sha256_of(data) != sha256:
                    raise StoreError("changed", f"{key}/{name} in the store has other bytes than when it was stored")
                with plain_errors(f"cannot write {part / name}"):
                    write_flushed(part / name, data)
            with plain_errors(f"cannot write {target}"):
                rename_directory(part, target)
        except FileExistsError:
            return same_or_refuse(target, listed)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return target

    def keys(self, prefix: str) -> list[str]:
        """Keys of all files under a prefix, in no order."""
        with suppress(FileNotFoundError):
            found = [str(path).removeprefix(f"{self.prefix}/") for path in self.service.find(self._path(prefix))]
            return [key for key in found if key.startswith(f"{prefix}/")]
        return []

    def delete(self, key: str) -> None:
        """Remove a file; nothing where it is gone already."""
        with suppress(FileNotFoundError):
            if self.exists(key):
                self.service.rm_file(self._path(key))

    def delete_under(self, prefix: str) -> None:
        """Remove all files under a prefix."""
        for key in self.keys(prefix):
            self.delete(key)

    def _path(self, key: str) -> str:
        return f"{self.prefix}/{key}"

    def _read_listed(self, key: str) -> bytes:
        with plain_errors(f"cannot read {self.address(key)}"):
            try:
                return self.read(key)
            except (FileNotFoundError, IsADirectoryError) as error:
                raise StoreError("missing", f"the store has no {key} ({self.address(key)})") from error

    def _list(self, key: str) -> dict[str, str] | None:
        if not self.exists(key + _LIST_SUFFIX):
            return None
        try:
            listed: dict[str, Any] = json.loads(self._read_listed(key + _LIST_SUFFIX))
            for name in listed:
                check_key(name)
        except (ValueError, StoreError) as error:
            raise StoreError("changed", f"the list of files of {self.address(key)} is damaged: {error}") from error
        return {str(name): str(sha256) for name, sha256 in listed.items()}
