import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.demo.raters import make_raters, votes_for
from ml.demo.sky import make_frames, make_webcams
from ml.judgements.rating_labels import label_from_votes
from ml.manifest import ManifestError
from ml.noise import (
    MAX_WEIGHT,
    Noise,
    NoiseUnknown,
    Ratings,
    estimate_noise,
    posterior_mean,
    precision_weights,
    probability_good,
    read_ratings,
)
from ml.noise_floor import expected_error, expected_error_of_votes, pearson_ceiling


def ratings(votes):
    """From (snapshot, rater, stars or None)."""
    items, raters, stars = zip(*votes, strict=True)
    return Ratings(np.array(items), np.array(raters), np.array([math.nan if s is None else s for s in stars], float))


def normal_votes(num_items=2000, sd=0.6, biases=(0.5, 0.0, -0.3, -0.2), per_item=2, seed=0, whole=False):
    """Votes, and the true rating of each item."""
    random = np.random.default_rng(seed)
    mu = random.normal(3.0, 0.5 if not whole else 0.8, num_items)
    item = np.repeat(np.arange(num_items), per_item)
    rater = np.concatenate([random.choice(len(biases), per_item, replace=False) for _ in range(num_items)])
    stars = mu[item] + np.array(biases)[rater] + random.normal(0, sd, len(item))
    if whole:
        stars = np.clip(np.floor(stars + 0.5), 1, 5)
    return Ratings(item, np.array([f"rater {r}" for r in rater]), stars), mu


class TestRecovery:
    def test_planted_bias_noise_and_spread_are_found(self):
        noise = estimate_noise(normal_votes()[0])
        assert noise.sigma_w == pytest.approx(0.6, rel=0.04)
        assert noise.sigma_w_interval[0] < 0.6 < noise.sigma_w_interval[1]
        assert noise.tau_mu == pytest.approx(0.5, rel=0.06)
        np.testing.assert_allclose(noise.biases, [0.5, 0.0, -0.3, -0.2], atol=0.05)

    def test_few_items_and_many_raters_do_not_bias_sigma(self):
        # Each rater's bias costs a degree of freedom: forgetting that would make sigma a tenth too small here.
        found = [
            estimate_noise(normal_votes(30, biases=np.linspace(-0.45, 0.45, 12), per_item=2, seed=seed)[0]).sigma_w ** 2
            for seed in range(60)
        ]
        assert math.sqrt(np.mean(found)) == pytest.approx(0.6, rel=0.06)

    def test_the_interval_covers_the_truth_about_as_often_as_it_says(self):
        hits = 0
        for seed in range(100):
            low, high = estimate_noise(normal_votes(150, seed=seed)[0]).sigma_w_interval
            hits += low <= 0.6 <= high
        assert hits >= 88

    def test_an_oracle_scores_the_floor_and_not_zero(self):
        votes, mu = normal_votes(4000, seed=1)
        noise = estimate_noise(votes)
        labels = noise.labels
        error = np.abs(labels.means - mu)
        floor = expected_error(labels.counts, labels.mean_bias, noise.sigma_w).mean()
        assert error.mean() > 0.2
        assert floor == pytest.approx(error.mean(), rel=0.05)
        corrected = expected_error(labels.counts, np.zeros(len(mu)), noise.sigma_w).mean()
        assert corrected == pytest.approx(np.abs(labels.corrected - mu).mean(), rel=0.08)
        assert corrected == pytest.approx(math.sqrt(2 / math.pi) * noise.sigma_w / math.sqrt(2))
        ceiling = pearson_ceiling(labels.counts, labels.mean_bias, labels.means, noise.sigma_w)
        assert ceiling == pytest.approx(np.corrcoef(mu, labels.means)[0, 1], abs=0.02)

    def test_generated_raters_floor_is_within_ten_per_cent_of_what_an_oracle_gets(self):
        frames = make_frames(make_webcams(100, 1), 20, 1, frames_per_day=1)
        raters = make_raters(8, 3)
        votes = [(item, rater, stars or None) for item, rater, stars in votes_for(frames, raters, 2.5, 1)]
        noise = estimate_noise(ratings(votes))
        assert isinstance(noise, Noise)
        labels = noise.labels
        # The oracle knows what each rater would say of a frame on average, as often as each rates.
        random, beauty = np.random.default_rng(0), np.array([frame.beauty for frame in frames])
        share = dict(zip(noise.raters, noise.rater_counts / noise.rater_counts.sum(), strict=True))
        mu, drawn = np.zeros(len(frames)), []
        for rater in raters:
            seen = beauty[:, None] + rater.bias + rater.noise_sd * random.standard_normal((1, 2000))
            said = np.clip(np.floor(seen + 0.5), 1, 5)
            drawn.append(said[:, : round(2000 * share[rater.name])])
            mu += share[rater.name] * said.mean(axis=1)
        mu = np.where(beauty > 0, mu, 0.0)[labels.snapshot_ids]
        error = np.abs(labels.means - mu).mean()
        floor = expected_error(labels.counts, labels.mean_bias, noise.sigma_w).mean()
        assert floor == pytest.approx(error, rel=0.1)
        # Who says the usual whole star may be nearer to few votes than who says the mean; nobody beats the lowest.
        median = np.where(beauty > 0, np.median(np.concatenate(drawn, axis=1), axis=1), 0.0)[labels.snapshot_ids]
        lowest = expected_error_of_votes(noise, labels.counts).mean()
        assert lowest < min(error, np.abs(labels.means - median).mean())
        assert 0.0 < noise.verdict_disagreement < 0.05
        planted = np.array([rater.bias for rater in raters])
        planted -= planted @ [share[rater.name] for rater in raters]
        found = [noise.biases[noise.raters.index(rater.name)] for rater in raters]
        assert np.corrcoef(planted, found)[0, 1] > 0.97

    def test_whole_votes_have_a_lower_bound_that_nobody_beats(self):
        # One vote an item on average: aiming at whole stars beats the mean, and the bound of votes knows it.
        once, mu = normal_votes(1500, sd=0.5, biases=(0.0, 0.0), per_item=1, seed=4, whole=True)
        twice, _ = normal_votes(1500, sd=0.5, biases=(0.0, 0.0), per_item=2, seed=5, whole=True)
        both = Ratings(
            np.concatenate([once.snapshot_ids, twice.snapshot_ids + 1500]),
            np.concatenate([once.raters, twice.raters]), np.concatenate([once.stars, twice.stars]),
        )  # fmt: skip
        noise = estimate_noise(both)
        aimed = np.abs(np.clip(np.floor(mu + 0.5), 1, 5) - once.stars).mean()
        ones = np.ones(1500, dtype=int)
        assert expected_error_of_votes(noise, ones).mean() == pytest.approx(aimed, rel=0.1)
        assert aimed < expected_error(ones, np.zeros(1500), noise.sigma_w).mean()


