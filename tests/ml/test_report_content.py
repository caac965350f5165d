import pytest

from ml.report_content import choose_headline


def tables(**given):
    """Name -> table; `given` is the model's MAE there, negative where the rows are too few."""
    return {
        name: {
            "rows": [{"role": "model", "metrics": {"mae": None if value is None else abs(value)}}],
            **({"insufficient": "only a few rows"} if value is not None and value < 0 else {}),
        }
        for name, value in given.items()
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"test_unseen": 0.4, "test_seen": 0.3, "test": 0.35}, "test_unseen"),
        ({"test_unseen": -0.4, "test_seen": 0.3, "test": 0.35}, "test"),
        ({"test_unseen": -0.4, "test_seen": -0.3, "test": -0.35}, "test_unseen"),
        ({"test_unseen": None, "test": -0.35}, "test"),
        ({"test_unseen": None, "test": None}, "test"),
        ({"out_of_fold": 0.5, "test_unseen": 0.4, "test": 0.4}, "out_of_fold"),
        ({"out_of_fold": -0.5, "test": 0.4}, "test"),
    ],
)
def test_the_headline_tells_most_among_the_tables_with_enough_rows(given, expected):
    assert choose_headline(tables(**given), "mae") == expected
