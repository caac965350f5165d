"""From what Pillow decoded to upright RGB pixels in sRGB: colour modes, transparency, ICC profiles, orientation.

The rules are those of `ml.images.decode` and change only with its preprocessing version.
"""

import io
import struct

import numpy as np
from PIL import Image, ImageCms

# Real profiles end at about 3 MB (print CMYK); a larger one is not worth parsing.
_MAX_ICC_BYTES = 4 * 1024 * 1024
_ORIENTATION_TAG = 0x0112


def to_srgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB in sRGB, transparency laid over black."""
    alpha: Image.Image | None = None
    icc = image.info.get("icc_profile")
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode in ("RGBA", "LA"):
        alpha = image.getchannel("A")
        image = image.convert("L" if image.mode == "LA" else "RGB")
    elif "transparency" in image.info and image.mode in ("RGB", "L", "1"):
        alpha = image.convert("RGBA").getchannel("A")
    if image.mode == "I" or image.mode.startswith("I;16"):
        # convert() would clip 16 bits at 255 instead of scaling them.
        grey = np.clip(np.asarray(image), 0, 65535).astype(np.float32) / 257.0
        image = Image.fromarray(np.round(grey).astype(np.uint8))
    elif image.mode == "1":
        image = image.convert("L")
    colour = _through_profile(image, icc) if isinstance(icc, bytes) else None
    if colour is None:
        # Without a copy where there is nothing to convert: it would cost a tenth of the decoding.
        colour = image if image.mode == "RGB" else image.convert("RGB")
    if alpha is not None:
        colour = Image.composite(colour, Image.new("RGB", colour.size), alpha)
    return colour


def _through_profile(image: Image.Image, icc: bytes) -> Image.Image | None:
    """Convert by the embedded ICC profile; None if it is sRGB already, unusable, or for another kind of pixels."""
    if not icc or len(icc) > _MAX_ICC_BYTES:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        space = profile.profile.xcolor_space.strip()
        if space != {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}.get(image.mode):
            return None
        if space == "RGB" and "srgb" in ImageCms.getProfileDescription(profile).lower():
            return None
        return ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        # A broken profile says nothing about the pixels; viewers show such an image as it is.
        return None


def orientation_of(exif: object) -> int:
    """Read the orientation (1..8) from EXIF; 1 where there is none or it cannot be read.

    Only the first directory is walked, once: Pillow's own reader follows offsets and prints warnings on broken ones.
    """
    if not isinstance(exif, bytes):
        return 1
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    if start + 2 > len(tiff):
        return 1
    (entries,) = struct.unpack_from(order + "H", tiff, start)
    for at in range(start + 2, min(start + 2 + 12 * entries, len(tiff) - 11), 12):
        tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, at)
        if tag == _ORIENTATION_TAG:
            return value if kind == 3 and 1 <= value <= 8 else 1
    return 1


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def is_turned(orientation: int) -> bool:
    """Whether an EXIF orientation swaps width and height."""
    return orientation in (5, 6, 7, 8)


def turned_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn or mirror an image by its EXIF orientation; anything but 2..8 leaves it as it is."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)
