"""Groups of near-duplicates among a million hashes: exact, in how much time and memory, beside comparing all with all.

    python -m bench.near_duplicates [--hashes 1000000]

GENERATED hashes of three shapes: `planted` are random with 5 % copies that differ in up to 8 bits, `clustered` lie around
10,000 centres (about 100 each, up to 9 bits away), `dark` are for a third one and the same. Groups are checked: any two
members within 8 bits, and of 500 places that are in no group none has a place in no group within 8 bits, by comparing with
all. The time of comparing all with all is extrapolated from 500 places. CPU time is what counts on a busy machine.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

import numpy as np

from ml.group_search import groups_by_hash
from ml.grouping import MAX_DISTANCE

SHAPES = ("planted", "clustered", "dark")
NUM_CHECKED = 500
Hashes = np.ndarray


def make(shape: str, count: int) -> Hashes:
    """Hashes, uint64 (count,), of a shape."""
    random = np.random.default_rng(0)
    values = random.integers(0, 2**64, count, dtype=np.uint64)
    if shape == "clustered":
        values = _changed(random.choice(values[:10_000], count), 9, random)
    else:
        copied, copies = random.integers(0, count, count // 20), random.permutation(count)[: count // 20]
        values[copies] = _changed(values[copied], 8, random)
    if shape == "dark":
        values[random.random(count) < 1 / 3] = 0
    return values


def _changed(values: Hashes, max_bits: int, random: np.random.Generator) -> Hashes:
    for _ in range(max_bits):
        flips = np.uint64(1) << random.integers(0, 64, len(values), dtype=np.uint64)
        values = values ^ np.where(random.random(len(values)) < 0.5, flips, np.uint64(0))
    return values


def check(hashes: Hashes, groups: list[list[int]]) -> float:
    """Compare with what comparing with all says; the seconds of CPU that one place took in it."""
    for group in groups:
        assert 2 <= len(group) <= 4
        assert all((int(hashes[a]) ^ int(hashes[b])).bit_count() <= MAX_DISTANCE for a in group for b in group)
    alone = np.setdiff1d(np.arange(len(hashes)), np.concatenate([np.array(group) for group in groups]))
    chosen = np.random.default_rng(1).choice(alone, min(NUM_CHECKED, len(alone)), replace=False)
    left, buffer = hashes[alone], np.empty(len(hashes), dtype=np.uint64)
    began = time.process_time()
    for place in chosen:
        np.bitwise_count(np.bitwise_xor(hashes, hashes[place], out=buffer))
    took = (time.process_time() - began) / len(chosen)
    for place in chosen:
        assert (np.bitwise_count(left ^ hashes[place]) <= MAX_DISTANCE).sum() == 1, "two that are near were left alone"
    return took


def main() -> None:
    """Measure each shape and print a line for it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--hashes", type=int, default=1_000_000)
    count = parser.parse_args().hashes
    for shape in SHAPES:
        hashes = make(shape, count)
        began, cpu_began = time.perf_counter(), time.process_time()
        groups = groups_by_hash(hashes, MAX_DISTANCE)
        took, cpu = time.perf_counter() - began, time.process_time() - cpu_began
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit >> 20
        all_with_all = check(hashes, groups) * count / 2
        print(
            f"{shape}: {count} hashes, {len(groups)} groups of {sum(map(len, groups))}: {took:.1f} s, {cpu:.1f} s of CPU, "
            f"{all_with_all / cpu:.0f} times as fast as all with all ({all_with_all:.0f} s), peak {peak} MiB of the process"
        )


if __name__ == "__main__":
    main()
