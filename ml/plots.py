"""Figures of a report as inline SVG: small, the same bytes for the same numbers, readable without colour.

Every series has its own mark (filled, open, dashed, hatched) and its name written beside it. Drawn by hand rather than
by matplotlib: its SVG of one scatter plot is larger than a whole page of these, carries ids that change from run to
run, and needs the training extra where a report is written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 640, 370
LEFT, RIGHT, TOP, BOTTOM = 64, 44, 44, 48
NAME_Y, LEGEND_Y = 16, 12
ROW_PX = 30
LEGEND_ROW_PX = 20
_NICE = (1.0, 2.0, 2.5, 5.0, 10.0)


def number(value: float, digits: int = 1) -> str:
    """A coordinate or a tick, short: no zeros behind, no minus zero."""
    text = f"{value:.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def ticks(low: float, high: float, count: int = 6) -> list[float]:
    """About `count` round numbers from `low` to `high`."""
    if not high > low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / count))
    step = next(nice * power for nice in _NICE if nice * power * count >= (high - low) * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class Axis:
    """A straight map from values to pixels."""

    low: float
    high: float
    start: float
    """Pixel of `low`."""
    end: float
    """Pixel of `high`."""

    def at(self, value: float) -> float:
        """The pixel of a value; what lies beyond the ends is drawn at the end."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low or 1.0)
        return self.start + share * (self.end - self.start)


@dataclass(frozen=True)
class Line:
    """Points joined by a line."""

    name: str
    points: Sequence[tuple[float, float]]
    mark: str = "disc"
    """`disc`, `square`, `diamond`, `triangle`, `cross` or `none`."""
    dash: str = "solid"
    """`solid`, `dashed` or `dotted`."""
    intervals: Sequence[tuple[float, float] | None] = ()
    """Of each point's y; none where empty."""


@dataclass(frozen=True)
class Interval:
    """One row of an interval plot."""

    name: str
    value: float
    low: float
    high: float
    mark: str
    """`disc`, `square` or `diamond`."""
    figures: str
    """What is written at the row's end."""


def figure(title: str, description: str, parts: Iterable[str], height: float = HEIGHT, width: float = WIDTH) -> Markup:
    """An SVG of parts with what a screen reader says of it."""
    body = "".join(parts)
    return Markup(  # noqa: S704  every text in it was escaped where it was made
        f'<svg role="img" aria-label="{escape(f"{title}. {description}")}" viewBox="0 0 {number(width)} {number(height)}" '
        f'width="{number(width)}" height="{number(height)}">{body}</svg>'
    )


def text(x: float, y: float, said: object, anchor: str = "start", css: str = "") -> str:
    """A text; escaped."""
    kind = f' class="{css}"' if css else ""
    return f'<text x="{number(x)}" y="{number(y)}" text-anchor="{anchor}"{kind}>{escape(said)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    """A straight line."""
    return f'<path class="{css}" d="M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}"/>'


def rect(x: float, y: float, width: float, height: float, css: str) -> str:
    """A rectangle."""
    return (
        f'<rect class="{css}" x="{number(x)}" y="{number(y)}" width="{number(max(width, 0))}" '
        f'height="{number(max(height, 0))}"/>'
    )


def mark(shape: str, x: float, y: float, size: float = 4.5) -> str:
    """A sign at a point: a disc is filled, a square, a diamond and a triangle are open, a cross is two strokes."""
    if shape == "none":
        return ""
    if shape == "disc":
        return f'<circle class="filled" cx="{number(x)}" cy="{number(y)}" r="{number(size)}"/>'
    if shape == "square":
        return rect(x - size, y - size, 2 * size, 2 * size, "open")
    reach = size * 1.4
    if shape == "triangle":
        side = f"M{number(x)} {number(y - reach)}l{number(reach)} {number(2 * size)}h{number(-2 * reach)}z"
        return f'<path class="open" d="{side}"/>'
    if shape == "cross":
        across = f"l{number(2 * size)} {number(2 * size)}m0 {number(-2 * size)}l{number(-2 * size)} {number(2 * size)}"
        return f'<path class="open" d="M{number(x - size)} {number(y - size)}{across}"/>'
    corners = f"M{number(x)} {number(y - reach)}l{number(reach)} {number(reach)}l{number(-reach)} {number(reach)}"
    return f'<path class="open" d="{corners}l{number(-reach)} {number(-reach)}z"/>'


