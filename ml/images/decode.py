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
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import GifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from ml.images.upright import orientation_of, to_srgb, turned_upright

Pixels = npt.NDArray[np.uint8]
Reason = Literal[
    "not_an_image",
    "truncated",
    "format_not_allowed",
    "too_many_pixels",
    "too_many_frames",
    "too_large",
    "bad_metadata",
]

PREPROCESSING_VERSION = 1
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
# Bounds the memory of one decode to about 240 MB (four bytes a pixel); a webcam frame is 0.1 to 8 megapixels.
MAX_IMAGE_PIXELS = 60_000_000
MAX_SIDE_PX = 20_000
MAX_FRAMES = 500
MAX_IMAGE_BYTES = 25 * 1024 * 1024

_MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
_OTHER_FORMATS: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "PDF"),
    (b"%!PS", "EPS"),
    (b"\xc5\xd0\xd3\xc6", "EPS"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
    (b"\0\0\1\0", "ICO"),
    (b"\0\0\2\0", "CUR"),
    (b"8BPS", "PSD"),
    (b"SIMPLE  =", "FITS"),
    (b"\xd0\xcf\x11\xe0", "FPX"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
)


class ImageError(ValueError):
    """The bytes are not an image that we take; `reason` is for programs, the message for people."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


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
    return read(data)[0]


def read(data: bytes) -> tuple[ImageInfo, Pixels]:
    """Decode an image once: what it is, and its pixels as `decode` returns them.

    Raises:
        ImageError: the bytes are not an image that we take.
    """
    name, upright = _open_upright(data)
    info = ImageInfo(_MEDIA_TYPES[name], upright.width, upright.height, len(data), sha256_of(data))
    return info, np.array(upright, dtype=np.uint8)


def decode(data: bytes) -> Pixels:
    """Decode an image.

    Returns:
        uint8 `(H, W, 3)`, RGB in sRGB, 0..255, EXIF-oriented.

    Raises:
        ImageError: the bytes are not an image that we take.
    """
    return read(data)[1]


def to_model_input(
    pixels_or_bytes: bytes | Pixels, height: int, width: int, version: int = PREPROCESSING_VERSION
) -> Pixels:
    """Turn an image into the fixed size that a model takes.

    Args:
        pixels_or_bytes: an encoded image, or pixels as `decode` returns them (uint8 `(H, W, 3)`, sRGB).
        height: of the result, in pixels.
        width: of the result, in pixels.
        version: the preprocessing that the model's bundle names.

    Returns:
        uint8 `(height, width, 3)`, RGB in sRGB, 0..255.

    Raises:
        ImageError: the bytes are not an image that we take.
        ValueError: the preprocessing version is unknown, or the size or the pixels make no sense.
    """
    resize = _PREPROCESSING.get(version)
    if resize is None:
        known = ", ".join(str(number) for number in sorted(_PREPROCESSING))
        raise ValueError(f"preprocessing version {version!r} is unknown; this release knows {known}")
    if height < 1 or width < 1:
        raise ValueError(f"the model input must be at least 1 x 1 pixel, not {width} x {height}")
    if isinstance(pixels_or_bytes, np.ndarray):
        return resize(image_from_pixels(pixels_or_bytes), height, width)
    return resize(_open_upright(pixels_or_bytes)[1], height, width)


def image_from_pixels(pixels: Pixels) -> Image.Image:
    """Wrap pixels (uint8 `(H, W, 3)`, sRGB, not empty) as a Pillow image.

    Raises:
        ValueError: another shape or dtype.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ValueError(f"pixels must be uint8 (H, W, 3) and not empty, not {pixels.dtype} {pixels.shape}")
    return Image.fromarray(np.ascontiguousarray(pixels))


def _squash_triangle(upright: Image.Image, height: int, width: int) -> Pixels:
    """Version 1: squash (the aspect ratio is not kept, nothing is cut off) with an antialiased triangle filter."""
    return np.array(upright.resize((width, height), Image.Resampling.BILINEAR), dtype=np.uint8)


_PREPROCESSING: dict[int, Callable[[Image.Image, int, int], Pixels]] = {1: _squash_triangle}


def _open_upright(data: bytes) -> tuple[str, Image.Image]:
    """Check and decode; the format's name and the upright RGB image in sRGB."""
    if len(data) > MAX_IMAGE_BYTES:
        raise ImageError("too_large", f"the image has {len(data)} bytes; at most {MAX_IMAGE_BYTES} are taken")
    name = _sniff(data)
    declared = _declared_size(data, name)
    if declared is not None:
        _check_size(*declared)
    try:
        with _READERS[name](io.BytesIO(data)) as opened:
            _check_size(*opened.size)
            frames = _count_gif_frames(data) if name == "GIF" else int(getattr(opened, "n_frames", 1))
            if frames > MAX_FRAMES:
                raise ImageError("too_many_frames", f"the {name} has more than {MAX_FRAMES} frames")
            opened.load()
            # PNG may name its orientation after the pixels, so it is asked for only now.
            return name, turned_upright(to_srgb(opened), orientation_of(opened.info.get("exif")))
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise ImageError("too_many_pixels", f"the {name} has too many pixels: {error}") from error
    except (ValueError, Warning) as error:
        raise ImageError("bad_metadata", f"the {name} carries metadata that cannot be read: {error}") from error
    except Exception as error:
        # Pillow's plugins raise almost any type on damaged input; after the magic number all mean the same.
        raise ImageError("truncated", f"the {name} is cut off or damaged: {error}") from error


def _sniff(data: bytes) -> str:
    """Name the format by its first bytes, one of `FORMATS`."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    other = next((name for magic, name in _OTHER_FORMATS if data.startswith(magic)), None)
    if other is None and data[4:8] == b"ftyp":
        other = "HEIC, AVIF or a video"
    if other is None and len(data) > 2 and data[:1] == b"P" and data[1:2] in b"1234567fF" and data[2:3].isspace():
        other = "PPM"
    if other is None and b"<svg" in data[:4096].lower():
        other = "SVG"
    if other is not None:
        raise ImageError("format_not_allowed", f"this is {other}; taken are {', '.join(FORMATS)}")
    if not data:
        raise ImageError("not_an_image", "the file is empty")
    raise ImageError("not_an_image", f"this is not an image; taken are {', '.join(FORMATS)}")


def _declared_size(data: bytes, name: str) -> tuple[int, int] | None:
    """Read width and height from the header before Pillow allocates anything, where they stand at a fixed place."""
    if name == "PNG" and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return width, height
    if name == "WEBP" and len(data) >= 30:
        chunk = data[12:16]
        if chunk == b"VP8X":
            return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        if chunk == b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        if chunk == b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
    if name == "GIF" and len(data) >= 10:
        width, height = struct.unpack_from("<HH", data, 6)
        return width, height
    return None


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageError("not_an_image", f"the image says that it is {width} x {height} pixels")
    if width > MAX_SIDE_PX or height > MAX_SIDE_PX or width * height > MAX_IMAGE_PIXELS:
        raise ImageError(
            "too_many_pixels",
            f"the image has {width} x {height} pixels; at most {MAX_SIDE_PX} a side "
            f"and {MAX_IMAGE_PIXELS} in all are taken",
        )


def _count_gif_frames(data: bytes) -> int:
    """Walk the GIF's blocks and count frames, giving up one past the limit.

    Pillow's own count needs seconds on a file of a million tiny frames, and the first frame may claim a place
    outside the declared screen, by which Pillow would grow it.
    """

    def table_bytes(flags: int) -> int:
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    at, frames = 13 + table_bytes(data[10]), 0
    while at < len(data) and frames <= MAX_FRAMES:
        block = data[at]
        if block == 0x2C:
            frames += 1
            left, top, width, height, flags = struct.unpack_from("<HHHHB", data, at + 1)
            if frames == 1:
                _check_size(left + width, top + height)
            at += 11 + table_bytes(flags)
        elif block == 0x21:
            at += 2
        else:
            break
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
    return frames
