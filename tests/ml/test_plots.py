import xml.etree.ElementTree as ElementTree

import pytest

from ml.plots import Axis, Interval, Line, bars_plot, intervals_plot, lines_plot, number, plain_axes, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 5, [0, 1, 2, 3, 4, 5]), (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (-2, 2, [-2, -1, 0, 1, 2]), (3, 3, [3])],
)
def test_ticks_are_round_and_inside(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize(("value", "text"), [(1.0, "1"), (-0.04, "0"), (12.34, "12.3"), (0.0, "0"), (100.0, "100")])
def test_numbers_are_short(value, text):
    assert number(value) == text


def test_what_lies_beyond_an_axis_is_drawn_at_its_end():
    axis = Axis(0.0, 10.0, 100.0, 200.0)
    assert (axis.at(5.0), axis.at(-3.0), axis.at(99.0)) == (150.0, 100.0, 200.0)
    assert Axis(2.0, 2.0, 10.0, 20.0).at(2.0) == 10.0


def test_every_figure_is_well_formed_whatever_its_names_are():
    odd = "a<b & \"c\" 'd'"
    axes = plain_axes((0.0, 1.0), (0.0, 1.0))
    figures = [
        lines_plot(odd, odd, [Line(odd, [(0, 0), (1, 1)], intervals=[(0, 0.1), None])], axes, (odd, odd)),
        lines_plot(odd, odd, [Line(odd, [])], axes, (odd, odd)),
        intervals_plot(odd, odd, [Interval(odd, 1.0, 0.5, 1.5, "diamond", odd)], odd, (0.2, odd)),
        intervals_plot(odd, odd, [Interval(odd, 1.0, 1.0, 1.0, "disc", odd)], odd),
        bars_plot(odd, odd, [(odd, 3), ("b", 0)], (odd, odd)),
        bars_plot(odd, odd, [], (odd, odd)),
    ]
    for figure in figures:
        root = ElementTree.fromstring(figure)
        assert root.get("aria-label") == f"{odd}. {odd}"
        assert "nan" not in figure
