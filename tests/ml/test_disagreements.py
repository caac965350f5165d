from dataclasses import replace
from datetime import timedelta
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.calibration import Calibration
from ml.disagreements import (
    AUDIT,
    AUDIT_FROM,
    BAND,
    CONTROL,
    FIRST_RATING,
    FLIP,
    LARGEST,
    ONE_MORE_RATING,
    REASONS,
    Frame,
    Settlement,
    Wanted,
    choose_review_set,
    near_pairs,
)
from ml.images.fingerprints import fingerprints_of
from ml.judgements import judgement
from ml.judgements.base import Scale
from ml.judgements.rating_labels import RatingLabel
from ml.readings import Reading
from ml.thresholds import fixed_policy
from tests.ml.rows import START
from tests.ml.skies import FRAMES, jpeg

RATING = judgement("rating")
STARS = Reading(
    "v1", RATING, "regression", Scale(0.0, 5.0), Calibration("none"), fixed_policy(4.0, "ai_rating", (0.0, 5.0))
)
BINARY = Reading("b1", RATING, "binary", Scale(0.0, 5.0), Calibration("platt"), fixed_policy(0.7, "p_good", (0.0, 1.0)))
NOBODY = Wanted(largest=0, flips=0, band=0, control=0)


def frame(snapshot_id, stars=None, label=None, num_verdicts=None, learned=False, is_test=False, settlements=()):
    return Frame(
        snapshot_id,
        webcam_id=1,
        captured_at=START + timedelta(days=snapshot_id),
        label=label,
        num_verdicts=(0 if label is None else 1) if num_verdicts is None else num_verdicts,
        raw_score=None if stars is None else stars / 5,
        learned=learned,
        is_test=is_test,
        settlements=settlements,
    )


def choose(frames, wanted, seed=0, alike=(), reading=STARS):
    return choose_review_set(frames, reading, wanted, seed, alike)


def by_reason(found, reason):
    return {each.frame.snapshot_id for each in found.chosen if reason in each.reasons}


def ids(found):
    return {each.frame.snapshot_id for each in found.asked}


quarters = st.integers(0, 20).map(lambda quarter: quarter / 4)


@st.composite
def populations(draw):
    num = draw(st.integers(0, 14))
    frames = [
        frame(
            number,
            stars=draw(st.none() | quarters),
            label=draw(st.none() | quarters),
            learned=draw(st.booleans()),
            is_test=draw(st.booleans()),
            settlements=draw(st.sampled_from([(), (Settlement("v1", 3.0, 1),), (Settlement("v0", None, None),)])),
        )
        for number in range(1, num + 1)
    ]
    pairs = list(combinations(range(1, num + 1), 2))
    alike = draw(st.lists(st.sampled_from(pairs), max_size=6)) if pairs else []
    sizes = draw(st.tuples(*[st.integers(0, 5)] * 4))
    return frames, Wanted(*sizes), draw(st.integers(0, 2**31)), alike


