"""A diff of two runs as one HTML page that needs nothing else: pictures of what moved most, flipped and changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml.report_page import data_uri, environment

NUM_PICTURES = 24
"""Frames of each list on the page."""
PICTURED = ("flipped", "moved", "changed", "added", "removed")


def pictured_images(content: Mapping[str, Any]) -> list[str]:
    """The sha256 of every image that the page of a diff shows, each once."""
    return list(dict.fromkeys(row["image_sha256"] for name in PICTURED for row in content[name][:NUM_PICTURES]))


def diff_page(content: Mapping[str, Any], thumbnails: Mapping[str, bytes]) -> str:
    """Render what `ml.diff_runs.diff_runs` found.

    Args:
        content: the diff.
        thumbnails: JPEG bytes by the sha256 of the image; a frame without one is shown as words.
    """
    return (
        environment()
        .get_template("diff.html.j2")
        .render(
            diff=content,
            thumbnails={sha256: data_uri(data) for sha256, data in thumbnails.items()},
            num_pictures=NUM_PICTURES,
        )
    )
