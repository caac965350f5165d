"""Calibration as a piece of the ONNX graph: the same curves as `Calibration.apply`, without lookups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml.calibration import Calibration, knot_form

if TYPE_CHECKING:
    import torch


def curve(calibration: Calibration, x: torch.Tensor) -> torch.Tensor:
    """Scores in [0, 1], float32 (N, 1), of head outputs or scores (N, 1): a sigmoid, or a sum of relu knots, clamped."""
    import torch

    if calibration.method == "platt":
        return torch.sigmoid(calibration.slope * x + calibration.intercept)
    k0, y0, s0, bends = knot_form(calibration)
    y = y0 + s0 * (x - k0)
    if bends:
        knots = torch.tensor([[knot for knot, _ in bends]], dtype=torch.float32, device=x.device)
        change = torch.tensor([[each for _, each in bends]], dtype=torch.float32, device=x.device)
        inside = x.clamp(calibration.knots_x[0], calibration.knots_x[-1])
        y = y + (torch.relu(inside - knots) * change).sum(dim=1, keepdim=True)
    return y.clamp(0.0, 1.0)
