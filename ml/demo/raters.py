"""Simulated raters of GENERATED frames, with a bias and a noise that are known because they are planted.

A rater sees the planted beauty, adds a bias and noise of his own, and rounds to a whole rating. Tests can therefore
ask whether what the system says about its raters is true.
"""

from dataclasses import dataclass

import numpy as np

from ml.demo.sky import Frame

_NOT_A_SUNSET = 0
# How often a rater takes a frame for the other kind: calls a dull one no sunset, or rates one that shows none.
_SLIP_SHARE = 0.02


@dataclass(frozen=True)
class Rater:
    """A simulated rater."""

    name: str
    bias: float
    """Added to every true rating, in stars; positive is generous."""
    noise_sd: float
    """Standard deviation of what is added by chance to each rating, in stars."""
    seed: int


def make_raters(count: int, seed: int) -> list[Rater]:
    """Invent raters. The first n are the same whatever the count; biases are about -0.6..0.6, noise 0.25..0.7."""
    raters = []
    for number in range(count):
        rng = np.random.default_rng([seed, 3, number])
        bias = round(float(np.clip(rng.normal(0.0, 0.35), -0.9, 0.9)), 3)
        noise_sd = round(float(rng.uniform(0.25, 0.7)), 3)
        raters.append(Rater(f"generated-rater-{number + 1}", bias, noise_sd, int(rng.integers(2**31))))
    return raters


def rate(rater: Rater, frame: Frame, rng: np.random.Generator) -> int:
    """Give the rating of one rater: 1..5, or 0 for the verdict "not a sunset".

    Chance comes from `rng`. A slip happens to a dull frame or to one that shows nothing, never to a vivid one.
    """
    noisy = frame.beauty + rater.bias + rater.noise_sd * float(rng.standard_normal())
    slips = float(rng.random()) < _SLIP_SHARE
    if not frame.is_sunset:
        return 1 if slips else _NOT_A_SUNSET
    if slips and frame.beauty < 2.0:
        return _NOT_A_SUNSET
    return int(np.clip(np.floor(noisy + 0.5), 1, 5))


def votes_for(frames: list[Frame], raters: list[Rater], mean_votes: float, seed: int) -> list[tuple[int, str, int]]:
    """Let raters vote: every frame once, and further times so that `mean_votes` is met on average.

    Args:
        frames: to be rated.
        raters: each votes at most once on a frame.
        mean_votes: of a frame, from 1 to the number of raters; the further votes are Poisson distributed.
        seed: of who votes on what, and of the noise.

    Returns:
        (index of the frame, name of the rater, rating as `rate` gives it), ordered by frame.

    Raises:
        ValueError: `mean_votes` is out of range.
    """
    if not 1.0 <= mean_votes <= len(raters):
        raise ValueError(f"mean_votes must be from 1 to the number of raters ({len(raters)}), not {mean_votes}")
    votes: list[tuple[int, str, int]] = []
    for index, frame in enumerate(frames):
        # From the frame's own seed, so that more frames leave the votes on these as they are.
        rng = np.random.default_rng([seed, 4, frame.seed])
        count = min(len(raters), 1 + int(rng.poisson(mean_votes - 1.0)))
        for chosen in rng.choice(len(raters), size=count, replace=False):
            rater = raters[int(chosen)]
            own = np.random.default_rng([seed, rater.seed, frame.seed])
            votes.append((index, rater.name, rate(rater, frame, own)))
    return votes
