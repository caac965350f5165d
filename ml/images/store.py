"""Where files lie: images under their sha256, finished directories and files under keys. Nothing is ever overwritten.

What a run needs for a while only may be deleted again, by its prefix; an image only by its sha256, by retention.

Settings and credentials come from the caller and the service's own configuration; no environment is read here.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from ml.images.decode import sha256_of
from ml.images.local_files import LocalFiles
from ml.images.remote_files import RemoteFiles
from ml.images.store_keys import IMAGES, StoreError, check_key, image_key, plain_errors
from ml.images.store_listing import directory_sha256, hashed_files

__all__ = ["FileStore", "StoreError", "directory_sha256", "image_key"]


class FileStore:
    """A place for immutable files, addressed by content (images) or by key (everything else).

    Args:
        url: a directory (created when first written to), `file:///...`, or `s3://bucket/prefix` and other
            fsspec addresses.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self._files: LocalFiles | RemoteFiles
        if "://" not in url or parts.scheme == "file":
            self._files = LocalFiles(Path(unquote(parts.path) if parts.scheme == "file" else url).absolute())
        else:
            self._files = RemoteFiles(url)

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
            raise StoreError(
                "changed", f"image {sha256} in the store has other bytes now; restore {self._files.address(key)}"
            )
        return data

    def has_image(self, sha256: str) -> bool:
        """Say whether an image lies here, without reading it."""
        return self._files.exists(image_key(sha256))

    def delete_image(self, sha256: str) -> None:
        """Remove an image; nothing happens when it is gone already. The caller knows that nobody needs it.

        Raises:
            StoreError: The store cannot be written to.
        """
        key = image_key(sha256)
        with plain_errors(f"cannot delete {self._files.address(key)}"):
            self._files.delete(key)

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
        return self._files.exists(key)

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
        self._files.put_directory(source, hashed_files(source), key)
        return self._files.address(key)

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
        return self._files.fetch_directory(key, target)

    def list_files(self, prefix: str) -> list[str]:
        """The keys of all files under a prefix, sorted; none where there is no such prefix.

        `runs/job-1` is not a prefix of `runs/job-10/weights`: whole names count.

        Raises:
            StoreError: the prefix is no plain relative path, or the store cannot be read.
        """
        check_key(prefix)
        with plain_errors(f"cannot list {self._files.address(prefix)}"):
            return sorted(self._files.keys(prefix))

    def delete_file(self, key: str) -> None:
        """Remove a file; nothing happens when it is gone already.

        Raises:
            StoreError: the key is no plain relative path or an image's, or the store cannot be written to.
        """
        _refuse_images(key)
        with plain_errors(f"cannot delete {self._files.address(key)}"):
            self._files.delete(key)

    def delete_under(self, prefix: str) -> int:
        """Remove all files under a prefix; safe to repeat, also by several processes at once.

        Returns:
            how many files there were.

        Raises:
            StoreError: the prefix is no plain relative path or the images', or the store cannot be written to.
        """
        _refuse_images(prefix)
        keys = self.list_files(prefix)
        with plain_errors(f"cannot delete {self._files.address(prefix)}"):
            self._files.delete_under(prefix)
        return len(keys)

    def _read(self, key: str, name: str) -> bytes:
        with plain_errors(f"cannot read {self._files.address(key)}"):
            try:
                return self._files.read(key)
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
                raise StoreError("missing", f"the store has no {name} ({self._files.address(key)})") from error

    def _put_bytes(self, data: bytes, key: str) -> str:
        address = self._files.address(key)
        if not self._files.exists(key):
            with plain_errors(f"cannot write {address}"):
                if self._files.write(key, data):
                    return address
        if self._read(key, key) != data:
            raise StoreError("exists", f"{address} exists with other bytes; stored files are never overwritten")
        return address


def _refuse_images(key: str) -> None:
    check_key(key)
    if key.split("/", maxsplit=1)[0] == IMAGES:
        raise StoreError("bad_key", f"{key[:200]!r} holds images, which only retention removes")
