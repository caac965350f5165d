"""The capture gate: whether a scored frame of a webcam becomes a snapshot, and which."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session

from db.queries import images, webcams
from db.tables import Webcam, WebcamSnapshot
from ml.images.decode import ImageInfo

REUSE_WITHIN = timedelta(minutes=30)
"""A snapshot of the same webcam younger than this stands for the new frame too."""


@dataclass(frozen=True)
class CaptureVerdict:
    """What the gate said of one frame."""

    captured: bool
    """A new snapshot was kept."""
    reason: str
    """`above-threshold`, `below-threshold`, `explored`, `known` (this very frame was kept before), `reused`,
    `unchanged` (same picture as before) or `no-score`."""
    snapshot_id: int | None
    """The snapshot that stands for the frame: the new one, or the reused one."""
    sampling_probability: float | None
    """Chance that a frame like this is kept."""


def is_explored(image_sha256: str, share: float) -> bool:
    """Whether a frame below the gate is kept all the same: a fixed `share` of contents, the same on every call."""
    digest = hashlib.sha256(f"explore|{image_sha256}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def capture(
    session: Session,
    webcam: Webcam,
    info: ImageInfo,
    *,
    phase: str,
    captured_at: datetime,
    above: bool,
    exploration_share: float,
    image_path: str,
) -> CaptureVerdict:
    """Apply the gate to a scored frame whose bytes are in the store already. The webcam's row must be locked.

    A frame above the threshold is kept unless a snapshot of the last 30 minutes stands for it. Below it, a share of
    frames is kept with its probability, or recall below the gate could never be measured.
    """
    assert webcam.id is not None
    known = webcams.find_snapshot(session, webcam.id, captured_at, info.sha256)
    if known is not None:
        return CaptureVerdict(False, "known", known.id, known.sampling_probability)
    probability = 1.0 if above else exploration_share
    if not above and not is_explored(info.sha256, exploration_share):
        return CaptureVerdict(False, "below-threshold", None, probability if probability > 0 else None)
    recent = webcams.recent_snapshot(session, webcam.id, captured_at, REUSE_WITHIN)
    if recent is not None:
        return CaptureVerdict(False, "reused", recent.id, probability)
    snapshot = _keep(session, webcam.id, info, phase, captured_at, probability, image_path)
    return CaptureVerdict(True, "above-threshold" if above else "explored", snapshot.id, probability)


def _keep(
    session: Session,
    webcam_id: int,
    info: ImageInfo,
    phase: str,
    captured_at: datetime,
    probability: float,
    image_path: str,
) -> WebcamSnapshot:
    images.add_image(session, info.sha256, info.media_type, info.width, info.height, info.byte_size)
    snapshot, _ = webcams.add_snapshot(
        session,
        webcam_id=webcam_id,
        phase=phase,
        captured_at=captured_at,
        image_key=f"sha256:{info.sha256}",
        image_sha256=info.sha256,
        image_state="present",
        image_known_at=webcams.database_time(session),
        firebase_path=image_path,
        sampling_probability=probability,
    )
    return snapshot
