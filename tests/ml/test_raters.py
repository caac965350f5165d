"""What is planted in raters is found, and nobody honest is doubted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ml.demo.raters import Rater, make_raters, rate, votes_for
from ml.demo.sky import Frame, make_frames, make_webcams
from ml.noise import Ratings
from ml.raters import DOUBTFUL, INSUFFICIENT, MIN_SHARED, SOUND, RaterFigures, judge_raters, overall_agreement

Vote = tuple[int, str, int]
"""Snapshot, rater, 1..5 or 0 for "not a sunset"."""


def ratings(votes: list[Vote]) -> Ratings:
    items, names, stars = zip(*votes, strict=True)
    return Ratings(np.array(items), np.array(names), np.array([math.nan if s == 0 else s for s in stars], float))


def judged(votes: list[Vote]) -> dict[str, RaterFigures]:
    return {each.rater: each for each in judge_raters(ratings(votes), np.ones(len(votes), bool))}


def honest(seed: int, mean_votes: float = 3.0, days: int = 10) -> tuple[list[Frame], list[Rater], list[Vote]]:
    frames, raters = make_frames(make_webcams(20, seed), days, seed), make_raters(8, seed)
    return frames, raters, votes_for(frames, raters, mean_votes, seed)


def vandals(frames: list[Frame], seed: int) -> list[Vote]:
    """One who rates at random, one who turns the scale round, and one who always says the same; a third of all each."""
    rng, sober = np.random.default_rng([seed, 9]), Rater("sober", 0.0, 0.4, 1)
    votes: list[Vote] = []
    for place, frame in enumerate(frames):
        draws = rng.random(3) < 0.35
        seen = rate(sober, frame, rng)
        if draws[0]:
            votes.append((place, "random", int(rng.integers(1, 6))))
        if draws[1]:
            votes.append((place, "inverts", 6 - seen if seen else 5))
        if draws[2]:
            votes.append((place, "ones", 1))
    return votes


def test_planted_bias_is_recovered_to_a_fifth_of_a_star_and_noise_with_it() -> None:
    # True ratings in the middle of the scale, since at its ends whole stars cut biases off.
    rng = np.random.default_rng(5)
    biases = {"a": 0.8, "b": 0.3, "c": 0.0, "d": -0.4, "e": -0.7}
    spreads = {"a": 0.3, "b": 0.5, "c": 0.7, "d": 0.4, "e": 0.6}
    votes = []
    for item, true in enumerate(rng.uniform(2.3, 3.7, 400)):
        for name in rng.choice(list(biases), size=3, replace=False):
            noisy = true + biases[name] + spreads[name] * rng.standard_normal()
            votes.append((item, str(name), int(np.clip(np.floor(noisy + 0.5), 1, 5))))
    found = judged(votes)
    for name, planted in biases.items():
        bias, noise = found[name].bias, found[name].noise
        assert bias is not None and noise is not None
        assert abs(bias.value - planted) < 0.2
        assert bias.low < bias.value < bias.high < bias.low + 0.3
        assert abs(noise.value - math.hypot(spreads[name], 1 / math.sqrt(12))) < 0.12  # rounding adds its own
        assert noise.low <= noise.value <= noise.high


@pytest.mark.parametrize("seed", range(3))
def test_planted_bias_of_simulated_raters_is_recovered_also_over_the_whole_scale(seed: int) -> None:
    _, raters, votes = honest(seed, mean_votes=4.0, days=20)
    found, mean = judged(votes), np.mean([rater.bias for rater in raters])
    errors = [found[rater.name].bias.value - (rater.bias - mean) for rater in raters]  # type: ignore[union-attr]
    assert max(map(abs, errors)) < 0.2


@pytest.mark.parametrize("mean_votes", [1.5, 3.0])
def test_over_many_seeds_no_honest_rater_is_doubted(mean_votes: float) -> None:
    doubted = [
        each for seed in range(12) for each in judged(honest(seed, mean_votes)[2]).values() if each.state != SOUND
    ]
    assert doubted == []


@pytest.mark.parametrize("seed", range(6))
def test_vandals_are_doubted_each_for_its_reason_and_the_honest_beside_them_are_not(seed: int) -> None:
    frames, _, votes = honest(seed)
    found = judged(votes + vandals(frames, seed))
    assert {name for name, each in found.items() if each.state == DOUBTFUL} == {"random", "inverts", "ones"}
    assert "no relation" in found["random"].reason or "far out" in found["random"].reason  # chance may correlate
    assert "run against" in found["inverts"].reason
    assert 'was rated "1"' in found["ones"].reason
    random, inverts = found["random"].agreement, found["inverts"].agreement
    assert random is not None and random.high < 0.5
    assert inverts is not None and inverts.high < 0.0
    assert found["ones"].agreement is None


def test_a_rater_who_is_right_half_the_time_is_far_out_by_noise() -> None:
    rng = np.random.default_rng(3)
    frames, _, votes = honest(3, mean_votes=4.0)
    sober = Rater("sober", 0.0, 0.4, 1)
    votes += [
        (place, "careless", rate(sober, frame, rng) if rng.random() < 0.5 else int(rng.integers(1, 6)))
        for place, frame in enumerate(frames)
    ]
    found = judged(votes)
    assert found["careless"].agreement is not None and found["careless"].agreement.low > 0.0
    assert (found["careless"].state, "far out" in found["careless"].reason) == (DOUBTFUL, True)
    assert sum(each.state == DOUBTFUL for each in found.values()) == 1


def test_a_few_ratings_accuse_nobody() -> None:
    frames, _, votes = honest(1)
    few = [(place, "new", 6 - max(1, round(frame.beauty))) for place, frame in enumerate(frames)][: MIN_SHARED - 1]
    found = judged(votes + few)["new"]
    assert (found.state, found.bias, found.agreement) == (INSUFFICIENT, None, None)


def test_of_two_raters_who_contradict_each_other_nobody_is_doubted() -> None:
    frames, _, _ = honest(1)
    votes = [(place, "a", max(1, round(frame.beauty))) for place, frame in enumerate(frames)]
    votes += [(place, "b", 6 - vote) for place, _, vote in votes]
    found = judged(votes)
    assert {each.state for each in found.values()} == {SOUND}
    assert found["a"].agreement is not None and found["a"].agreement.value < -0.9


def test_where_snapshots_hardly_differ_nobody_is_doubted_for_having_no_relation() -> None:
    rng = np.random.default_rng(2)
    votes = [(item, name, int(np.clip(round(4 + 0.5 * rng.standard_normal()), 1, 5)))
             for item in range(200) for name in "abcde"]  # fmt: skip
    votes += [(item, "four", 4) for item in range(200)]
    assert {each.state for each in judged(votes).values()} == {SOUND}


def test_an_excluded_rater_is_compared_but_nobody_is_compared_with_him() -> None:
    frames, _, votes = honest(2)
    bad = vandals(frames, 2)
    both = ratings(votes + bad)
    counts = np.array([True] * len(votes) + [False] * len(bad))
    found = {each.rater: each for each in judge_raters(both, counts)}
    alone = judged(votes)
    assert found["random"].state == found["inverts"].state == DOUBTFUL
    for name, each in alone.items():
        assert found[name].bias == each.bias and found[name].noise == each.noise
    assert overall_agreement(both, counts) == overall_agreement(ratings(votes), counts[: len(votes)])


def test_alpha_is_that_of_the_published_example() -> None:
    # Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", part C: interval alpha 0.849.
    data = {
        "A": [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        "B": [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        "C": [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        "D": [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    }
    votes = [(item, who, v) for who, values in data.items() for item, v in enumerate(values) if v is not None]
    found = overall_agreement(ratings(votes), np.ones(len(votes), bool))
    assert found.alpha is not None
    assert round(found.alpha.value, 3) == 0.849
    assert found.alpha.low < found.alpha.value <= found.alpha.high
    assert (found.num_snapshots, found.num_raters) == (11, 4)


@pytest.mark.parametrize(
    "votes", [[(1, "a", 3)], [(1, "a", 0), (1, "b", 0)], [(1, "a", 3), (1, "b", 3)], [(1, "a", 3), (2, "b", 4)]]
)
def test_where_agreement_is_undefined_none_is_named(votes: list[Vote]) -> None:
    assert overall_agreement(ratings(votes), np.ones(len(votes), bool)).alpha is None
    assert {each.state for each in judged(votes).values()} == {INSUFFICIENT}


def test_nothing_rated_is_no_error() -> None:
    empty = Ratings(np.array([], np.int64), np.array([], np.str_), np.array([], float))
    assert judge_raters(empty, np.array([], bool)) == []
    assert overall_agreement(empty, np.array([], bool)).alpha is None


def test_a_rater_who_never_sees_a_sunset_is_compared_by_verdict() -> None:
    frames, _, votes = honest(4)
    votes += [(place, "blind", 0) for place in range(len(frames))]
    found = judged(votes)["blind"]
    assert (found.state, found.bias, '"not a sunset"' in found.reason) == (DOUBTFUL, None, True)
