"""Which images are taken: formats by their first bytes, sizes by their headers, before any pixel is decoded."""

import struct
from typing import Literal

Reason = Literal[
    "not_an_image",
    "truncated",
    "format_not_allowed",
    "too_many_pixels",
    "too_many_frames",
    "too_large",
    "bad_metadata",
]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
# Bounds the memory of one decode to about 240 MB (four bytes a pixel); a webcam frame is 0.1 to 8 megapixels.
MAX_IMAGE_PIXELS = 60_000_000
MAX_SIDE_PX = 20_000
MAX_FRAMES = 500
MAX_IMAGE_BYTES = 25 * 1024 * 1024

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


def sniff(data: bytes) -> str:
    """Name the format by its first bytes, one of `FORMATS`.

    Raises:
        ImageError: `format_not_allowed`, or `not_an_image`.
    """
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


def declared_size(data: bytes, name: str) -> tuple[int, int] | None:
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


def check_size(width: int, height: int) -> None:
    """Refuse an image by its size in pixels.

    Raises:
        ImageError: `not_an_image` without pixels, `too_many_pixels` beyond the limits.
    """
    if width < 1 or height < 1:
        raise ImageError("not_an_image", f"the image says that it is {width} x {height} pixels")
    if width > MAX_SIDE_PX or height > MAX_SIDE_PX or width * height > MAX_IMAGE_PIXELS:
        raise ImageError(
            "too_many_pixels",
            f"the image has {width} x {height} pixels; at most {MAX_SIDE_PX} a side "
            f"and {MAX_IMAGE_PIXELS} in all are taken",
        )


def count_gif_frames(data: bytes) -> int:
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
                check_size(left + width, top + height)
            at += 11 + table_bytes(flags)
        elif block == 0x21:
            at += 2
        else:
            break
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
    return frames
