"""The table of raters: what each did, what the others tell of it, and which models the doubtful ones reached."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlmodel import Session

from db.errors import NotFound
from db.queries import exclusions, lineage, raters
from db.queries.exclusions import Subject
from db.queries.lineage import RunUse
from db.queries.raters import RaterActivity
from ml.noise import Ratings
from ml.raters import DOUBTFUL, INSUFFICIENT, Figure, Overall, RaterFigures, judge_raters, overall_agreement

NOTHING_CURRENT = RaterFigures("", 0, None, None, None, INSUFFICIENT, "every rating was taken back")


@dataclass(frozen=True)
class RaterRow:
    """One rater, whole."""

    activity: RaterActivity
    figures: RaterFigures
    excluded: bool
    """Whether the rater was excluded by name; single ratings may not count because of their import."""
    models: Sequence[RunUse] | None
    """Runs with a row that this rater has a part in, newest first; None where it was not asked (not doubtful)."""

    @property
    def id(self) -> int:
        """The place in lists."""
        return self.activity.id

    @property
    def exclude_with(self) -> str | None:
        """The command that has these ratings not count, for a doubtful rater whose ratings still do."""
        if self.figures.state != DOUBTFUL or self.excluded:
            return None
        reason = shlex.quote(self.figures.reason.partition(":")[0])
        return f"afterglow exclude rater {shlex.quote(self.activity.rater)} --reason {reason}"


def rater_rows(session: Session, *, only: str | None = None) -> tuple[list[RaterRow], Overall]:
    """All raters in order of their first rating, or one, and how far all agree.

    With `only` the one rater of that name, with the models whatever the state.

    Raises:
        NotFound: Nobody is called `only`.
    """
    active = raters.list_raters(session)
    if only is not None and only not in {each.rater for each in active}:
        raise NotFound(f"nobody called {only} has rated anything; `afterglow raters` lists who has")
    verdicts = raters.current_verdicts(session)
    ratings = Ratings(
        np.array([each.snapshot_id for each in verdicts], dtype=np.int64),
        np.array([each.rater for each in verdicts], dtype=np.str_),
        np.array([math.nan if each.rating is None else each.rating for each in verdicts], dtype=np.float64),
    )
    counts = np.array([each.counts for each in verdicts], dtype=bool)
    figures = {each.rater: each for each in judge_raters(ratings, counts)}
    excluded = exclusions.excluded_now(session)
    rows = []
    for each in active:
        if only not in (None, each.rater):
            continue
        subject, found = Subject(rater=each.rater), figures.get(each.rater, NOTHING_CURRENT)
        asked = only is not None or found.state == DOUBTFUL
        models = lineage.runs_that_used(session, [subject]) if asked else None
        rows.append(RaterRow(each, found, subject in excluded, models))
    return rows, overall_agreement(ratings, counts)


def rater_facts(row: RaterRow) -> dict[str, Any]:
    """A row as JSON."""
    activity, found = row.activity, row.figures
    return {
        "id": row.id,
        "rater": activity.rater,
        "ratings": activity.num_ratings,
        "shared": found.num_shared,
        "share_not_sunset": activity.num_not_sunset / activity.num_ratings if activity.num_ratings else None,
        "per_minute": activity.per_minute,
        "first_at": activity.first_at,
        "last_at": activity.last_at,
        "excluded": row.excluded,
        "bias": _figure(found.bias),
        "noise": _figure(found.noise),
        "agreement": _figure(found.agreement),
        "state": found.state,
        "reason": found.reason,
        "models": None if row.models is None else [{**use.__dict__, "share": use.share} for use in row.models],
        "exclude_with": row.exclude_with,
    }


def overall_facts(overall: Overall) -> dict[str, Any]:
    """How far all raters agree, as JSON."""
    return {"alpha": _figure(overall.alpha), "snapshots": overall.num_snapshots, "raters": overall.num_raters}


def _figure(figure: Figure | None) -> dict[str, float] | None:
    return None if figure is None else dict(figure.__dict__)