def series(name: str, parts: Iterable[str]) -> str:
    """What belongs to one name."""
    return f'<g class="series" role="group" aria-label="{escape(name)}">{"".join(parts)}</g>'


def frame(x: Axis, y: Axis, x_name: str, y_name: str, percent_x: bool = False, percent_y: bool = False) -> list[str]:
    """Axes with ticks, a light grid and their names."""
    parts = [
        each
        for value in ticks(y.low, y.high)
        for each in (
            line(x.start, y.at(value), x.end, y.at(value), "grid"),
            text(x.start - 8, y.at(value) + 4, _tick(value, percent_y), "end"),
        )
    ]
    for value in ticks(x.low, x.high, 8):
        parts.append(line(x.at(value), y.start, x.at(value), y.start + 5, "axis"))
        parts.append(text(x.at(value), y.start + 19, _tick(value, percent_x), "middle"))
    parts.append(line(x.start, y.start, x.end, y.start, "axis"))
    parts.append(text((x.start + x.end) / 2, y.start + 38, x_name, "middle", "name"))
    parts.append(text(x.start - LEFT + 4, NAME_Y, y_name, "start", "name"))
    return parts


def _tick(value: float, percent: bool) -> str:
    return f"{number(100 * value)} %" if percent else number(value, 2)


def sign_width(name: str) -> float:
    """Pixels that a sign with its name takes in a legend."""
    return 7.2 * len(name) + 34


def legend(entries: Sequence[tuple[str, str]], right: float = WIDTH - RIGHT, y: float = LEGEND_Y) -> list[str]:
    """Signs and names in one row that ends at `right`; an entry is (drawing of a sign at 0, name)."""
    parts: list[str] = []
    place = right
    for drawing, name in reversed(entries):
        place -= sign_width(name)
        parts.append(f'<g transform="translate({number(place)} {number(y)})">{drawing}</g>')
        parts.append(text(place + 24, y + 4, name))
    return parts


def _legend_beneath(entries: Sequence[tuple[str, str]], y: float) -> tuple[list[str], float]:
    """The same in as many rows as it takes, from `y` on; and where it ends."""
    parts: list[str] = []
    place = float(LEFT)
    for drawing, name in entries:
        if place > LEFT and place + sign_width(name) > WIDTH:
            place, y = float(LEFT), y + LEGEND_ROW_PX
        parts.append(f'<g transform="translate({number(place)} {number(y)})">{drawing}</g>')
        parts.append(text(place + 24, y + 4, name))
        place += sign_width(name) + LEGEND_Y
    return parts, y + LEGEND_ROW_PX


def plain_axes(x_range: tuple[float, float], y_range: tuple[float, float], height: float = HEIGHT) -> tuple[Axis, Axis]:
    """The axes of a figure of usual size."""
    return Axis(*x_range, LEFT, WIDTH - RIGHT), Axis(*y_range, height - BOTTOM, TOP)


def path_of(points: Sequence[tuple[float, float]]) -> str:
    """The `d` of a line through pixels."""
    return "M" + "L".join(f"{number(a)} {number(b)}" for a, b in points)


def lines_plot(
    title: str,
    description: str,
    lines: Sequence[Line],
    axes: tuple[Axis, Axis],
    names: tuple[str, str],
    extra: Iterable[str] = (),
    percent_y: bool = False,
    extra_signs: Sequence[tuple[str, str]] = (),
) -> Markup:
    """Lines with their marks and intervals over a grid, `extra` drawn beneath them and `extra_signs` in the legend, which
    stands above, or beneath where it is too long for that.
    """
    x, y = axes
    parts = [*frame(x, y, *names, percent_y=percent_y), *extra]
    for each in lines:
        pixels = [(x.at(a), y.at(b)) for a, b in each.points]
        drawn = [f'<path class="line {each.dash}" d="{path_of(pixels)}"/>'] if len(pixels) > 1 else []
        for bounds, (across, _) in zip(each.intervals, pixels, strict=False):
            if bounds is not None:
                drawn.append(line(across, y.at(bounds[0]), across, y.at(bounds[1]), "whisker"))
        drawn += [mark(each.mark, *pixel) for pixel in pixels]
        parts.append(series(each.name, drawn))
    signs = [(f'<path class="line {each.dash}" d="M0 0L18 0"/>{mark(each.mark, 9, 0)}', each.name) for each in lines]
    signs = [*extra_signs, *signs]
    room = WIDTH - RIGHT - sign_width(names[1])  # of the name that stands at the left
    if sum(sign_width(name) for _, name in signs) <= room:
        return figure(title, description, [*parts, *legend(signs)])
    below, end = _legend_beneath(signs, y.start + BOTTOM + LEGEND_Y)
    return figure(title, description, [*parts, *below], end)