class TestUnknown:
    def test_no_item_with_two_raters_is_said_plainly(self):
        found = estimate_noise(ratings([(1, "a", 3), (2, "a", 4), (3, "b", 5)]))
        assert isinstance(found, NoiseUnknown)
        assert "no item has stars from two raters" in found.reason

    def test_nothing_at_all(self):
        found = estimate_noise(Ratings(np.zeros(0, int), np.zeros(0, str), np.zeros(0)))
        assert isinstance(found, NoiseUnknown)

    def test_only_not_a_sunset(self):
        found = estimate_noise(ratings([(1, "a", None), (1, "b", None)]))
        assert isinstance(found, NoiseUnknown)
        assert "0 by verdict" in found.reason


class TestVerdicts:
    def test_not_a_sunset_enters_neither_bias_nor_noise(self):
        votes = [(item, rater, stars) for item in range(20) for rater, stars in (("a", 3), ("b", 4))]
        plain = estimate_noise(ratings(votes))
        more = estimate_noise(ratings([*votes, *((item, "c", None) for item in range(5)),
                                       *((item, rater, None) for item in range(30, 40) for rater in "ab")]))  # fmt: skip
        assert more.sigma_w == pytest.approx(plain.sigma_w)
        assert more.raters == ("a", "b")
        assert more.verdict_disagreement == pytest.approx(5 / (15 * 2 + 5 * 3 + 10 * 2))

    @given(st.lists(st.one_of(st.none(), st.integers(1, 5)), min_size=1, max_size=9))
    def test_means_are_the_labels_of_the_dataset(self, votes):
        rows = [(7, f"rater {number}", stars) for number, stars in enumerate(votes)]
        rows += [(item, f"rater {number}", 3 + number) for item in (8, 9, 10) for number in (0, 1)]
        labels = estimate_noise(ratings(rows)).labels
        value, count, _ = label_from_votes(votes)
        assert labels.snapshot_ids[0] == 7
        assert labels.means[0] == pytest.approx(value, abs=0.005)
        assert labels.counts[0] == (count if labels.is_rated[0] else 0)

    def test_a_label_by_verdict_has_no_floor(self):
        assert expected_error(np.array([0, 1]), np.zeros(2), 1.0)[0] == 0.0


