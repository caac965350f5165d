"""What a key of the file store may look like, and the one error that the store raises."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from ml.images.atomic import TEMPORARY

StoreReason = Literal["missing", "changed", "exists", "bad_key", "unavailable"]

IMAGES = "images"
_HEX = frozenset("0123456789abcdef")
# The longest file name of the usual file systems, in bytes.
_MAX_NAME_BYTES = 255


class StoreError(Exception):
    """The store cannot give or take a file; `reason` is for programs, the message for people."""

    def __init__(self, reason: StoreReason, message: str) -> None:
        super().__init__(message)
        self.reason: StoreReason = reason


def image_key(sha256: str) -> str:
    """The store key of an image content."""
    if len(sha256) != 64 or not _HEX.issuperset(sha256):
        raise StoreError("bad_key", f"{sha256[:80]!r} is not a sha256 in lower-case hex")
    return f"{IMAGES}/{sha256[:2]}/{sha256[2:]}"


def check_key(key: str) -> None:
    """Raise StoreError unless the key is a plain relative path."""
    names = key.split("/")
    if (
        "\\" in key
        or any(ord(character) < 32 for character in key)
        or any(name in ("", ".", "..") or name.startswith(TEMPORARY) for name in names)
        or any(len(name.encode("utf-8", "surrogatepass")) > _MAX_NAME_BYTES for name in names)
    ):
        raise StoreError("bad_key", f"{key[:200]!r} is not a plain relative path such as models/v1/bundle.json")


@contextmanager
def plain_errors(doing: str) -> Iterator[None]:
    """Turn what file systems and object services raise into a StoreError; a taken name passes through."""
    try:
        yield
    except (StoreError, FileExistsError, MemoryError):
        raise
    except Exception as error:
        # Object services raise types of their own, which callers cannot know.
        raise StoreError("unavailable", f"{doing}: {error}") from error
