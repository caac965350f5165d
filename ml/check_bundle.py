"""The verb `check_bundle`: judge and self-test a bundle that was made elsewhere, in a process that may die of it.

    python -m ml.check_bundle --bundle BUNDLE_DIR

The process takes a bounded amount of memory and time, since a graph of a few bytes can ask for any amount of both.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ml.bundle import Bundle, BundleError, load_bundle, read_model
from ml.events import MENDABLE, VerbError, emit, run_verb
from ml.graph_check import check_graph
from ml.inference import SELF_TEST_TOLERANCE, Scorer
from ml.thresholds import check_policy

# A graph of the largest size taken is held three times while it is opened.
MEMORY_MIB = 6 << 10
TIME_S = 120.0


class BadModel(VerbError):
    """The bundle must not be registered; the message says why."""

    code = "bad_model"


def check_bundle(directory: Path) -> dict[str, Any]:
    """Load, judge and self-test the bundle in a directory.

    Returns:
        Its `model_version`, `kind`, `head` and `model_sha256`.

    Raises:
        BadModel: It must not be registered.
    """
    try:
        bundle = load_bundle(directory)
        _check_policy(bundle)
        _check_golden_spread(bundle)
        check_graph(read_model(bundle))
        scorer = Scorer.load(directory)
        _check_batch(scorer)
    except ValueError as error:  # also of a preprocessing that this release does not know
        raise BadModel(str(error)) from error
    except MemoryError as error:
        raise BadModel("the graph needs more memory than a model may take") from error
    return {name: getattr(bundle, name) for name in ("model_version", "kind", "head", "model_sha256")}


def _check_policy(bundle: Bundle) -> None:
    try:
        check_policy(bundle.threshold_policy, bundle.scale)
    except (TypeError, ValueError) as error:
        raise BundleError(f"bundle.json states threshold_policy wrongly: {error}") from error
    if bundle.threshold_policy["on"] not in bundle.outputs:
        raise BundleError(f"the threshold is on {bundle.threshold_policy['on']!r}, which is no output of the graph")


def _check_golden_spread(bundle: Bundle) -> None:
    """Refuse golden images that would be matched by a graph that looks at nothing."""
    for name in bundle.outputs:
        values = [golden.expected[name] for golden in bundle.golden]
        if max(values) - min(values) > 10 * SELF_TEST_TOLERANCE:
            return
    raise BundleError(
        "its golden images all have the same outputs, so the self-test proves nothing; add one that scores otherwise"
    )


def _check_batch(scorer: Scorer) -> None:
    """Score all golden images at once: a graph fixed to one image passes its self-test and fails in an evaluation."""
    bundle = scorer.bundle
    outputs = scorer.score_images(
        [(bundle.directory / golden.file).read_bytes() for golden in bundle.golden], batch_size=len(bundle.golden)
    )
    for name, values in outputs.items():
        expected = np.array([golden.expected[name] for golden in bundle.golden])
        if not np.abs(values - expected).max() <= 10 * SELF_TEST_TOLERANCE:
            raise BundleError(f"several images at once give another {name} than each alone")


def _limit(time_s: float, memory_mib: int) -> None:
    """Bound what this process may take, for its whole life."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = memory_mib << 20 if hard == resource.RLIM_INFINITY else min(hard, memory_mib << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    # Should the runtime keep Python's lock, no thread of ours runs: then the system ends us.
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    processor_s = int(time_s * (os.cpu_count() or 1)) + 10
    resource.setrlimit(
        resource.RLIMIT_CPU, (processor_s if hard == resource.RLIM_INFINITY else min(hard, processor_s), hard)
    )
    watch = threading.Timer(time_s, _give_up, (time_s,))
    watch.daemon = True
    watch.start()


def _give_up(time_s: float) -> None:
    emit(
        {"event": "error", "code": BadModel.code, "message": f"the graph took more than {time_s:g} s on its own images"}
    )
    os._exit(MENDABLE)


def _run(directory: Path, time_s: float, memory_mib: int) -> dict[str, Any]:
    _limit(time_s, memory_mib)
    return check_bundle(directory)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and check; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ml.check_bundle", description="Check a bundle made elsewhere.")
    parser.add_argument("--bundle", required=True, type=Path, help="directory of the bundle")
    parser.add_argument("--time", type=float, default=TIME_S, help="seconds that it may take")
    parser.add_argument("--memory-mib", type=int, default=MEMORY_MIB, help="address space that it may take, in MiB")
    given = parser.parse_args(arguments)
    return run_verb(lambda: _run(given.bundle, given.time, given.memory_mib))


if __name__ == "__main__":
    sys.exit(main())
