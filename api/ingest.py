"""Keeping a frame that was sent: its bytes in the store, its rows in the database."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session

from api.schemas.webcams import SnapshotFields
from api.scoring import find_named_webcam
from db.queries import images, webcams
from db.tables import WebcamSnapshot
from ml.images.decode import ImageInfo
from ml.images.store import FileStore, image_key


@dataclass(frozen=True)
class CheckedFrame:
    """A picture that was decoded once, and where and when it was taken."""

    data: bytes
    info: ImageInfo
    fields: SnapshotFields


def keep_frame(session: Session, store: FileStore, frame: CheckedFrame) -> tuple[WebcamSnapshot, bool]:
    """Keep a frame; returns its snapshot and whether it is new.

    The bytes go to the store after the row and before the commit: bytes without a row are harmless, a row without bytes is
    not, and what retention is about to remove stays locked until its bytes are gone.

    Raises:
        NotFound: The webcam is not known.
        StoreError: The bytes cannot be kept.
    """
    info = frame.info
    webcam = find_named_webcam(session, frame.fields)
    images.add_image(session, info.sha256, info.media_type, info.width, info.height, info.byte_size)
    snapshot, is_new = webcams.add_snapshot(
        session,
        webcam_id=webcam.id,
        phase=frame.fields.phase,
        captured_at=frame.fields.captured_at,
        image_key=f"sha256:{info.sha256}",
        image_sha256=info.sha256,
        image_state="present",
        image_known_at=webcams.database_time(session),
        firebase_path=image_key(info.sha256),
    )
    if snapshot.image_state == "present":  # what retention has taken stays away
        store.put_image(frame.data)
    return snapshot, is_new
