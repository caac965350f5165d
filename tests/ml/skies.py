"""Generated frames for tests that need pictures which look like something."""

from __future__ import annotations

import io

from PIL import Image

from ml.demo.sky import Frame, make_frames, make_webcams, render

FRAMES: list[Frame] = make_frames(make_webcams(6, seed=2), days=10, seed=2)
"""Twenty frames of each of six webcams."""


def jpeg(frame: Frame, width: int = 320, quality: int = 90) -> bytes:
    """The frame as it was rendered at 320 x 240, then made smaller and encoded."""
    image = Image.fromarray(render(frame)).resize((width, width * 3 // 4), Image.Resampling.BICUBIC)
    opened = io.BytesIO()
    image.save(opened, "JPEG", quality=quality)
    return opened.getvalue()
