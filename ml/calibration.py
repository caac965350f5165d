"""Calibration: the monotone map from a head's output to a score in [0, 1], fitted on held-out rows, never on test.

Every method is a list of knots or a logistic curve, so that it can be written into the ONNX graph without lookups.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

METHODS = ("none", "linear", "platt", "isotonic")


@dataclass(frozen=True)
class Calibration:
    """A fitted map. `none`: clip to [0, 1]. `linear` and `isotonic`: straight lines between knots, constant outside.

    `platt`: `1 / (1 + exp(-(slope * x + intercept)))`.
    """

    method: str
    knots_x: tuple[float, ...] = ()
    knots_y: tuple[float, ...] = ()
    slope: float = 1.0
    intercept: float = 0.0
    n: int = 0
    """Rows it was fitted on."""
    fitted_on: str = ""
    """Which rows: `val`, or `oof` (out of fold)."""

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Calibration:
        """Read what `to_json` wrote."""
        return cls(**{**content, "knots_x": tuple(content["knots_x"]), "knots_y": tuple(content["knots_y"])})

    def apply(self, outputs: np.ndarray) -> np.ndarray:
        """Scores in [0, 1], float64 (N,), of head outputs (N,)."""
        x = np.asarray(outputs, dtype=np.float64)
        if self.method == "platt":
            return 1.0 / (1.0 + np.exp(-(self.slope * x + self.intercept)))
        if self.method in ("linear", "isotonic"):
            return np.clip(np.interp(x, self.knots_x, self.knots_y), 0.0, 1.0)
        return np.clip(x, 0.0, 1.0)
