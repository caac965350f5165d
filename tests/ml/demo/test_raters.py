"""Simulated raters do what is planted in them."""

import numpy as np
import pytest

from ml.demo.raters import Rater, make_raters, rate, votes_for
from ml.demo.sky import Frame, make_frames, make_webcams


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return make_frames(make_webcams(24, seed=3), 25, seed=3)


def test_raters_differ_and_more_of_them_leave_the_first_as_they_are() -> None:
    raters = make_raters(8, seed=1)
    assert raters[:3] == make_raters(3, seed=1)
    assert len({rater.name for rater in raters}) == 8
    assert len({rater.bias for rater in raters}) > 4
    assert all(abs(rater.bias) <= 0.9 and 0.25 <= rater.noise_sd <= 0.7 for rater in raters)


@pytest.mark.parametrize(("bias", "noise_sd"), [(0.0, 0.3), (0.5, 0.4), (-0.4, 0.7)])
def test_ratings_show_the_planted_bias_and_noise(frames: list[Frame], bias: float, noise_sd: float) -> None:
    rater = Rater("one", bias, noise_sd, seed=1)
    rng = np.random.default_rng(2)
    # Away from the ends of the scale, where whole ratings from 1 to 5 cut nothing off.
    middle = [frame for frame in frames if 2.4 < frame.beauty < 3.6]
    errors = np.array([rate(rater, frame, rng) - frame.beauty for frame in middle])
    # Rounding adds the variance of a uniform error of one star.
    expected_sd = (noise_sd**2 + 1 / 12) ** 0.5
    assert len(middle) > 100
    assert abs(errors.mean() - bias) < 4 * expected_sd / len(errors) ** 0.5
    assert 0.8 < errors.std() / expected_sd < 1.2


def test_nothing_to_see_is_a_verdict_and_not_a_rating(frames: list[Frame]) -> None:
    rater, rng = Rater("one", 0.0, 0.3, seed=1), np.random.default_rng(2)
    hidden = [rate(rater, frame, rng) for frame in frames if not frame.is_sunset]
    vivid = [rate(rater, frame, rng) for frame in frames if frame.beauty > 3]
    assert hidden.count(0) / len(hidden) > 0.9
    assert set(hidden) <= {0, 1}
    assert min(vivid) >= 1 and max(vivid) == 5


def test_every_frame_is_voted_on_and_nobody_votes_twice(frames: list[Frame]) -> None:
    raters = make_raters(6, seed=1)
    votes = votes_for(frames, raters, mean_votes=1.8, seed=4)
    assert {index for index, _, _ in votes} == set(range(len(frames)))
    assert len({(index, name) for index, name, _ in votes}) == len(votes)
    assert abs(len(votes) / len(frames) - 1.8) < 0.12
    assert {rating for _, _, rating in votes} == {0, 1, 2, 3, 4, 5}
    assert [index for index, _, _ in votes] == sorted(index for index, _, _ in votes)


def test_votes_are_repeatable_and_more_frames_leave_them_as_they_are(frames: list[Frame]) -> None:
    raters = make_raters(6, seed=1)
    few = votes_for(frames[:50], raters, 2.0, seed=4)
    many = votes_for(frames[:100], raters, 2.0, seed=4)
    assert many[: len(few)] == few
    assert votes_for(frames[:50], raters, 2.0, seed=5) != few


def test_the_mean_of_votes_comes_near_the_truth(frames: list[Frame]) -> None:
    raters = make_raters(6, seed=1)
    votes = votes_for(frames, raters, 3.0, seed=4)
    bias = {rater.name: rater.bias for rater in raters}
    found: dict[int, list[float]] = {}
    for index, name, rating in votes:
        if rating and frames[index].is_sunset:
            found.setdefault(index, []).append(rating - bias[name])
    errors = [np.mean(ratings) - frames[index].beauty for index, ratings in found.items()]
    assert abs(np.mean(errors)) < 0.15
    assert np.mean(np.abs(errors)) < 0.5


@pytest.mark.parametrize("mean_votes", [0.5, 7.0])
def test_an_impossible_number_of_votes_is_refused(frames: list[Frame], mean_votes: float) -> None:
    with pytest.raises(ValueError, match="from 1 to the number of raters"):
        votes_for(frames[:3], make_raters(6, seed=1), mean_votes, seed=1)
