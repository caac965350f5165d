"""Where files lie: images under their sha256, finished directories and files under keys. Nothing is ever overwritten.

What a run needs for a while only may be deleted again, by its prefix; images never are.

A local store appears file by file as a whole: written beside its place under a temporary name, flushed to the disk,
then linked or renamed. A store on an object service (`s3://bucket/prefix`, through fsspec) puts the list of a
directory's files last, and a directory without its list does not exist.

Settings and credentials come from the caller and the service's own configuration; no environment is read here.
"""

import hashlib
import json
import shutil
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec

from ml.images.atomic import TEMPORARY, rename_directory, write_flushed, write_once
from ml.images.decode import sha256_of
from ml.images.store_keys import IMAGES, StoreError, check_key, image_key, plain_errors

__all__ = ["FileStore", "StoreError", "directory_sha256", "image_key"]

_LIST_SUFFIX = ".files.json"


def directory_sha256(path: Path) -> str:
    """Name the content of a directory: sha256 over the sorted pairs of relative name and file sha256.

    Empty subdirectories, times and permissions do not count.

    Raises:
        StoreError: the directory is missing or holds no files, or holds a link or something that is no plain file.
    """
    return _list_sha256(_hashed_files(path))


class FileStore:
    """A place for immutable files, addressed by content (images) or by key (everything else).

    Args:
        url: a directory (created when first written to), `file:///...`, or `s3://bucket/prefix` and other
            fsspec addresses.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self._root: Path | None = None
        self._remote: Any = None
        if "://" not in url or parts.scheme == "file":
            self._root = Path(unquote(parts.path) if parts.scheme == "file" else url).absolute()
        else:
            # Cached listings would hide what another host has stored meanwhile.
            self._remote, self._prefix = fsspec.url_to_fs(url, use_listings_cache=False)

    def put_image(self, data: bytes) -> str:
        """Store an image's bytes untouched; safe to repeat, also by several processes at once.

        Returns:
            its sha256 in lower-case hex.

        Raises:
            StoreError: the store cannot be written to, or holds damaged bytes under this sha256.
        """
        sha256 = sha256_of(data)
        self._put_bytes(data, image_key(sha256))
        return sha256

    def image(self, sha256: str) -> bytes:
        """Read an image and verify that its bytes still have this sha256.

        Raises:
            StoreError: `missing`, `changed`, or the store cannot be read.
        """
        key = image_key(sha256)
        data = self._read(key, f"image {sha256}")
        if sha256_of(data) != sha256:
            raise StoreError("changed", f"image {sha256} in the store has other bytes now; restore {self._uri(key)}")
        return data

    def has_image(self, sha256: str) -> bool:
        """Say whether an image lies here, without reading it."""
        return self._exists(image_key(sha256))

    def put_file(self, source: Path, key: str) -> str:
        """Copy one file under a key; a repeat with the same bytes does nothing.

        Returns:
            the file's address: an absolute path, or `s3://...`.

        Raises:
            StoreError: the key is taken by other bytes or is no plain relative path, the source cannot be read,
                or the store cannot be written to.
        """
        check_key(key)
        with plain_errors(f"cannot read {source}"):
            data = source.read_bytes()
        return self._put_bytes(data, key)

    def read_file(self, key: str) -> bytes:
        """Read a file by its key.

        Raises:
            StoreError: missing, or the store cannot be read.
        """
        check_key(key)
        return self._read(key, key)

    def has_file(self, key: str) -> bool:
        """Whether the store has a file under `key`."""
        check_key(key)
        return self._exists(key)

    def put_directory(self, source: Path, key: str) -> str:
        """Copy a finished directory under a key, so that it appears whole or not at all.

        A repeat with the same content does nothing; the source stays as it is.

        Returns:
            the directory's address: an absolute path, or `s3://...`.

        Raises:
            StoreError: the key is taken by other content, the source holds links or is missing, or the store
                cannot be written to.
        """
        check_key(key)
        files = _hashed_files(source)
        if self._root is not None:
            self._put_directory_locally(source, files, key)
        else:
            self._put_directory_remotely(source, files, key)
        return self._uri(key)

    def fetch_directory(self, key: str, target: Path) -> Path:
        """Give a local directory with the files of a stored one.

        Args:
            key: of the stored directory.
            target: where a remote store's files are put. A local store ignores it and returns the stored
                directory itself, which nobody may write into.

        Raises:
            StoreError: missing, changed since it was stored (remote), `target` holds something else, or the
                store cannot be read.
        """
        check_key(key)
        if self._root is not None:
            stored = self._root / key
            if not stored.is_dir():
                raise StoreError("missing", f"the store has no directory {key} ({stored})")
            return stored
        listed = self._remote_list(key)
        if listed is None:
            raise StoreError("missing", f"the store has no directory {key} ({self._uri(key)})")
        if target.is_dir() and any(target.iterdir()):
            return _same_or_refuse(target, listed)
        part = target.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
        try:
            for name, sha256 in sorted(listed.items()):
                data = self._read(f"{key}/{name}", f"{key}/{name}")
                if sha256_of(data) != sha256:
                    raise StoreError("changed", f"{key}/{name} in the store has other bytes than when it was stored")
                with plain_errors(f"cannot write {part / name}"):
                    write_flushed(part / name, data)
            with plain_errors(f"cannot write {target}"):
                rename_directory(part, target)
        except FileExistsError:
            return _same_or_refuse(target, listed)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return target

    def list_files(self, prefix: str) -> list[str]:
        """The keys of all files under a prefix, sorted; none where there is no such prefix.

        `runs/job-1` is not a prefix of `runs/job-10/weights`: whole names count.

        Raises:
            StoreError: the prefix is no plain relative path, or the store cannot be read.
        """
        check_key(prefix)
        with plain_errors(f"cannot list {self._uri(prefix)}"):
            if self._root is not None:
                names = [path.relative_to(self._root) for path in (self._root / prefix).rglob("*") if path.is_file()]
                hidden = [name for name in names if any(part.startswith(TEMPORARY) for part in name.parts)]
                return sorted(name.as_posix() for name in {*names} - {*hidden})
            with suppress(FileNotFoundError):
                found = [str(path).removeprefix(f"{self._prefix}/") for path in self._remote.find(self._path(prefix))]
                return sorted(key for key in found if key.startswith(f"{prefix}/"))
            return []

    def delete_file(self, key: str) -> None:
        """Remove a file; nothing happens when it is gone already.

        Raises:
            StoreError: the key is no plain relative path or an image's, or the store cannot be written to.
        """
        _refuse_images(key)
        with plain_errors(f"cannot delete {self._uri(key)}"), suppress(FileNotFoundError):
            if self._root is not None:
                (self._root / key).unlink(missing_ok=True)
            elif self._exists(key):
                self._remote.rm_file(self._path(key))

    def delete_under(self, prefix: str) -> int:
        """Remove all files under a prefix; safe to repeat, also by several processes at once.

        Returns:
            how many files there were.

        Raises:
            StoreError: the prefix is no plain relative path or the images', or the store cannot be written to.
        """
        _refuse_images(prefix)
        keys = self.list_files(prefix)
        if self._root is None:
            for key in keys:
                self.delete_file(key)
            return len(keys)
        with plain_errors(f"cannot delete {self._uri(prefix)}"), suppress(FileNotFoundError):
            shutil.rmtree(self._root / prefix, onerror=_unless_gone)
        return len(keys)

    def _path(self, key: str) -> str:
        return f"{self._prefix}/{key}"

    def _uri(self, key: str) -> str:
        if self._root is not None:
            return str(self._root / key)
        return str(self._remote.unstrip_protocol(self._path(key)))

    def _exists(self, key: str) -> bool:
        if self._root is not None:
            return (self._root / key).is_file()
        with plain_errors(f"cannot reach {self.url}"):
            return bool(self._remote.exists(self._path(key)))

    def _read(self, key: str, name: str) -> bytes:
        with plain_errors(f"cannot read {self._uri(key)}"):
            try:
                if self._root is not None:
                    return (self._root / key).read_bytes()
                return bytes(self._remote.cat_file(self._path(key)))
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
                raise StoreError("missing", f"the store has no {name} ({self._uri(key)})") from error

    def _put_bytes(self, data: bytes, key: str) -> str:
        if not self._exists(key):
            with plain_errors(f"cannot write {self._uri(key)}"):
                if self._root is None:
                    self._remote.pipe_file(self._path(key), data)
                    return self._uri(key)
                with suppress(FileExistsError):
                    write_once(self._root / key, data)
                    return self._uri(key)
        if self._read(key, key) != data:
            raise StoreError("exists", f"{self._uri(key)} exists with other bytes; stored files are never overwritten")
        return self._uri(key)

    def _put_directory_locally(self, source: Path, files: dict[str, str], key: str) -> None:
        assert self._root is not None
        final = self._root / key
        if final.exists():
            _same_or_refuse(final, files)
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
            _same_or_refuse(final, files)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _put_directory_remotely(self, source: Path, files: dict[str, str], key: str) -> None:
        listed = self._remote_list(key)
        if listed is not None:
            if listed != files:
                raise StoreError("exists", f"{self._uri(key)} exists with other content; choose another key")
            return
        with plain_errors(f"cannot write {self._uri(key)}"):
            for name in files:
                # Files left here by an upload that died have no list and may be replaced.
                self._remote.pipe_file(f"{self._prefix}/{key}/{name}", (source / name).read_bytes())
            content = json.dumps(files, sort_keys=True, indent=1).encode()
            self._remote.pipe_file(f"{self._prefix}/{key}{_LIST_SUFFIX}", content)

    def _remote_list(self, key: str) -> dict[str, str] | None:
        if not self._exists(key + _LIST_SUFFIX):
            return None
        try:
            listed = json.loads(self._read(key + _LIST_SUFFIX, key))
            for name in listed:
                check_key(name)
        except (ValueError, StoreError) as error:
            raise StoreError("changed", f"the list of files of {self._uri(key)} is damaged: {error}") from error
        return {str(name): str(sha256) for name, sha256 in listed.items()}


def _hashed_files(directory: Path) -> dict[str, str]:
    """Map relative names to sha256, sorted by name."""
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


def _list_sha256(files: dict[str, str]) -> str:
    return sha256_of(json.dumps(sorted(files.items())).encode())


def _same_or_refuse(existing: Path, files: dict[str, str]) -> Path:
    if not existing.is_dir() or _hashed_files(existing) != files:
        raise StoreError("exists", f"{existing} exists with other content; stored directories are never overwritten")
    return existing


def _refuse_images(key: str) -> None:
    check_key(key)
    if key.split("/", maxsplit=1)[0] == IMAGES:
        raise StoreError("bad_key", f"{key[:200]!r} holds images, which are kept for ever")


def _unless_gone(_function: object, _path: object, caught: tuple[Any, BaseException, Any]) -> None:
    """Another process may be deleting the same files."""
    if not isinstance(caught[1], FileNotFoundError):
        raise caught[1]
