"""How the GENERATED logs write down a crop: in pixels mostly, as fractions now and then, and in every way that is broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from ml.demo.culling import MadePhoto

Box = tuple[float, float, float, float]
BrokenBox = Literal["zero-size", "inverted-box", "outside-image", "full-frame"]


def box_cells(photo: MadePhoto, *, as_fractions: bool) -> tuple[list[str], Box]:
    """The cells of a photo's crop, and the box that they say: x1, y1, x2, y2 as fractions."""
    sides = (photo.width, photo.height, photo.width, photo.height)
    if as_fractions:
        cells = [f"{value:.4f}" for value in photo.crop]
        return cells, (float(cells[0]), float(cells[1]), float(cells[2]), float(cells[3]))
    pixels = [round(value * side) for value, side in zip(photo.crop, sides, strict=True)]
    said = [pixel / side for pixel, side in zip(pixels, sides, strict=True)]
    return [str(pixel) for pixel in pixels], (said[0], said[1], said[2], said[3])


def _inverted(photo: MadePhoto) -> list[str]:
    x1, y1, x2, y2 = box_cells(photo, as_fractions=False)[0]
    return [x2, y1, x1, y2]


def _outside(photo: MadePhoto) -> list[str]:
    x1, y1, _, y2 = box_cells(photo, as_fractions=False)[0]
    return [x1, y1, str(photo.width + 40), y2]


BROKEN_BOXES: dict[BrokenBox, Callable[[MadePhoto], list[str]]] = {
    "zero-size": lambda photo: box_cells(photo, as_fractions=False)[0],
    "inverted-box": _inverted,
    "outside-image": _outside,
    "full-frame": lambda photo: ["0", "0", str(photo.width), str(photo.height)],
}
"""What is wrong -> the cells. With `zero-size` the box is right, and the size of the image is given as 0 x 0."""
