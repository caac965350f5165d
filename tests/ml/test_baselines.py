from datetime import timedelta

import numpy as np
import pytest

from ml.baselines import BOOSTING, FROZEN, RIDGE, SINGLE, TIME, Baselines
from ml.curves import WebcamFacts
from ml.demo.sky import make_frames, make_webcams, render
from ml.features.handmade import FEATURES, NAMES, SIZE_PX
from ml.judgements.rating import Rating
from ml.report import BASELINE, MODEL, Scores, table
from ml.splits import folds
from ml.sun import minutes_from_event
from tests.golden.make_handmade_features import sky_features
from tests.ml.rows import START, row

RATING = Rating()
POSITION = WebcamFacts(10.0, "", "", 45.0)


def colour_world(num_rows=200, noise=0.3, seed=0, permuted=False):
    """Rows of invented features whose rating is a function of two colours; and the true rating."""
    random = np.random.default_rng(seed)
    numbers = random.normal(0, 1, (num_rows, len(FEATURES))).astype(np.float32)
    warm, glow = numbers[:, NAMES.index("sky_warm")], numbers[:, NAMES.index("horizon_glow")]
    truth = np.clip(2.8 + warm + 0.5 * glow, 0, 5)
    stars = np.clip(truth + random.normal(0, noise, num_rows), 0, 5)
    if permuted:
        stars = random.permutation(stars)
    rows = [
        row(at, label_value=float(stars[at]), target_label=float(stars[at]), webcam_id=at % 8, group_id=f"g{at // 4}")
        for at in range(num_rows)
    ]
    features = {each.image_sha256: numbers[at] for at, each in enumerate(rows)}
    return rows, features, truth


def judged(baselines, rows, replicates=400, head="regression"):
    """Every baseline as if it were the model, beside the constant: name -> its skill."""
    targets = np.array([each.target_label for each in rows])
    groups = [each.group_id for each in rows]
    constant = Scores("constant", BASELINE, baselines[0].scores)
    return {
        each.name: table(RATING, head, [Scores("it", MODEL, each.scores), constant], targets, groups, replicates)[
            "skill"
        ]
        for each in baselines[1:]
    }


class TestFeatures:
    def test_where_the_label_is_a_function_of_colour_hand_made_features_are_good(self):
        rows, features, truth = colour_world()
        train, test = rows[:140], rows[140:]
        found = {each.name: each for each in Baselines(RATING, "regression", features).of(train, test)}
        targets = np.array([each.target_label for each in test])
        error = {name: np.abs(each.scores - targets).mean() for name, each in found.items()}
        assert found[SINGLE].detail == "sky_warm"
        assert error[RIDGE] < error[SINGLE] < error["predict the mean"]
        assert error[RIDGE] < 1.5 * np.abs(truth[140:] - targets).mean()
        assert error[BOOSTING] < 0.8 * error["predict the mean"]

    def test_an_oracle_beats_them_all(self):
        rows, features, truth = colour_world(noise=0.1)
        found = Baselines(RATING, "regression", features).of(rows[:140], rows[140:])
        entries = [Scores("oracle", MODEL, truth[140:])]
        entries += [Scores(each.name, BASELINE, each.scores) for each in found]
        targets = np.array([each.target_label for each in rows[140:]])
        content = table(RATING, "regression", entries, targets, [each.group_id for each in rows[140:]], 400)
        assert content["skill"]["certain"] is True
        assert all(each["certain"] for each in content["comparisons"])

    def test_permuted_labels_give_no_skill_to_any_of_them(self):
        rows, features, _ = colour_world(permuted=True, seed=3)
        dealt = folds([each.group_id for each in rows], 4, "s")
        webcams = dict.fromkeys(range(8), POSITION)
        found = Baselines(RATING, "regression", features, webcams).out_of_fold(rows, dealt)
        skills = judged(found, rows)
        assert {SINGLE, RIDGE, BOOSTING, TIME, "per-webcam mean"} < set(skills)
        for name, skill in skills.items():
            assert skill["interval"][0] <= 0.02, name
            assert skill["certain"] is False, name

    def test_a_yes_or_no_is_answered_with_probabilities(self):
        rows, features, truth = colour_world()
        rows = [row(each.snapshot_id, target_label=float(truth[at] >= 3.2), group_id=each.group_id)
                for at, each in enumerate(rows)]  # fmt: skip
        found = Baselines(RATING, "binary", features).of(rows[:140], rows[140:])
        skills = judged(found, rows[140:], head="binary")
        for each in found:
            assert ((each.scores >= 0) & (each.scores <= 1)).all(), each.name
        assert skills[RIDGE]["metric"] == "auc"
        assert skills[RIDGE]["value"] > 0.8
        assert skills[BOOSTING]["value"] > 0.6

    def test_a_few_rows_or_equal_labels_fit_no_features(self):
        rows, features, _ = colour_world(60)
        baselines = Baselines(RATING, "regression", features)
        assert RIDGE not in {each.name for each in baselines.of(rows[:15], rows[15:])}
        equal = [row(each.snapshot_id, target_label=3.0) for each in rows[:30]]
        assert RIDGE not in {each.name for each in baselines.of(equal, rows[30:])}

    def test_one_group_is_enough_to_fit(self):
        rows, features, _ = colour_world(60)
        one = [row(each.snapshot_id, target_label=each.target_label, group_id="g") for each in rows[:40]]
        found = Baselines(RATING, "regression", features).of(one, rows[40:])
        assert all(np.isfinite(each.scores).all() for each in found)

    def test_generated_skies_are_read_from_their_pixels(self):
        frames = make_frames(make_webcams(12, 2), 10, 2, frames_per_day=1)
        rows = [
            row(at, label_value=frame.beauty, target_label=frame.beauty, group_id=frame.webcam.id, phase=frame.phase)
            for at, frame in enumerate(frames)
        ]
        numbers = sky_features(np.stack([render(frame, SIZE_PX, SIZE_PX) for frame in frames]))
        features = {each.image_sha256: values for each, values in zip(rows, numbers, strict=True)}
        dealt = folds([each.group_id for each in rows], 3, "s")
        skills = judged(Baselines(RATING, "regression", features).out_of_fold(rows, dealt), rows)
        assert skills[RIDGE]["certain"] is True
        assert skills[RIDGE]["value"] > 0.3


