"""How the raw scores of one model version are read: beside a label, at its threshold, and near it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml import thresholds
from ml.bundle import Bundle
from ml.calibration import Calibration
from ml.judgements.base import Judgement, Scale

STARS_TO_BAND_END = 0.3
SHARE_TO_BAND_END = 0.06
"""How far the band reaches to both sides of the threshold: 0.3 of 5 stars, elsewhere the same share of the scale."""
ROUNDING = 1e-9
"""Differences up to this are none."""


@dataclass(frozen=True)
class Reading:
    """How the raw scores of one version are to be read."""

    model_version: str
    judgement: Judgement
    head: str
    scale: Scale
    calibration: Calibration
    policy: Mapping[str, Any]
    """When a score counts as good."""

    @classmethod
    def of(cls, bundle: Bundle, judgement: Judgement, policy: Mapping[str, Any] | None = None) -> Reading:
        """As the bundle says; with another threshold policy than its own, if one is given."""
        return cls(
            bundle.model_version, judgement, bundle.head, bundle.score_scale, bundle.fitted_calibration,
            bundle.threshold_policy if policy is None else policy,
        )  # fmt: skip

    def band(self) -> tuple[float, float]:
        """Both ends of what is near the threshold, on the scale of `place`.

        In stars, where the version answers in stars: 3.7 to 4.3, around what people call good. Else around its threshold.
        """
        good_from = self._good_from_in_stars()
        if good_from is not None:
            return good_from - STARS_TO_BAND_END, good_from + STARS_TO_BAND_END
        low, high = (float(end) for end in self.policy["scale"])
        threshold, reach = float(self.policy["threshold"]), SHARE_TO_BAND_END * (high - low)
        return threshold - reach, threshold + reach

    def place(self, raw_score: float) -> float:
        """Where a score lies on the scale of `band`."""
        outputs = self.outputs(raw_score)
        if self._good_from_in_stars() is not None:
            return float(self.judgement.stars_per_target(self.head) or 1.0) * self._score(outputs)
        return outputs[str(self.policy["on"])]

    def is_in_band(self, raw_score: float) -> bool:
        """Whether a score is near the threshold; the ends of the band belong to it."""
        low, high = self.band()
        return low - ROUNDING <= self.place(raw_score) <= high + ROUNDING

    def outputs(self, raw_score: float) -> dict[str, float]:
        """The named outputs that belong to a raw score."""
        return self.judgement.from_raw_score(raw_score, self.scale, self.head, self.calibration)[1]

    def disagreement(self, label: float, raw_score: float) -> float:
        """How far people and the version are apart, by the kind's own measure, in [0, 1]."""
        prediction, _ = self.judgement.from_raw_score(raw_score, self.scale, self.head, self.calibration)
        return self.judgement.disagreement(self.judgement.label_of(label), prediction)

    def difference(self, label: float, raw_score: float) -> float:
        """The version less people, on the scale of its targets."""
        return self._score(self.outputs(raw_score)) - self.judgement.target(label, self.head)

    def direction(self, label: float | None, raw_score: float | None) -> int | None:
        """1 where the version says more than people, -1 where less, 0 where the same; None where one is silent."""
        if label is None or raw_score is None:
            return None
        difference = self.difference(label, raw_score)
        return 0 if abs(difference) < ROUNDING else int(math.copysign(1, difference))

    def flips(self, label: float, raw_score: float) -> bool:
        """Whether people and the version stand on opposite sides of the threshold."""
        people = self.judgement.is_good(label)
        model = thresholds.passes(self.policy, self.outputs(raw_score), (self.scale.low, self.scale.high))
        return people is not None and model is not None and people != model

    def _good_from_in_stars(self) -> float | None:
        """What people call good, where this version's answers are in the same stars."""
        return None if self.judgement.stars_per_target(self.head) is None else self.judgement.good_from

    def _score(self, outputs: Mapping[str, float]) -> float:
        arrays = {name: np.array([value]) for name, value in outputs.items()}
        return float(self.judgement.scores(arrays, self.head)[0])
