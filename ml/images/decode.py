"""Bytes to pixels: the one decoder that serving, evaluation and training share. No torch here, and none may come.

Legend: H, W are the height and width in pixels of the upright image.

Law: once a preprocessing version has trained a model, its function in `_PREPROCESSING` never changes. A better
resize is a new version, so that an old bundle keeps seeing the pixels that it was trained on.

What is decided here, and applies to every caller:

- the formats are JPEG, PNG, WebP and GIF; of an animation the first frame counts, of an MPO the first picture;
- transparent pixels are laid over black: snapshots have no background of their own, and black adds no light;
- an embedded ICC profile is converted to sRGB when it is usable, and ignored when it is not; pixels without one
  are taken to be sRGB (PNG's gAMA and cHRM chunks are ignored, as most viewers do);
- 16-bit grey is divided by 257; 16-bit colour keeps its high byte.
"""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import GifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from ml.images.formats import (
    FORMATS,
    MAX_FRAMES,
    MAX_IMAGE_BYTES,
    MAX_IMAGE_PIXELS,
    MAX_SIDE_PX,
    ImageError,
    Reason,
    check_size,
    count_gif_frames,
    declared_size,
    sniff,
)
from ml.images.upright import is_turned, orientation_of, to_srgb, turned_upright

__all__ = [
    "FORMATS", "MAX_FRAMES", "MAX_IMAGE_BYTES", "MAX_IMAGE_PIXELS", "MAX_SIDE_PX", "PREPROCESSING_VERSION",
    "ImageError", "ImageInfo", "Pixels", "Reason", "decode", "image_from_pixels", "inspect", "read",
    "read_model_input", "sha256_of", "to_model_input",
]  # fmt: skip

Pixels = npt.NDArray[np.uint8]

PREPROCESSING_VERSION = 2
"""What new models are trained with. 2: a JPEG is decoded smaller where that leaves enough; else as 1."""

MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
"""Name of a format that is taken -> what it is called over HTTP."""


@dataclass(frozen=True)
class ImageInfo:
    """What a full decode found out about an image."""

    media_type: str
    """From the content, never from a name or a header, e.g. `image/jpeg`."""
    width: int
    """In pixels, upright (after EXIF orientation)."""
    height: int
    """In pixels, upright (after EXIF orientation)."""
    byte_size: int
    sha256: str
    """Of the bytes as given, in lower-case hex."""
    orientation: int
    """As EXIF says, 1 to 8; 1 where it says nothing."""


@dataclass(frozen=True)
class _Preprocessing:
    """One version: how an image becomes the fixed size of a model's input."""

    shrinks_jpegs: bool
    """Whether a JPEG is decoded at 1/2, 1/4 or 1/8 of its size where that is exact and still at least the input's."""
    resize: Callable[[Image.Image, int, int], Pixels]
    """From the upright RGB image, height and width to uint8 `(height, width, 3)`."""


class _Jpeg(JpegImagePlugin.JpegImageFile):
    """Pillow's JPEG reader without its look into EXIF for a resolution, which prints warnings on broken EXIF."""

    def _read_dpi_from_exif(self) -> None:
        return None


# The plugins are opened by class and not through Image.open: that one judges the size by a process-wide setting and
# only warns, up to twice the limit. It would also turn a JPEG with a second picture into an MPO.
_READERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "JPEG": _Jpeg,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
}


def sha256_of(data: bytes) -> str:
    """Name content by its sha256, in lower-case hex: the identity of an image everywhere."""
    return hashlib.sha256(data).hexdigest()


def inspect(data: bytes) -> ImageInfo:
    """Decode an image completely, once, and say what it is.

    Raises:
        ImageError: the bytes are not an image that we take.
    """
    return _info(data, _open_upright(data))


def read(data: bytes) -> tuple[ImageInfo, Pixels]:
    """Decode an image once: what it is, and its pixels as `decode` returns them.

    Raises:
        ImageError: the bytes are not an image that we take.
    """
    opened = _open_upright(data)
    return _info(data, opened), np.array(opened.image, dtype=np.uint8)


def decode(data: bytes) -> Pixels:
    """Decode an image.

    Returns:
        uint8 `(H, W, 3)`, RGB in sRGB, 0..255, EXIF-oriented.

    Raises:
        ImageError: the bytes are not an image that we take.
    """
    return np.array(_open_upright(data).image, dtype=np.uint8)


def read_model_input(
    data: bytes, height: int, width: int, version: int = PREPROCESSING_VERSION
) -> tuple[ImageInfo, Pixels]:
    """Decode an image once: what it is, and what a model sees of it, as `to_model_input` returns it.

    Raises:
        ImageError: the bytes are not an image that we take.
        ValueError: the preprocessing version is unknown, or the size makes no sense.
    """
    how = _preprocessing(version, height, width)
    opened = _open_upright(data, (height, width) if how.shrinks_jpegs else None)
    return _info(data, opened), how.resize(opened.image, height, width)


