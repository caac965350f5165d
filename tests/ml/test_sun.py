from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.sun import minutes_from_event


def minutes(lat, lng, moment, is_sunset):
    return float(minutes_from_event(np.array([lat]), np.array([lng]), [moment], np.array([is_sunset]))[0])


class TestKnownTimes:
    # To the minute, as almanacs print them.
    @pytest.mark.parametrize(
        ("lat", "lng", "moment", "is_sunset"),
        [
            (51.5074, -0.1278, datetime(2024, 6, 21, 20, 21, tzinfo=UTC), True),  # London
            (51.5074, -0.1278, datetime(2024, 6, 21, 3, 43, tzinfo=UTC), False),
            (40.7128, -74.006, datetime(2024, 3, 20, 23, 8, tzinfo=UTC), True),  # New York
            (-33.8688, 151.2093, datetime(2024, 12, 21, 9, 5, tzinfo=UTC), True),  # Sydney
            (-33.8688, 151.2093, datetime(2024, 12, 20, 18, 41, tzinfo=UTC), False),
        ],
    )
    def test_are_met_to_a_minute_and_a_half(self, lat, lng, moment, is_sunset):
        assert abs(minutes(lat, lng, moment, is_sunset)) < 1.5
        assert minutes(lat, lng, moment + timedelta(minutes=25), is_sunset) == pytest.approx(25, abs=1.6)
        assert minutes(lat, lng, moment - timedelta(minutes=40), is_sunset) == pytest.approx(-40, abs=1.7)

    def test_a_sun_that_does_not_set_has_no_sunset(self):
        assert np.isnan(minutes(69.65, 18.95, datetime(2024, 6, 21, 22, 0, tzinfo=UTC), True))

    def test_an_unknown_place_has_no_sunset(self):
        assert np.isnan(minutes(np.nan, 10.0, datetime(2024, 6, 21, tzinfo=UTC), True))


@given(st.floats(-65, 65), st.floats(-180, 180), st.integers(0, 365 * 24 * 60), st.booleans())
def test_the_nearest_event_is_meant_whatever_the_date_line(lat, lng, after, is_sunset):
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=after)
    found = minutes(lat, lng, moment, is_sunset)
    assert -720 <= found <= 720
    assert abs(minutes(lat, lng, moment - timedelta(minutes=found), is_sunset)) < 0.5