class TestWhateverTheFrames:
    @settings(max_examples=50)
    @given(populations(), st.randoms(use_true_random=False))
    def test_the_same_seed_gives_the_same_set_in_any_order_of_rows(self, population, random):
        frames, wanted, seed, alike = population
        shuffled, pairs = list(frames), [(b, a) for a, b in alike]
        random.shuffle(shuffled)
        random.shuffle(pairs)
        assert choose(shuffled, wanted, seed, pairs) == choose(frames, wanted, seed, alike)

    @settings(max_examples=50)
    @given(populations())
    def test_no_two_frames_that_are_certain_are_alike_nor_two_that_chance_drew(self, population):
        frames, wanted, seed, alike = population
        found = choose(frames, wanted, seed, alike)
        certain, drawn = (
            by_reason(found, LARGEST) | by_reason(found, FLIP),
            by_reason(found, BAND) | by_reason(found, CONTROL),
        )
        assert not [pair for pair in alike if set(pair) <= certain or set(pair) <= drawn]

    @settings(max_examples=50)
    @given(populations(), st.randoms(use_true_random=False))
    def test_what_chance_draws_from_knows_nothing_of_people_and_little_of_the_model(self, population, random):
        frames, wanted, seed, alike = population
        others = [
            replace(each, label=random.choice([None, 1.0, 5.0]), raw_score=random.random(), settlements=())
            for each in frames
        ]
        drawn = by_reason(choose(others, wanted, seed, alike), CONTROL)
        assert drawn == by_reason(choose(frames, wanted, seed, alike), CONTROL)

    @settings(max_examples=50)
    @given(populations())
    def test_nobody_is_left_out_but_for_one_that_stands_for_it(self, population):
        frames, _, seed, alike = population
        apart = [replace(each, label=None) for each in frames]  # nothing is certain
        everything = choose(apart, Wanted(0, 0, 0, len(frames)), seed, alike)
        chosen, drawn = ids(everything), by_reason(everything, CONTROL)
        partners = {number: {a + b - number for a, b in alike if number in (a, b)} for number in range(15)}
        left = [each for each in frames if each.snapshot_id not in chosen]
        settled = [each for each in left if not partners[each.snapshot_id] & drawn]
        assert all(each.settlements for each in settled)
        assert {each.frame.snapshot_id for each in everything.chosen} <= drawn
        assert everything.num_settled + everything.num_alike == len(left)

    @settings(max_examples=50)
    @given(populations())
    def test_each_way_brings_in_what_it_says_and_no_more_than_was_wanted(self, population):
        frames, wanted, seed, alike = population
        found = choose(frames, wanted, seed, alike)
        sizes = {LARGEST: wanted.largest, FLIP: wanted.flips, BAND: wanted.band, CONTROL: wanted.control}
        for reason in REASONS:
            way = found.ways[reason]
            assert way.chosen == len(by_reason(found, reason)) == min(sizes[reason], way.population)
            assert way.settled == sum(each.is_settled for each in found.chosen if reason in each.reasons)
            assert way.settled == 0 or reason in (BAND, CONTROL)
        for each in found.chosen:
            assert each.reasons == tuple(reason for reason in REASONS if reason in each.reasons) != ()
            assert 0.0 < each.inclusion_probability <= 1.0

    @settings(max_examples=50)
    @given(populations())
    def test_what_is_certain_contradicts_a_label_that_was_not_learned_and_judges_nothing(self, population):
        frames, wanted, seed, alike = population
        learned = {each.snapshot_id for each in frames if each.learned}
        near_learned = learned | {a for a, b in alike if b in learned} | {b for a, b in alike if a in learned}
        for each in choose(frames, wanted, seed, alike).chosen:
            told = each.frame.label is not None and each.frame.raw_score is not None
            untaught = each.frame.snapshot_id not in near_learned
            assert (each.disagreement is not None) == (told and untaught and not each.frame.is_test)
            if {LARGEST, FLIP} & set(each.reasons):
                assert each.disagreement > 0
                assert each.inclusion_probability == 1.0
            if FLIP in each.reasons:
                assert (each.frame.label >= 4.0) != (each.frame.raw_score >= 0.8)

    @settings(max_examples=50)
    @given(populations())
    def test_the_largest_disagreements_are_the_largest_by_the_kinds_own_measure(self, population):
        frames, wanted, seed, _ = population
        apart = {
            each.snapshot_id: abs(each.label / 5 - each.raw_score)
            for each in frames
            if each.label is not None
            and each.raw_score is not None
            and not (each.learned or each.is_test or each.settlements)
        }
        unsettled = [each for each in frames if not each.settlements]
        chosen = by_reason(choose(unsettled, wanted, seed), LARGEST)
        rest = [value for number, value in apart.items() if number not in chosen]
        assert all(apart[number] >= max(rest, default=0.0) - 1e-9 for number in chosen)


