"""One process of the limit: decode, resize and onnxruntime in a loop, without HTTP, keys or rows.

    python -m bench.raw_limit BUNDLE FRAMES CORE

Reads a line `<name> <seconds>` and answers with a JSON line `{"images": n, "seconds": s, "cpu": s}`. `ours` is the function that
serving calls; `fastest` is the fastest decoder and resize known to us, whose pixels differ from those of training.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ml.images.decode import to_model_input
from ml.inference import Scorer


def main(bundle: str, frames: str, core: str) -> None:
    """Answer until the input ends."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core)})
    scorer = Scorer.load(Path(bundle))
    height, width = scorer.bundle.input_size
    version = scorer.bundle.preprocessing_version
    images = [path.read_bytes() for path in sorted(Path(frames).glob("*.jpg"))]

    def ours(data: bytes) -> object:
        return scorer.run(to_model_input(data, height, width, version)[None])

    functions: dict[str, Callable[[bytes], object]] = {"ours": ours}
    try:
        import cv2
        import simplejpeg
    except ImportError:
        pass
    else:
        cv2.setNumThreads(1)

        def fastest(data: bytes) -> object:
            pixels = simplejpeg.decode_jpeg(
                data, "RGB", fastdct=True, fastupsample=True, min_height=height, min_width=width, min_factor=1
            )
            return scorer.run(np.ascontiguousarray(cv2.resize(pixels, (width, height)))[None])

        functions["fastest"] = fastest
    print(json.dumps({"functions": sorted(functions)}), flush=True)
    for line in sys.stdin:
        name, seconds = line.split()
        function, count, began, cpu = functions[name], 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - began < float(seconds):
            function(images[count % len(images)])
            count += 1
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        print(json.dumps({"images": count, "seconds": seconds, "cpu": cpu}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
