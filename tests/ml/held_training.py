"""The verb `train`, which hangs in the middle of the epoch after a given checkpoint, to be killed there.

    python -m tests.ml.held_training "FIT" EPOCH <arguments of ml.train>

A kill from outside comes some time after the event that asked for it; this makes that time the same on every machine.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import torch

from ml import train
from ml.events import emit
from ml.training import checkpoints
from ml.training.dataset import ImageInputs


def main() -> int:
    """Train until the checkpoint, say `held` in the second batch after it, and wait for the end."""
    fit, epoch, *arguments = sys.argv[1:]
    seen: list[int] = []
    plain_batch = ImageInputs.batch

    def emit_and_watch(event: dict[str, Any]) -> None:
        emit(event)
        if event["event"] == "checkpoint" and (event["fit"], event["epoch"]) == (fit, int(epoch)):
            seen.append(0)

    def batch(self: ImageInputs, rows: np.ndarray, generator: torch.Generator | None) -> torch.Tensor:
        if seen and generator is not None:
            seen[0] += 1
            if seen[0] == 2:
                emit({"event": "held"})
                time.sleep(600)
        return plain_batch(self, rows, generator)

    checkpoints.emit = emit_and_watch  # type: ignore[attr-defined]
    ImageInputs.batch = batch  # type: ignore[method-assign]
    return train.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