class TestWebcams:
    def test_the_mean_of_a_webcam_is_known_only_where_it_was_seen(self):
        train = [row(1, webcam_id=1, target_label=1.0), row(2, webcam_id=1, target_label=2.0),
                 row(3, webcam_id=2, target_label=5.0)]  # fmt: skip
        test = [row(4, webcam_id=1), row(5, webcam_id=9)]
        found = {each.name: each for each in Baselines(RATING, "regression").of(train, test)}
        assert found["per-webcam mean"].scores[0] == 1.5
        assert found["per-webcam mean"].knows.tolist() == [True, False]
        assert found["predict the mean"].knows.tolist() == [True, True]
        assert "per-webcam mean" not in {each.name for each in Baselines(RATING, "regression").of(train, test[1:])}


class TestTime:
    def frames(self, num_rows=120):
        """The rating peaks a quarter of an hour after sunset, whatever the season."""
        webcams = {1: POSITION, 2: WebcamFacts(-70.0, "", "", -30.0), 3: WebcamFacts(10.0, "", ""),
                   4: WebcamFacts(None, "", "")}  # fmt: skip
        random, rows = np.random.default_rng(0), []
        for at in range(num_rows):
            webcam = webcams[1 + at % 2]
            away = float(random.uniform(-55, 55))
            noon = START.replace(hour=12) + timedelta(days=3 * at)
            event = noon - timedelta(minutes=float(
                minutes_from_event(np.array([webcam.lat]), np.array([webcam.lng]), [noon], np.array([True]))[0]
            ))  # fmt: skip
            stars = 5 - abs(away - 15) / 15
            rows.append(row(at, webcam_id=1 + at % 2, target_label=stars, captured_at=event + timedelta(minutes=away)))
        return rows, webcams

    def test_minutes_from_sunset_tell_more_than_the_phase(self):
        rows, webcams = self.frames()
        found = {each.name: each for each in Baselines(RATING, "regression", {}, webcams).of(rows[:90], rows[90:])}
        targets = np.array([each.target_label for each in rows[90:]])
        mean = np.abs(found["predict the mean"].scores - targets).mean()
        assert np.abs(found[TIME].scores - targets).mean() < 0.6 * mean
        assert found[TIME].detail == "minutes from the event"

    def test_without_a_latitude_the_local_hour_and_without_any_place_the_phase(self):
        rows, webcams = self.frames(30)
        asked = [row(900, webcam_id=3), row(901, webcam_id=4), row(902, webcam_id=77, phase="sunrise")]
        found = {each.name: each for each in Baselines(RATING, "regression", {}, webcams).of(rows, asked)}
        assert found[TIME].detail == "phase alone: 2 rows, local hour, as no latitude is known: 1 rows"
        assert found[TIME].scores[2] == pytest.approx(np.mean([each.target_label for each in rows]))

    def test_a_time_of_one_frame_does_not_repeat_its_label(self):
        rows = [row(at, target_label=2.0, webcam_id=1) for at in range(20)]
        odd = row(99, target_label=5.0, webcam_id=1, captured_at=START + timedelta(hours=500))
        found = {each.name: each for each in Baselines(RATING, "regression", {}, {1: POSITION}).of([*rows, odd], [odd])}
        assert 2.0 < found[TIME].scores[0] < 3.5


def test_a_ridge_does_not_mind_how_large_its_numbers_are():
    rows, features, _ = colour_world(80)
    tiny = {name: numbers * 1e-9 for name, numbers in features.items()}
    found = [
        {each.name: each.scores for each in Baselines(RATING, "regression", frozen=given).of(rows[:60], rows[60:])}
        for given in (features, tiny)
    ]
    np.testing.assert_allclose(found[0][FROZEN], found[1][FROZEN], atol=1e-4)
