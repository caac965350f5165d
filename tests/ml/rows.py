"""Builders of candidates and manifest rows for the tests of this folder."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ml.export_dataset import Candidate
from ml.manifest import ManifestRow

START = datetime(2026, 2, 1, 17, 30, tzinfo=UTC)


def candidate(snapshot_id: int, **changes: Any) -> Candidate:
    """A good label of an image that is in the store."""
    plain = Candidate(
        snapshot_id=snapshot_id,
        webcam_id=1,
        lng=10.0,
        label_source="calculated_rating",
        label_value=4.0,
        rating_count=2,
        num_verdicts=2,
        image_path_or_url=f"https://example.org/{snapshot_id}.jpg",
        image_sha256=f"{snapshot_id:064x}",
        phase="sunset",
        captured_at=START + timedelta(hours=snapshot_id),
        named_group=None,
    )
    return replace(plain, **changes)


def row(snapshot_id: int, **changes: Any) -> ManifestRow:
    """A kept training row."""
    plain = ManifestRow(
        snapshot_id=snapshot_id,
        webcam_id=1,
        label_source="calculated_rating",
        label_value=4.0,
        target_label=4.0,
        is_good=True,
        split="train",
        seen=True,
        image_path_or_url="",
        phase="sunset",
        captured_at=START + timedelta(hours=snapshot_id),
        rating_count=1,
        image_sha256=f"{snapshot_id:064x}",
        group_id=f"group:{snapshot_id}",
        exclusion_reason=None,
    )
    return replace(plain, **changes)
