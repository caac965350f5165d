"""The rows of a tick, what came of each, and their sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from db.tables import Webcam
from worker.stages.score import Scored

OURS = ("deadline", "no_model", "model_failed", "not_recorded", "failed", "stopped")
"""Reasons that are not the webcam's: a tick with one of them is not ok."""


@dataclass(frozen=True)
class TickRow:
    """One webcam of a tick, as it was asked for."""

    url: str
    webcam: int | tuple[str, str]
    """Its id here, or its source and its id there."""
    phase: str | None = None
    captured_at: datetime | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    """To add it with where it is not known."""

    @property
    def address(self) -> str:
        """The URL without its query and fragment."""
        return self.url.partition("#")[0].partition("?")[0]


@dataclass
class TickResult:
    """What came of one row."""

    row: TickRow | None
    error: Exception | None = None
    """Why the row was refused; nothing was recorded for it."""
    webcam: Webcam | None = None
    phase: str | None = None
    scored: Scored | None = None
    """None until it is recorded, and where the row was refused."""
    failure: str | None = None
    """One word for why there is no score."""

    @property
    def named(self) -> tuple[str | None, str | None]:
        """The webcam's source and its id there, as far as they are known."""
        if self.webcam is not None:
            return self.webcam.source, self.webcam.external_id
        if self.row is not None and isinstance(self.row.webcam, tuple):
            return self.row.webcam
        return None, None

    @property
    def is_open(self) -> bool:
        """Whether nothing has come of it yet."""
        return self.error is None and self.scored is None


def counts(results: Sequence[TickResult]) -> dict[str, Any]:
    """The sum of a tick: `{ok, sunrise, sunset, ai: {...}}`, where every row is in `total_scored` or in `failures`."""
    scored = [each.scored for each in results if each.scored is not None and each.failure is None]
    reasons = Counter("refused" if each.error is not None else each.failure for each in results)
    del reasons[None]
    return {
        "ok": not any(reasons[word] for word in OURS),
        "sunrise": sum(each.phase == "sunrise" and each.error is None for each in results),
        "sunset": sum(each.phase == "sunset" and each.error is None for each in results),
        "ai": {
            "total_scored": len(scored),
            "unchanged": sum(each.path_taken == "cache-hit" for each in scored),
            "above_threshold": sum(bool(each.is_good) for each in scored),
            "snapshots_captured": sum(each.capture.captured for each in scored),
            "inference_rows_written": sum(each.wrote_inference for each in scored),
            "failures": reasons.total(),
            "failure_reasons": dict(sorted((str(word), count) for word, count in reasons.items())),
        },
    }
