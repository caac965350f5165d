import numpy as np
import pytest

from ml.calibration import Calibration
from ml.judgements import judgement
from ml.judgements.base import Scale
from ml.readings import Reading
from ml.shadow import MEAN, ShadowedFrame, compare
from ml.thresholds import fixed_policy

RATING = judgement("rating")
FOUR_STARS = fixed_policy(4.0, "ai_rating", (0.0, 5.0))


def reading(name, head="regression", policy=FOUR_STARS):
    kind = "none" if head == "regression" else "platt"
    return Reading(name, RATING, head, Scale(0.0, 5.0), Calibration(kind), policy)


OLD, NEW = reading("old"), reading("new")


def planted(num_webcams=40, frames_each=5, shift=0.04, seed=0, labelled=True):
    """Frames whose shadow says `shift` more of a raw score, beside people who say what the shadow says."""
    random = np.random.default_rng(seed)
    frames = []
    for webcam in range(num_webcams):
        level = random.uniform(0.1, 0.8)
        for _ in range(frames_each):
            active = float(np.clip(level + random.normal(0, 0.05), 0, 0.9))
            shadow = active + shift
            label = 5 * float(np.clip(shadow + random.normal(0, 0.01), 0.2, 1)) if labelled else None
            frames.append(ShadowedFrame(webcam, active, shadow, label))
    return frames


def test_a_planted_shift_is_found_in_stars_with_n_and_an_interval_by_webcam():
    frames = planted(shift=0.04)
    found = compare(OLD, NEW, frames)
    assert (found["active"], found["shadow"], found["n"], found["n_groups"]) == ("old", "new", 200, 40)
    assert found["difference"]["mean"] == pytest.approx(0.2)
    assert found["difference"]["interval"] == pytest.approx([0.2, 0.2])  # the same for every frame
    random = np.random.default_rng(1)
    noisy = [ShadowedFrame(f.webcam_id, f.active, f.active + random.normal(0.04, 0.03), None) for f in frames]
    low, high = compare(OLD, NEW, noisy)["difference"]["interval"]
    assert low < 0.2 < high
    assert low > 0.0 and high - low < 0.1


def test_flips_are_counted_at_the_threshold_of_each_with_their_direction():
    said = [(0.9, 0.7), (0.7, 0.9), (0.75, 0.85), (0.9, 0.9), (0.1, 0.2)]
    frames = [ShadowedFrame(webcam, active, shadow, None) for webcam, (active, shadow) in enumerate(said)]
    flips = compare(OLD, NEW, frames)["flips"]
    assert (flips["n"], flips["up"], flips["down"]) == (3, 2, 1)
    assert flips["share"] == pytest.approx(0.6)
    assert (flips["active_good"], flips["shadow_good"]) == (pytest.approx(0.4), pytest.approx(0.6))
    assert flips["interval"][0] <= 0.6 <= flips["interval"][1]
    strict = reading("new", policy=fixed_policy(4.8, "ai_rating", (0.0, 5.0)))
    assert compare(OLD, strict, frames)["flips"]["shadow_good"] == 0.0


def test_no_flip_among_few_frames_is_no_proof_that_there_are_none():
    flips = compare(OLD, NEW, [ShadowedFrame(n, 0.5, 0.5, None) for n in range(20)])["flips"]
    assert flips["n"] == 0
    assert flips["interval"][0] == 0.0
    assert 0.1 < flips["interval"][1] < 0.25


def test_people_are_heard_only_of_frames_with_a_label_beside_a_baseline():
    frames = planted(shift=0.06)
    found = compare(OLD, NEW, [*frames, *planted(seed=7, labelled=False)])
    people = found["people"]
    assert (found["n"], people["n"], people["n_groups"]) == (400, 200, 40)
    by_name = {row["name"]: row["metrics"]["mae"] for row in people["rows"]}
    assert by_name["new"] < by_name["old"] < by_name[MEAN]
    (against,) = [each for each in people["comparisons"] if each["against"] == "old"]
    assert against["difference"] == pytest.approx(by_name["new"] - by_name["old"])
    assert against["certain"]


def test_without_a_frame_or_a_label_nothing_is_made_up():
    nothing = compare(OLD, NEW, [])
    assert (nothing["n"], nothing["difference"], nothing["flips"], nothing["people"]) == (0, None, None, None)
    assert compare(OLD, NEW, planted(labelled=False))["people"] is None


def test_scores_of_other_heads_are_not_subtracted():
    binary = reading("yes", "binary", fixed_policy(0.5, "p_good", (0.0, 1.0)))
    found = compare(OLD, binary, planted())
    assert (found["difference"], found["people"]) == (None, None)
    assert "different questions" in found["notes"][0]
    assert found["flips"]["n"] > 0
