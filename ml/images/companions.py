"""Which files belong to an image and go wherever it goes: its companions.

A companion has the image's stem and one extension of any kind (`a.yaml` of `a.png`), or the image's whole name and one
more (`a.png.txt`), or one of the double extensions that Afterglow writes itself (`a.embedding.npy`). Our decisions:

- The stem is compared exactly, capital letters too, after Unicode's NFC: on most disks `a.png` and `A.png` are two
  images. In extensions capital letters do not count.
- A longer name that merely begins like the image's is no companion: `a_1.txt` is not of `a.png`, and
  `x_stage1.5_swapped.yaml` is not of `x_stage1.png`.
- An image is never a companion, not even one of a format that is not taken.
- A file that could be of two images (`a.yaml` beside `a.png` and `a.jpg`) is of neither; a person must decide.
- Hidden files, whose name begins with a dot, are neither images nor companions.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ml.images.photo_names import is_extension, stem_of

TAKEN_EXTENSIONS = frozenset({"png", "jpg", "jpeg", "webp", "gif"})
"""Of files that are opened as images, in small letters; their content decides what they are."""
_OTHER_IMAGES = frozenset(
    {"tif", "tiff", "bmp", "heic", "heif", "avif", "jxl", "jp2", "psd", "svg", "ico"}
    | {"dng", "cr2", "cr3", "nef", "arw", "raf", "orf", "rw2", "pef", "srw"}
)
OWN_DOUBLE_EXTENSIONS = (".embedding.npy", ".saliency.npy", ".hands.json")


@dataclass(frozen=True)
class Companions:
    """How the files of one directory belong together. Every name that was given, hidden ones apart, is in one place."""

    of: dict[str, tuple[str, ...]]
    """Image -> its companions, both sorted; an image without any is there too."""
    ambiguous: dict[str, tuple[str, ...]]
    """File -> the images that it could be of, two or more."""
    alone: tuple[str, ...]
    """Files that are of no image here, and images of formats that are not taken."""


def is_taken(name: str) -> bool:
    """Whether a file name, hidden ones apart, ends like that of an image which is taken."""
    return not name.startswith(".") and _extension(name) in TAKEN_EXTENSIONS


def find_companions(names: Iterable[str]) -> Companions:
    """Sort the file names of one directory, without their directory; the order in which they come does not matter."""
    seen = sorted({name for name in names if not name.startswith(".")})
    owners: dict[str, list[str]] = {}
    of: dict[str, list[str]] = {}
    for name in seen:
        if _extension(name) in TAKEN_EXTENSIONS | _OTHER_IMAGES:
            owners.setdefault(_normal(stem_of(name)), []).append(name)
            owners.setdefault(_normal(name), []).append(name)
            if is_taken(name):
                of[name] = []
    ambiguous: dict[str, tuple[str, ...]] = {}
    alone: list[str] = []
    for name in seen:
        if name in of:
            continue
        is_image = _extension(name) in _OTHER_IMAGES
        images = [] if is_image else sorted({image for stem in _stems(name) for image in owners.get(stem, ())})
        if len(images) > 1:
            ambiguous[name] = tuple(images)
        elif images and images[0] in of:
            of[images[0]].append(name)
        else:
            alone.append(name)
    return Companions({image: tuple(names) for image, names in of.items()}, ambiguous, tuple(alone))


def _stems(name: str) -> Iterator[str]:
    """The stems or whole names of which this name may be a companion's."""
    low = name.lower()
    for double in OWN_DOUBLE_EXTENSIONS:
        if low.endswith(double):
            yield _normal(name[: -len(double)])
    if stem_of(name) != name:
        yield _normal(stem_of(name))


def _extension(name: str) -> str:
    extension = name.rpartition(".")[2].lower()
    return extension if stem_of(name) != name and is_extension(extension) else ""


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)
