"""Which pages there are. A page's key stands in `static/keymap.js`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NavEntry:
    """A line of the navigation."""

    path: str
    title: str


NAVIGATION = (
    NavEntry("/", "Home"),
    NavEntry("/label", "Label"),
    NavEntry("/webcams", "Webcams"),
    NavEntry("/models", "Models"),
    NavEntry("/evaluations", "Evaluations"),
    NavEntry("/jobs", "Jobs"),
)
"""In the order in which they are shown."""