class TestProbabilities:
    FRAMES = [
        frame(1, 4.5, 1.0), frame(2, 4.6, 4.4), frame(3, 4.0), frame(4, 4.1, 4.1), frame(5, 3.8), frame(6, 4.2, 4.3),
        frame(7, 1.0), frame(8), frame(9, 2.0, 2.0, learned=True), frame(10, 3.9), frame(11, 3.0, 5.0),
    ]  # fmt: skip
    ALIKE = [(3, 5), (7, 8)]

    def test_are_how_often_a_frame_is_chosen_over_many_seeds(self):
        wanted, rounds = Wanted(largest=1, flips=2, band=2, control=3), 2000
        times, said = dict.fromkeys(range(1, 12), 0), {}
        for seed in range(rounds):
            for each in choose(self.FRAMES, wanted, seed, self.ALIKE).chosen:
                number = each.frame.snapshot_id
                times[number] += 1
                assert said.setdefault(number, each.inclusion_probability) == each.inclusion_probability
        assert {1, 2, 4, 6, 9, 10, 11} < set(said)
        assert len(said) == 9  # one of 3 and 5 is behind the other, and one of 7 and 8
        for number, probability in said.items():
            margin = 4 * np.sqrt(probability * (1 - probability) / rounds)
            assert times[number] / rounds == pytest.approx(probability, abs=margin)

    def test_of_a_frame_that_either_draw_may_hit_is_the_chance_that_one_does(self):
        found = choose([frame(1, 4.0), *(frame(number, 1.0) for number in range(2, 6))], Wanted(0, 0, 1, 5), seed=1)
        assert {each.frame.snapshot_id: each.inclusion_probability for each in found.chosen}[1] == 1.0
        frames = [*(frame(number, 4.0) for number in range(1, 5)), *(frame(number, 1.0) for number in range(5, 11))]
        found = choose(frames, Wanted(0, 0, 2, 3), seed=1)
        for each in found.chosen:
            expected = 1 - (1 - 2 / 4) * (1 - 3 / 10) if each.frame.snapshot_id < 5 else 3 / 10
            assert each.inclusion_probability == pytest.approx(expected)

    def test_weights_of_the_control_add_up_to_all_frames_that_stand(self):
        frames = [frame(number, 1.0) for number in range(1, 41)]
        found = choose(frames, Wanted(0, 0, 0, 8), seed=3)
        assert sum(1 / each.inclusion_probability for each in found.chosen) == pytest.approx(40)

    def test_the_control_errs_as_all_frames_do_however_many_near_duplicates_there_are(self):
        random = np.random.default_rng(0)
        labels = np.clip(np.round(random.normal(3.0, 0.9, size=600)), 1, 5)
        frames = [frame(number, 3.0, label) for number, label in enumerate(labels, start=1)]
        alike = [pair for first in range(1, 600, 4) for pair in combinations(range(first, first + 4), 2)]
        one, other = (by_reason(choose(frames, Wanted(0, 0, 0, 600), seed, alike), CONTROL) for seed in (1, 2))
        assert one == other
        assert len(one) == 150
        errors = np.abs(labels - 3.0)
        drawn = errors[np.array(sorted(one)) - 1]
        assert drawn.mean() == pytest.approx(errors.mean(), abs=3 * errors.std() / np.sqrt(150))

    def test_the_control_does_not_get_better_by_its_answers(self):
        random = np.random.default_rng(0)
        frames = [frame(n, 3.0, 3.0 + each) for n, each in enumerate(random.uniform(-2, 2, size=200), start=1)]
        errors = np.array([abs(each.label - 3.0) for each in frames])
        for seed in range(4):
            found = choose(frames, Wanted(20, 20, 0, 20), seed)
            asked = ids(found)
            frames = [
                replace(each, settlements=(Settlement("v1", each.label, STARS.direction(each.label, each.raw_score)),))
                if each.snapshot_id in asked
                else each
                for each in frames
            ]
        means = [errors[[number - 1 for number in drawn]].mean() for drawn in (
            by_reason(choose(frames, Wanted(20, 20, 0, 20), seed), CONTROL) for seed in range(300)
        )]  # fmt: skip
        assert np.mean(means) == pytest.approx(errors.mean(), abs=0.05)
        found = choose(frames, Wanted(0, 0, 0, 200), 1)
        assert found.ways[CONTROL].settled == found.num_settled > 60
        assert len(found.asked) == 200 - found.num_settled

    def test_another_seed_draws_others(self):
        frames = [frame(number, 4.0) for number in range(1, 101)]
        sets = {frozenset(ids(choose(frames, Wanted(0, 0, 5, 5), seed))) for seed in range(5)}
        assert len(sets) == 5


