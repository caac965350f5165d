"""The capture gate: whether a scored frame of a webcam becomes a snapshot, and which."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func
from sqlmodel import Session

from db.queries import scoring
from ml.images.decode import ImageInfo
from ml.images.store import image_key

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
    shows_snapshot: bool = False
    """Whether the snapshot that stands for the frame holds this very picture."""


@dataclass(frozen=True)
class ScoredFrame:
    """A frame that the gate judges."""

    webcam_id: int
    info: ImageInfo
    phase: str
    captured_at: datetime
    above: bool
    """Whether its score reaches the threshold."""


def is_explored(image_sha256: str, share: float) -> bool:
    """Whether a frame below the gate is kept all the same: a fixed `share` of contents, the same on every call."""
    digest = hashlib.sha256(f"explore|{image_sha256}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def judge_frame(frame: ScoredFrame, before: scoring.Before, exploration_share: float) -> CaptureVerdict:
    """What the gate says of a frame, by the snapshots that are there; with `captured` it still has to be kept.

    A frame above the threshold is kept unless a snapshot of the last 30 minutes stands for it. Below it, a share of
    frames is kept with its probability, or recall below the gate could never be measured.
    """
    sha256 = frame.info.sha256
    if before.known_id is not None:
        return CaptureVerdict(False, "known", before.known_id, before.known_probability, shows_snapshot=True)
    probability = 1.0 if frame.above else exploration_share
    if not frame.above and not is_explored(sha256, exploration_share):
        return CaptureVerdict(False, "below-threshold", None, probability if probability > 0 else None)
    if before.recent_id is not None:
        same = before.recent_sha256 == sha256
        return CaptureVerdict(False, "reused", before.recent_id, probability, shows_snapshot=same)
    return CaptureVerdict(True, "above-threshold" if frame.above else "explored", None, probability, True)


def capture(session: Session, frames: Sequence[ScoredFrame], exploration_share: float) -> list[CaptureVerdict]:
    """Apply the gate to scored frames of locked webcams, at most one of each, in one go.

    Rows of kept frames are written here. Their bytes must be in the store before the transaction is committed, and
    are the caller's to put there.
    """
    befores = scoring.snapshots_before(
        session,
        [_place(frame) | {"image_sha256": frame.info.sha256} for frame in frames],
        REUSE_WITHIN,
    )
    verdicts = [judge_frame(frame, before, exploration_share) for frame, before in zip(frames, befores, strict=True)]
    kept = [place for place, verdict in enumerate(verdicts) if verdict.captured]
    if kept:
        snapshot_ids = _keep(session, [(frames[place], verdicts[place]) for place in kept])
        for place, snapshot_id in zip(kept, snapshot_ids, strict=True):
            verdict = verdicts[place]
            verdicts[place] = CaptureVerdict(True, verdict.reason, snapshot_id, verdict.sampling_probability, True)
    return verdicts


def _place(frame: ScoredFrame) -> dict[str, object]:
    return {"webcam_id": frame.webcam_id, "captured_at": frame.captured_at}


def _keep(session: Session, kept: Sequence[tuple[ScoredFrame, CaptureVerdict]]) -> list[int]:
    # In order of content, so that two transactions with the same contents never wait for each other.
    infos = sorted({frame.info.sha256: frame.info for frame, _ in kept}.items())
    scoring.keep_frames(
        session,
        [
            {"sha256": info.sha256, "media_type": info.media_type, "width": info.width, "height": info.height,
             "byte_size": info.byte_size}
            for _, info in infos
        ],
        [
            _place(frame) | {
                "phase": frame.phase, "image_key": f"sha256:{frame.info.sha256}", "image_sha256": frame.info.sha256,
                "image_state": "present", "image_known_at": func.now(), "firebase_path": image_key(frame.info.sha256),
                "sampling_probability": verdict.sampling_probability,
            }
            for frame, verdict in kept
        ],
    )  # fmt: skip
    return scoring.snapshot_ids(
        session, [_place(frame) | {"image_key": f"sha256:{frame.info.sha256}"} for frame, _ in kept]
    )