class TestInvariance:
    @settings(max_examples=20, deadline=None)
    @given(st.randoms(use_true_random=False))
    def test_the_order_of_votes_does_not_matter(self, random):
        votes = normal_votes(60)[0]
        order = np.array(random.sample(range(len(votes.stars)), len(votes.stars)))
        shuffled = Ratings(votes.snapshot_ids[order], votes.raters[order], votes.stars[order])
        one, other = estimate_noise(votes), estimate_noise(shuffled)
        assert one.sigma_w == pytest.approx(other.sigma_w)
        np.testing.assert_allclose(one.biases, other.biases, atol=1e-8)

    def test_a_star_more_for_everything_moves_no_bias(self):
        votes = normal_votes(200)[0]
        moved = estimate_noise(Ratings(votes.snapshot_ids, votes.raters, votes.stars + 1))
        np.testing.assert_allclose(moved.biases, estimate_noise(votes).biases, atol=1e-8)

    def test_corrected_labels_keep_the_level_of_raw_ones(self):
        votes = normal_votes(300)[0]
        noise = estimate_noise(votes)
        assert (noise.biases * noise.rater_counts).sum() == pytest.approx(0.0, abs=1e-8)
        assert noise.labels.corrected.mean() == pytest.approx(noise.labels.means.mean())

    def test_agreement_has_no_noise_and_no_division_by_zero(self):
        noise = estimate_noise(ratings([(item, rater, 1 + item % 5) for item in range(20) for rater in "ab"]))
        assert noise.sigma_w == 0.0
        assert expected_error(noise.labels.counts, noise.labels.mean_bias, 0.0).max() < 1e-9
        assert set(probability_good(noise, noise.labels, 4.0)) == {0.0, 1.0}
        assert pearson_ceiling(noise.labels.counts, noise.labels.mean_bias, noise.labels.means, 0.0) == 1.0


class TestWeights:
    @given(st.lists(st.integers(0, 500), min_size=1, max_size=50), st.floats(0, 3), st.floats(0, 3))
    def test_have_mean_one_and_none_exceeds_the_limit(self, counts, sigma, tau):
        weights = precision_weights(np.array(counts), sigma, tau)
        assert weights.mean() == pytest.approx(1.0)
        assert weights.max() <= MAX_WEIGHT * (1 + 1e-6)
        assert weights.min() > 0

    def test_more_votes_weigh_more_and_a_seed_weighs_as_one(self):
        weights = precision_weights(np.array([0, 1, 2, 10]), 0.9, 0.5)
        assert weights[0] == weights[1] < weights[2] < weights[3]
        assert weights[2] / weights[1] == pytest.approx((0.25 + 0.81) / (0.25 + 0.405))


class TestGood:
    def test_probabilities_are_right_as_often_as_they_say(self):
        votes, mu = normal_votes(4000, biases=(0.0, 0.0), sd=0.9)
        noise = estimate_noise(votes)
        found = probability_good(noise, noise.labels, 3.5)
        for low, high in ((0.0, 0.1), (0.3, 0.5), (0.5, 0.8)):
            inside = (found >= low) & (found < high)
            assert inside.sum() > 30
            assert (mu[inside] >= 3.5).mean() == pytest.approx(found[inside].mean(), abs=0.07)

    def test_the_shrunk_rating_lies_between_the_label_and_the_mean(self):
        noise = estimate_noise(normal_votes(300)[0])
        shrunk, spread = posterior_mean(noise, noise.labels)
        inside = np.abs(shrunk - noise.mean_mu) <= np.abs(noise.labels.corrected - noise.mean_mu) + 1e-12
        assert inside.all()
        assert (spread < noise.sigma_w).all()


class TestReadRatings:
    def test_reads_what_the_stage_writes(self, tmp_path):
        path = tmp_path / "ratings.csv"
        path.write_text("snapshot_id,rater,rating,verdict,label_source\n3,ann,4,sunset,web\n3,bob,,not_a_sunset,web\n")
        found = read_ratings(path)
        assert found.raters.tolist() == ["ann", "bob"]
        assert found.stars[0] == 4.0
        assert math.isnan(found.stars[1])

    @pytest.mark.parametrize(
        "row", ["3,ann,7,sunset,web", "3,ann,,sunset,web", "3,ann,4,maybe,web", "x,ann,4,sunset,w"]
    )
    def test_a_damaged_row_is_named(self, tmp_path, row):
        path = tmp_path / "ratings.csv"
        path.write_text(f"snapshot_id,rater,rating,verdict,label_source\n{row}\n")
        with pytest.raises(ManifestError, match=r"cannot read the ratings"):
            read_ratings(path)
