"""Baselines: what can be said without the model that is evaluated. Each is fitted on exactly the rows it learned from.

Constants and means by webcam are said by the kind (`Judgement.baselines`); here are, for every kind, the time of day,
and simple models of hand-made features. None needs torch.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import numpy as np

from ml import simple_models
from ml.curves import WebcamFacts
from ml.features.handmade import NAMES
from ml.judgements.base import Judgement
from ml.manifest import ManifestError, ManifestRow
from ml.simple_models import Learned
from ml.sun import minutes_from_event
from ml.training.recipe import Recipe, make_recipe

FROZEN = "ridge on frozen features"
TIME = "per phase and minutes from the event"
SINGLE, RIDGE, BOOSTING = "best hand-made feature", "ridge on hand-made features", "boosting on hand-made features"
MINUTE_EDGES = (-90.0, -60.0, -45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0, 60.0, 90.0)
PSEUDO_ROWS = 5.0
"""Rows of the phase's mean that are added to every time's own: a time of one frame would repeat its label."""
Key = TypeVar("Key", str, tuple[str, str])
_NOWHERE = WebcamFacts(None, "", "")


def read_recipe(path: Path | None) -> Recipe | None:
    """The recipe of the evaluated model; None where it is not known.

    Raises:
        ManifestError: The file is no recipe.
    """
    if path is None:
        return None
    try:
        return make_recipe(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ManifestError(f"cannot read the recipe {path}: {error}") from error


@dataclass(frozen=True)
class Baseline:
    """What one baseline says of some rows."""

    name: str
    scores: np.ndarray
    """float (N,), on the scale of the targets."""
    knows: np.ndarray
    """bool (N,): rows of which it knows more than the average, e.g. whose webcam it has seen."""
    detail: str = ""
    """What was chosen in fitting it, for people."""


@dataclass(frozen=True)
class Baselines:
    """Fits and predicts all baselines of a kind's head."""

    judgement: Judgement
    head: str
    features: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Image sha256 -> hand-made features, float32 (F,). Without those of a row, no baseline looks at images."""
    webcams: Mapping[int, WebcamFacts] = field(default_factory=dict)
    """Where webcams are."""
    frozen: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Image sha256 -> features of the model's network as it was before training, float32 (D,); empty without one."""

    def of(self, learned: Sequence[ManifestRow], rows: Sequence[ManifestRow]) -> list[Baseline]:
        """What the baselines that were fitted on `learned` say of `rows`."""
        own = self.judgement.baselines(learned, rows, self.head)
        webcams = {row.webcam_id for row in learned}
        seen = np.array([row.webcam_id in webcams for row in rows], dtype=bool)
        strangers = [row for row, is_seen in zip(rows, seen, strict=True) if not is_seen]
        for_strangers = self.judgement.baselines(learned, strangers, self.head) if strangers else own
        everything = np.ones(len(rows), dtype=bool)
        found = [Baseline(name, scores, everything if name in for_strangers else seen) for name, scores in own.items()]
        found.append(self._by_time(learned, rows))
        return found + self._by_features(learned, rows) + self._by_frozen(learned, rows)

    def out_of_fold(self, rows: Sequence[ManifestRow], folds: np.ndarray) -> list[Baseline]:
        """Of each fold (int (N,), one a row) what baselines say that were fitted on the other folds, as the model's do.

        A baseline that one fold lacks (say, no webcam of it is known) falls back there to the kind's first one. A
        baseline that says the same of every row becomes one constant, its mean over folds: the other folds' mean is
        low where a fold is high, so left alone a constant would rank the rows, backwards, and look worse than chance.
        """
        parts = []
        for fold in np.unique(folds):
            inside = folds == fold
            others = [row for row, is_inside in zip(rows, inside, strict=True) if not is_inside]
            held_out = [row for row, is_inside in zip(rows, inside, strict=True) if is_inside]
            parts.append((inside, {each.name: each for each in self.of(others, held_out)}))
        on_everything = self.judgement.baselines(rows, rows, self.head)
        return [
            self._joined(name, parts, name in on_everything and np.ptp(on_everything[name]) == 0.0)
            for name in dict.fromkeys(name for _, part in parts for name in part)
        ]

    def _joined(
        self, name: str, parts: Sequence[tuple[np.ndarray, Mapping[str, Baseline]]], is_constant: bool
    ) -> Baseline:
        num_rows = len(parts[0][0])
        scores, knows, details = np.empty(num_rows), np.zeros(num_rows, dtype=bool), Counter[str]()
        for inside, part in parts:
            each = part.get(name)
            scores[inside] = (each or next(iter(part.values()))).scores
            if each is not None:
                knows[inside] = each.knows
                details.update([each.detail] if each.detail else [])
        if is_constant:
            scores = np.full(num_rows, scores.mean())
        said = ", ".join(f"{text} ({n} folds)" if n > 1 else text for text, n in details.most_common())
        return Baseline(name, scores, knows, said)

    def _by_time(self, learned: Sequence[ManifestRow], rows: Sequence[ManifestRow]) -> Baseline:
        """Means by phase and minutes from sunset or sunrise; by local solar hour where only the longitude is known."""
        targets = _targets(learned)
        mean = float(targets.mean())
        known, asked = self._times(learned), self._times(rows)
        phases = _means([phase for phase, _ in known], targets, [mean] * len(known))
        times = _means(known, targets, [phases[phase] for phase, _ in known])
        scores = np.array([times.get(key, phases.get(key[0], mean)) for key in asked])
        shown = Counter(time.split(" ")[0] for _, time in asked)
        details = {
            "minutes": "minutes from the event",
            "hour": "local hour, as no latitude is known",
            "": "phase alone",
        }
        said = ", ".join(
            details[what] if len(shown) == 1 else f"{details[what]}: {n} rows" for what, n in shown.most_common()
        )
        return Baseline(TIME, scores, np.ones(len(rows), dtype=bool), said)

    def _times(self, rows: Sequence[ManifestRow]) -> list[tuple[str, str]]:
        """(phase, bucket of time) of every row."""
        facts = [self.webcams.get(row.webcam_id, _NOWHERE) for row in rows]
        lat = np.array([np.nan if fact.lat is None else fact.lat for fact in facts], dtype=np.float64)
        lng = np.array([np.nan if fact.lng is None else fact.lng for fact in facts], dtype=np.float64)
        is_sunset = np.array([row.phase != "sunrise" for row in rows], dtype=bool)
        minutes = minutes_from_event(lat, lng, [row.captured_at for row in rows], is_sunset)
        bucket = np.digitize(minutes, MINUTE_EDGES)
        found = []
        for place, (row, fact) in enumerate(zip(rows, facts, strict=True)):
            time = ""
            if not np.isnan(minutes[place]):
                time = f"minutes {bucket[place]}"
            elif fact.lng is not None:
                time = f"hour {(row.captured_at + timedelta(hours=fact.lng / 15)).hour}"
            found.append((row.phase, time))
        return found

    def _by_features(self, learned: Sequence[ManifestRow], rows: Sequence[ManifestRow]) -> list[Baseline]:
        """The best single feature, a ridge and boosted trees; none where features lack or rows are few."""
        if not all(row.image_sha256 in self.features for row in (*learned, *rows)):
            return []
        known = Learned(self._numbers(learned), _targets(learned), [row.group_id for row in learned])
        if not known.can_be_learned:
            return []
        numbers, everything = self._numbers(rows), np.ones(len(rows), dtype=bool)
        scores, chosen = simple_models.best_single(known, numbers, NAMES)
        found = [Baseline(SINGLE, scores, everything, chosen)]
        for name, model in ((RIDGE, simple_models.ridge), (BOOSTING, simple_models.boosting)):
            scores, chosen = model(known, numbers)
            found.append(Baseline(name, scores, everything, chosen))
        return found

    def _by_frozen(self, learned: Sequence[ManifestRow], rows: Sequence[ManifestRow]) -> list[Baseline]:
        """A ridge on the features of the model's network before training; none where they lack or rows are few."""
        if not all(row.image_sha256 in self.frozen for row in (*learned, *rows)):
            return []
        known = Learned(_stacked(self.frozen, learned), _targets(learned), [row.group_id for row in learned])
        if not known.can_be_learned:
            return []
        scores, chosen = simple_models.ridge(known, _stacked(self.frozen, rows))
        return [Baseline(FROZEN, scores, np.ones(len(rows), dtype=bool), chosen)]

    def _numbers(self, rows: Sequence[ManifestRow]) -> np.ndarray:
        return _stacked(self.features, rows)


def _stacked(features: Mapping[str, np.ndarray], rows: Sequence[ManifestRow]) -> np.ndarray:
    return np.stack([features[str(row.image_sha256)] for row in rows])


def _targets(rows: Sequence[ManifestRow]) -> np.ndarray:
    return np.array([row.target_label for row in rows], dtype=np.float64)


def _means(keys: Sequence[Key], targets: np.ndarray, priors: Sequence[float]) -> dict[Key, float]:
    """Mean target by key, shrunk towards the prior of the key."""
    sums: dict[Key, float] = {}
    counts: Counter[Key] = Counter()
    of: dict[Key, float] = {}
    for key, target, prior in zip(keys, targets, priors, strict=True):
        sums[key] = sums.get(key, 0.0) + float(target)
        counts[key] += 1
        of[key] = prior
    return {key: (sums[key] + PSEUDO_ROWS * of[key]) / (counts[key] + PSEUDO_ROWS) for key in sums}