class TestWays:
    def test_the_band_takes_unlabelled_and_learned_frames_too(self):
        frames = [frame(1, 3.7), frame(2, 4.3, 1.0, learned=True), frame(3, 4.0, 4.0), frame(4, 3.69), frame(5, 4.31)]
        found = choose(frames, Wanted(0, 0, 9, 0))
        assert by_reason(found, BAND) == {1, 2, 3}

    def test_the_control_takes_frames_without_any_score(self):
        assert ids(choose([frame(1)], Wanted(9, 9, 9, 9))) == {1}

    def test_all_reasons_of_one_frame_are_kept(self):
        (only,) = choose([frame(1, 3.9, 4.5)], Wanted()).chosen
        assert only.reasons == (LARGEST, FLIP, BAND, CONTROL)

    def test_equals_are_taken_by_the_smaller_snapshot(self):
        frames = [frame(number, 1.0, 2.0) for number in (3, 1, 2)]
        assert ids(choose(frames, Wanted(2, 0, 0, 0))) == {1, 2}

    def test_agreement_is_no_disagreement_however_many_are_wanted(self):
        assert ids(choose([frame(1, 3.0, 3.0)], Wanted(9, 9, 0, 0))) == set()

    def test_of_near_duplicates_the_larger_disagreement_stands_for_both(self):
        found = choose([frame(1, 3.0, 2.0), frame(2, 3.0, 1.0)], Wanted(9, 9, 0, 0), alike=[(1, 2)])
        assert ids(found) == {2}
        found = choose(
            [frame(1, 3.0, 2.0), frame(2, 3.0, 1.0), frame(3, 3.0)], Wanted(9, 9, 0, 0), alike=[(1, 2), (2, 3)]
        )
        assert ids(found) == {2}

    def test_test_rows_are_asked_about_by_chance_alone(self):
        frames = [frame(1, 5.0, 0.5, is_test=True), frame(2, 4.0, 0.5, is_test=True), frame(3, 3.0, 2.5)]
        found = choose(frames, Wanted())
        assert by_reason(found, LARGEST) == {3}
        assert by_reason(found, FLIP) == set()
        assert by_reason(found, BAND) == {2}
        assert by_reason(found, CONTROL) == {1, 2, 3}

    def test_a_chain_of_likeness_does_not_swallow_its_ends(self):
        frames = [frame(number, 1.0) for number in (1, 2, 3)]
        assert ids(choose(frames, Wanted(), alike=[(1, 2), (2, 3)])) in ({1, 3}, {2})
        frames = [frame(1, 1.0, 5.0), frame(2, 1.0, 4.0), frame(3, 1.0, 3.0)]
        assert ids(choose(frames, Wanted(9, 0, 0, 0), alike=[(1, 2), (2, 3)])) == {1, 3}

    def test_a_near_duplicate_of_what_was_learned_tells_nothing_of_the_model(self):
        frames = [frame(1, 1.0, 5.0), frame(2, 1.0, 1.0, learned=True)]
        assert ids(choose(frames, Wanted(9, 9, 0, 0), alike=[(1, 2)])) == set()

    def test_the_order_tells_nothing_of_the_reason(self):
        frames = [*(frame(number, 1.0, 5.0) for number in range(1, 11)), *(frame(n, 1.0) for n in range(11, 21))]
        found = choose(frames, Wanted(10, 0, 0, 20), seed=5)
        beginning = [LARGEST in each.reasons for each in found.chosen[:10]]
        assert 2 <= sum(beginning) <= 8

    def test_binary_heads_are_asked_near_their_own_threshold(self):
        assert BINARY.band() == pytest.approx((0.64, 0.76))
        frames = [frame(1, 5 * 0.65), frame(2, 5 * 0.5), frame(3, 5 * 0.9, 2.0)]
        found = choose(frames, Wanted(), reading=BINARY)
        assert by_reason(found, BAND) == {1}
        assert by_reason(found, FLIP) == {3}

    def test_another_scale_has_the_same_band_in_stars(self):
        one_to_five = Reading(
            "v1", RATING, "regression", Scale(1.0, 5.0), Calibration("none"), fixed_policy(4.2, "ai_rating", (1.0, 5.0))
        )
        assert one_to_five.band() == pytest.approx((3.7, 4.3))
        assert one_to_five.place(0.8) == pytest.approx(4.0)

    def test_few_votes_ask_for_one_more_and_many_for_an_audit(self):
        frames = [
            frame(1, 1.0, 5.0, num_verdicts=AUDIT_FROM - 1), frame(2, 1.0, 5.0, num_verdicts=AUDIT_FROM), frame(3, 1.0),
            frame(4, 3.0, 3.0, num_verdicts=AUDIT_FROM), frame(5, 1.0, 0.0, num_verdicts=0),
        ]  # fmt: skip
        needs = {each.frame.snapshot_id: each.need for each in choose(frames, Wanted()).chosen}
        assert needs == {1: ONE_MORE_RATING, 2: AUDIT, 3: FIRST_RATING, 4: ONE_MORE_RATING, 5: ONE_MORE_RATING}


