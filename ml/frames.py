"""The frames that a report shows: where the model is furthest off, and where nobody can be sure.

Legend: N rows of the headline's table.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC
from typing import Any

import numpy as np

from ml.curves import WebcamFacts
from ml.images.decode import decode, image_from_pixels
from ml.manifest import ManifestRow
from ml.noise import Ratings
from ml.suspects import Suspect, num_in_report, why_suspect

NUM_FRAMES = 24
"""Of each kind at most: a page of thumbnails, and few enough that somebody looks at all of them."""
THUMBNAIL_PX = 160
"""Longest side."""
MAX_THUMBNAIL_BYTES = 10_000
"""72 of these, as base64, are under one megabyte."""
_QUALITIES = (75, 60, 45, 30, 15)


def worst_frames(
    rows: Sequence[ManifestRow],
    scores: np.ndarray,
    webcams: Mapping[int, WebcamFacts],
    votes: Ratings | None,
) -> list[dict[str, Any]]:
    """The rows furthest from their label, worst first; of equals the smaller snapshot id.

    Args:
        rows: with targets, (N,).
        scores: of the model, float (N,), on the scale of the targets.
        webcams: facts of webcams by id.
        votes: raw verdicts behind the labels; None where they are not known.
    """
    given = _verdicts(votes)
    order = sorted(
        range(len(rows)), key=lambda at: (-abs(_residual(rows[at], float(scores[at]))), rows[at].snapshot_id)
    )
    return [_shown(rows[at], float(scores[at]), webcams, given) for at in order[:NUM_FRAMES]]


def doubtful_frames(
    rows: Sequence[ManifestRow],
    scores: np.ndarray,
    webcams: Mapping[int, WebcamFacts],
    votes: Ratings | None,
    threshold: float | None,
) -> list[dict[str, Any]]:
    """Rows whose score is nearest to the threshold, and rows whose raters are furthest apart; `why` says which.

    Half of each where both are known; none where neither is. `threshold` is on the scale of the targets.
    """
    given = _verdicts(votes)
    apart = {row.snapshot_id: _spread(given.get(row.snapshot_id, ())) for row in rows}
    disputed = [at for at, row in enumerate(rows) if apart[row.snapshot_id] > 0]
    disputed.sort(key=lambda at: (-apart[rows[at].snapshot_id], rows[at].snapshot_id))
    near: list[int] = []
    if threshold is not None:
        near = sorted(range(len(rows)), key=lambda at: (abs(scores[at] - threshold), rows[at].snapshot_id))
    half = NUM_FRAMES // 2 if near else NUM_FRAMES
    why = {at: f"raters {apart[rows[at].snapshot_id]:g} apart" for at in disputed[:half]}
    others = [at for at in near if at not in why][: NUM_FRAMES - len(why)]
    why |= {at: f"{abs(scores[at] - threshold):.2f} from the threshold" for at in others if threshold is not None}
    return [
        _shown(rows[at], float(scores[at]), webcams, given) | {"why": why[at]} for at in (*others, *disputed[:half])
    ]


def suspect_frames(
    rows: Sequence[ManifestRow],
    suspects: Sequence[Suspect],
    webcams: Mapping[int, WebcamFacts],
    votes: Ratings | None,
) -> list[dict[str, Any]]:
    """The first suspects, most doubtful first, each with its `rank`, `doubt`, `direction`, `raters`, `by` and `why`.

    Args:
        rows: among which all suspects are.
        suspects: all of them, ranked; `num_in_report` says how many are shown.
        webcams: facts of webcams by id.
        votes: raw verdicts behind the labels; None where they are not known.
    """
    given, by_id = _verdicts(votes), {row.snapshot_id: row for row in rows}
    return [
        _shown(by_id[each.snapshot_id], each.score, webcams, given)
        | {"rank": each.rank, "doubt": each.doubt, "direction": each.direction, "raters": each.raters.split(),
           "by": each.by, "why": why_suspect(each)}
        for each in suspects[: num_in_report(len(suspects))]
    ]  # fmt: skip


def _residual(row: ManifestRow, score: float) -> float:
    assert row.target_label is not None
    return score - row.target_label


def _verdicts(votes: Ratings | None) -> dict[int, list[float]]:
    """Snapshot -> stars, 0 for "not a sunset", ascending."""
    found: dict[int, list[float]] = defaultdict(list)
    if votes is not None:
        for snapshot, stars in zip(votes.snapshot_ids.tolist(), np.nan_to_num(votes.stars).tolist(), strict=True):
            found[snapshot].append(stars)
    return {snapshot: sorted(stars) for snapshot, stars in found.items()}


def _spread(stars: Sequence[float]) -> float:
    return stars[-1] - stars[0] if len(stars) > 1 else 0.0


def _shown(
    row: ManifestRow, score: float, webcams: Mapping[int, WebcamFacts], given: Mapping[int, Sequence[float]]
) -> dict[str, Any]:
    facts = webcams.get(row.webcam_id)
    return {
        "snapshot_id": row.snapshot_id,
        "webcam_id": row.webcam_id,
        "webcam": facts.title if facts is not None and facts.title else None,
        "captured_at": row.captured_at.astimezone(UTC).isoformat(),
        "phase": row.phase,
        "label": row.label_value,
        "label_source": row.label_source,
        "target": row.target_label,
        "score": score,
        "residual": _residual(row, score),
        "ratings": row.rating_count,
        "verdicts": list(given.get(row.snapshot_id, ())),
        "image_sha256": row.image_sha256,
    }


def thumbnails(hashes: Iterable[str], read_image: Callable[[str], bytes]) -> dict[str, bytes]:
    """Small JPEGs by the sha256 of their images; the same bytes for the same image.

    Raises:
        ImageError: An image cannot be decoded.
        StoreError: `read_image` cannot read one.
    """
    return {sha256: thumbnail(read_image(sha256)) for sha256 in dict.fromkeys(hashes)}


def thumbnail(data: bytes) -> bytes:
    """A JPEG of at most THUMBNAIL_PX and MAX_THUMBNAIL_BYTES, upright and in sRGB, without metadata.

    Raises:
        ImageError: The bytes are not an image that we take.
    """
    image = image_from_pixels(decode(data))
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    written = b""
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True)
        written = buffer.getvalue()
        if len(written) <= MAX_THUMBNAIL_BYTES:
            break
    return written