def to_model_input(
    pixels_or_bytes: bytes | Pixels, height: int, width: int, version: int = PREPROCESSING_VERSION
) -> Pixels:
    """Turn an image into the fixed size that a model takes.

    Args:
        pixels_or_bytes: an encoded image, or pixels as `decode` returns them (uint8 `(H, W, 3)`, sRGB). Of a JPEG,
            version 2 makes slightly other pixels from its bytes than from its decoded pixels: give a model the bytes.
        height: of the result, in pixels.
        width: of the result, in pixels.
        version: the preprocessing that the model's bundle names.

    Returns:
        uint8 `(height, width, 3)`, RGB in sRGB, 0..255.

    Raises:
        ImageError: the bytes are not an image that we take.
        ValueError: the preprocessing version is unknown, or the size or the pixels make no sense.
    """
    how = _preprocessing(version, height, width)
    if isinstance(pixels_or_bytes, np.ndarray):
        return how.resize(image_from_pixels(pixels_or_bytes), height, width)
    upright = _open_upright(pixels_or_bytes, (height, width) if how.shrinks_jpegs else None).image
    return how.resize(upright, height, width)


def image_from_pixels(pixels: Pixels) -> Image.Image:
    """Wrap pixels (uint8 `(H, W, 3)`, sRGB, not empty) as a Pillow image.

    Raises:
        ValueError: another shape or dtype.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ValueError(f"pixels must be uint8 (H, W, 3) and not empty, not {pixels.dtype} {pixels.shape}")
    return Image.fromarray(np.ascontiguousarray(pixels))


def _squash_triangle(upright: Image.Image, height: int, width: int) -> Pixels:
    """Squash (the aspect ratio is not kept, nothing is cut off) with an antialiased triangle filter."""
    return np.array(upright.resize((width, height), Image.Resampling.BILINEAR), dtype=np.uint8)


_PREPROCESSING: dict[int, _Preprocessing] = {
    1: _Preprocessing(shrinks_jpegs=False, resize=_squash_triangle),
    2: _Preprocessing(shrinks_jpegs=True, resize=_squash_triangle),
}


def _preprocessing(version: int, height: int, width: int) -> _Preprocessing:
    how = _PREPROCESSING.get(version)
    if how is None:
        known = ", ".join(str(number) for number in sorted(_PREPROCESSING))
        raise ValueError(f"preprocessing version {version!r} is unknown; this release knows {known}")
    if height < 1 or width < 1:
        raise ValueError(f"the model input must be at least 1 x 1 pixel, not {width} x {height}")
    return how


class _Upright(NamedTuple):
    """A decoded image."""

    name: str
    """Of the format."""
    size: tuple[int, int]
    """The upright width and height that it has, in pixels."""
    image: Image.Image
    """Upright, RGB in sRGB."""
    orientation: int
    """That it had in the file."""


def _info(data: bytes, opened: _Upright) -> ImageInfo:
    return ImageInfo(MEDIA_TYPES[opened.name], *opened.size, len(data), sha256_of(data), opened.orientation)


def _open_upright(data: bytes, wanted: tuple[int, int] | None = None) -> _Upright:
    """Check and decode completely.

    Args:
        data: the encoded image.
        wanted: height and width in pixels, upright, that are enough: a JPEG is decoded smaller as long as it keeps
            them (its decoder leaves out the finest detail, for half the time and less).
    """
    if len(data) > MAX_IMAGE_BYTES:
        raise ImageError("too_large", f"the image has {len(data)} bytes; at most {MAX_IMAGE_BYTES} are taken")
    name = sniff(data)
    declared = declared_size(data, name)
    if declared is not None:
        check_size(*declared)
    try:
        with _READERS[name](io.BytesIO(data)) as opened:
            check_size(*opened.size)
            frames = count_gif_frames(data) if name == "GIF" else int(getattr(opened, "n_frames", 1))
            if frames > MAX_FRAMES:
                raise ImageError("too_many_frames", f"the {name} has more than {MAX_FRAMES} frames")
            size = opened.size
            if name == "JPEG" and wanted is not None:
                # A JPEG's EXIF stands before its pixels; the wanted size is that of the turned image.
                is_lying = is_turned(orientation_of(opened.info.get("exif")))
                opened.draft(None, _shrunk(size, wanted if is_lying else wanted[::-1]))
                opened.decodermaxblock = len(data)  # in one go, else threads that decode stop for one another
            opened.load()
            # PNG may name its orientation after the pixels, so it is asked for only now.
            orientation = orientation_of(opened.info.get("exif"))
            if name != "JPEG":
                size = opened.size  # a GIF grows by its first frame
            size = size[::-1] if is_turned(orientation) else size
            return _Upright(name, size, turned_upright(to_srgb(opened), orientation), orientation)
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise ImageError("too_many_pixels", f"the {name} has too many pixels: {error}") from error
    except (ValueError, Warning) as error:
        raise ImageError("bad_metadata", f"the {name} carries metadata that cannot be read: {error}") from error
    except Exception as error:
        # Pillow's plugins raise almost any type on damaged input; after the magic number all mean the same.
        raise ImageError("truncated", f"the {name} is cut off or damaged: {error}") from error


def _shrunk(size: tuple[int, int], enough: tuple[int, int]) -> tuple[int, int]:
    """The smallest of 1/8, 1/4, 1/2 and the whole of a size that is enough, without rest: a rest would shift pixels."""
    for scale in (8, 4, 2):
        width, height = size[0] // scale, size[1] // scale
        if width >= enough[0] and height >= enough[1] and (width * scale, height * scale) == size:
            return width, height
    return size
