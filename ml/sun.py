"""When the sun rises and sets: minutes between a frame and the event that it shows. Numpy only.

Source: the low-precision formulas of the NOAA solar calculator, after Meeus, Astronomical Algorithms (1998), chapters
25 and 28; the sun's centre 0.833 degrees under the horizon counts as rise and set. To about a minute between the
latitudes of 72 degrees, in 1901 to 2099. No library for it is among ours, and the formulas are a dozen lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

MINUTES_A_DAY = 1440.0
_HORIZON_DEG = 90.833
_J2000 = 2451545.0
_UNIX_EPOCH_JD = 2440587.5


def minutes_from_event(
    lat: np.ndarray, lng: np.ndarray, captured_at: Sequence[datetime], is_sunset: np.ndarray
) -> np.ndarray:
    """Minutes from the nearest sunset or sunrise to each time; negative before it, NaN where there is none.

    Args:
        lat: float (N,), degrees north; NaN where unknown.
        lng: float (N,), degrees east; NaN where unknown.
        captured_at: N times with zone.
        is_sunset: bool (N,): sunset or sunrise.

    Returns:
        float (N,), -720..720.
    """
    days = np.array([moment.timestamp() for moment in captured_at], dtype=np.float64).reshape(-1) / 86400.0
    minutes = (days % 1.0) * MINUTES_A_DAY
    offset = np.zeros(len(days))
    for _ in range(2):  # the sun of the event, not of the frame: it moves half a minute in some hours
        event = _event_minutes(lat, lng, days - offset / MINUTES_A_DAY, is_sunset)
        difference = (minutes - event + MINUTES_A_DAY / 2) % MINUTES_A_DAY - MINUTES_A_DAY / 2
        offset = np.where(np.isnan(difference), 0.0, difference)
    return np.asarray(difference)


def _event_minutes(lat: np.ndarray, lng: np.ndarray, days: np.ndarray, is_sunset: np.ndarray) -> np.ndarray:
    """Minutes of the UTC day at which the event is, for the sun as it stands at `days` since 1970; may leave 0..1440."""
    century = (days + _UNIX_EPOCH_JD - _J2000) / 36525.0
    longitude = np.radians((280.46646 + century * (36000.76983 + century * 0.0003032)) % 360.0)
    anomaly = np.radians(357.52911 + century * (35999.05029 - 0.0001537 * century))
    eccentricity = 0.016708634 - century * (0.000042037 + 0.0000001267 * century)
    centre = (
        np.sin(anomaly) * (1.914602 - century * (0.004817 + 0.000014 * century))
        + np.sin(2 * anomaly) * (0.019993 - 0.000101 * century)
        + np.sin(3 * anomaly) * 0.000289
    )
    node = np.radians(125.04 - 1934.136 * century)
    apparent = longitude + np.radians(centre - 0.00569 - 0.00478 * np.sin(node))
    obliquity = np.radians(
        23.0
        + (26.0 + (21.448 - century * (46.815 + century * (0.00059 - century * 0.001813))) / 60.0) / 60.0
        + 0.00256 * np.cos(node)
    )
    declination = np.arcsin(np.sin(obliquity) * np.sin(apparent))
    y = np.tan(obliquity / 2.0) ** 2
    equation_of_time = 4.0 * np.degrees(
        y * np.sin(2 * longitude)
        - 2.0 * eccentricity * np.sin(anomaly)
        + 4.0 * eccentricity * y * np.sin(anomaly) * np.cos(2 * longitude)
        - 0.5 * y * y * np.sin(4 * longitude)
        - 1.25 * eccentricity**2 * np.sin(2 * anomaly)
    )
    north = np.radians(lat)
    cosine = np.cos(np.radians(_HORIZON_DEG)) / (np.cos(north) * np.cos(declination)) - np.tan(north) * np.tan(
        declination
    )
    angle = np.degrees(np.arccos(np.where(np.abs(cosine) <= 1.0, cosine, np.nan)))
    noon = MINUTES_A_DAY / 2 - 4.0 * lng - equation_of_time
    return np.asarray(noon + np.where(is_sunset, 4.0, -4.0) * angle)