class TestSettled:
    SAID = Settlement("v1", 2.0, 1)

    @pytest.mark.parametrize(
        ("version", "stars", "label", "comes"),
        [
            ("v1", 4.5, 2.0, False),  # nothing is new
            ("v2", 4.5, 2.0, False),  # another version makes the same objection
            ("v2", 1.0, 2.0, True),  # another version objects to the contrary
            ("v1", 4.5, 2.5, True),  # the label has moved since
        ],
    )
    def test_comes_back_for_a_new_reason_only(self, version, stars, label, comes):
        reading = Reading(version, *list(STARS.__dict__.values())[1:])
        found = choose([frame(1, stars, label, settlements=(self.SAID,))], Wanted(), reading=reading)
        assert ids(found) == ({1} if comes else set())
        assert found.num_settled == (0 if comes else 1)

    @pytest.mark.parametrize(("label", "comes"), [(2.0, False), (1.0, False), (5.0, True)])
    def test_answers_for_near_duplicates_that_say_the_same(self, label, comes):
        frames = [frame(1, 4.5, 2.0, settlements=(self.SAID,)), frame(2, 4.5, label)]
        assert ids(choose(frames, Wanted(9, 9, 0, 0), alike=[(1, 2)])) == ({2} if comes else set())
        assert ids(choose(frames, Wanted(9, 9, 0, 0))) == {2}

    def test_a_near_duplicate_that_was_settled_itself_comes_back_for_its_own_new_label(self):
        frames = [frame(1, 4.5, 2.0, settlements=(self.SAID,)), frame(2, 4.5, 1.0, settlements=(self.SAID,))]
        assert ids(choose(frames, Wanted(9, 9, 0, 0), alike=[(1, 2)])) == {2}

    def test_dismissed_without_a_label_comes_back_once_somebody_rated_it(self):
        dismissed = (Settlement("v1", None, None),)
        assert ids(choose([frame(1, 4.5, settlements=dismissed)], Wanted())) == set()
        assert ids(choose([frame(1, 4.5, 2.0, settlements=dismissed)], Wanted())) == {1}


class TestInput:
    def test_a_snapshot_that_occurs_twice_is_refused(self):
        with pytest.raises(ValueError, match="twice"):
            choose([frame(1), frame(1)], Wanted())

    def test_less_than_none_is_refused(self):
        with pytest.raises(ValueError, match="band must be 0 or more"):
            Wanted(band=-1)

    def test_nothing_gives_nothing(self):
        assert choose([], Wanted()).chosen == ()
        assert choose([frame(1, 1.0, 5.0)], NOBODY).chosen == ()

    def test_labels_come_from_label_queries(self):
        assert RATING.label_of(0.0) == RatingLabel(rating=0, is_sunset=False)
        assert RATING.label_of(3.5) == RatingLabel(rating=3.5)


def test_pictures_that_are_alike_make_pairs():
    images = [jpeg(FRAMES[0]), jpeg(FRAMES[25]), jpeg(FRAMES[0], width=240, quality=60)]
    prints = fingerprints_of(lambda place: images[int(place)], ["0", "1", "2"], None)
    assert near_pairs([frame(7), frame(8), frame(3)], prints) == [(3, 7)]