def intervals_plot(
    title: str,
    description: str,
    rows: Sequence[Interval],
    name: str,
    reference: tuple[float, str] | None = None,
) -> Markup:
    """One row a name with its value and interval, figures written at the end; `reference` is a dashed line with words."""
    height = TOP + ROW_PX * len(rows) + BOTTOM
    values = [end for row in rows for end in (row.low, row.high)] + ([reference[0]] if reference else [])
    low, high = min(values), max(values)
    room = (high - low) * 0.04 or 1.0
    x = Axis(low - room, high + room, 262, 650)
    bottom = TOP + ROW_PX * len(rows)
    parts = []
    for value in ticks(x.low, x.high, 6):
        parts += [line(x.at(value), TOP - 8, x.at(value), bottom, "grid"),
                  text(x.at(value), bottom + 18, number(value, 3), "middle")]  # fmt: skip
    parts += [line(x.start, bottom, x.end, bottom, "axis"), text(x.start, bottom + 38, name, css="name")]
    if reference is not None:
        at = x.at(reference[0])
        side = "end" if at > (x.start + x.end) / 2 else "start"
        parts += [line(at, TOP - 8, at, bottom, "line dashed"),
                  text(at + (-6 if side == "end" else 6), TOP - 14, reference[1], side)]  # fmt: skip
    for place, row in enumerate(rows):
        y = TOP + ROW_PX * place + ROW_PX / 2
        css = "name" if row.mark == "disc" else ""
        whisker = line(x.at(row.low), y, x.at(row.high), y, "whisker")
        ends = "".join(line(x.at(end), y - 5, x.at(end), y + 5, "whisker") for end in (row.low, row.high))
        parts.append(text(252, y + 4, row.name, "end", css))
        parts.append(series(row.name, [whisker, ends, mark(row.mark, x.at(row.value), y)]))
        parts.append(text(664, y + 4, row.figures, css=css))
    return figure(title, description, parts, height, 900)


def bars_plot(title: str, description: str, bars: Sequence[tuple[str, int]], names: tuple[str, str]) -> Markup:
    """Upright bars with their counts above and their names below; half a page wide."""
    width, height = 500, 230
    most = max((count for _, count in bars), default=0) or 1
    x, y = Axis(0.0, float(max(len(bars), 1)), 20, width - 20), Axis(0.0, most * 1.12, height - BOTTOM, TOP)
    parts = [line(x.start, y.start, x.end, y.start, "axis")]
    for place, (name, count) in enumerate(bars):
        left, right = x.at(place + 0.12), x.at(place + 0.88)
        middle = (left + right) / 2
        drawn = [rect(left, y.at(count), right - left, y.start - y.at(count), "bar")]
        parts += [series(name, drawn), text(middle, y.at(count) - 5, count, "middle"),
                  text(middle, y.start + 18, name, "middle")]  # fmt: skip
    parts += [text((x.start + x.end) / 2, y.start + 38, names[0], "middle", "name"),
              text(4, NAME_Y, names[1], "start", "name")]  # fmt: skip
    return figure(title, description, parts, height, width)


def small_interval(value: float, low: float, high: float, bounds: tuple[float, float], other: float | None) -> Markup:
    """A table cell's figure: value and interval as disc and whisker, the baseline's value as an open square."""
    x = Axis(*bounds, 6, 174)
    parts = [line(6, 12, 174, 12, "grid"), line(x.at(low), 12, x.at(high), 12, "whisker")]
    if other is not None:
        parts.append(mark("square", x.at(other), 12, 4))
    parts.append(mark("disc", x.at(value), 12, 4))
    said = f"{number(value, 3)}, from {number(low, 3)} to {number(high, 3)}"
    said += "" if other is None else f"; baseline {number(other, 3)}"
    return figure("Interval", said, parts, 24, 180)
