import pytest

from ml.verdict import verdict


def content(**changes):
    table = {
        "n": 200, "n_groups": 40, "comparisons": [],
        "skill": {"value": 0.2, "interval": [0.1, 0.3], "certain": True, "against": "mean"},
    }  # fmt: skip
    plain = {
        "headline": "test", "subsets": {"test": table}, "primary": {"name": "mae"}, "active_version": None, "method": "kfold",
        "skill": {"sentence": "m is better"}, "noise": {"known": False, "sentence": "the floor is unknown"},
    }  # fmt: skip
    return {**plain, **changes}


def answers(report):
    return {each["question"].split("?")[0]: (each["answer"], each["taken"]) for each in verdict(report)}


def floor(better):
    return {"known": True, "sentence": "s", "subsets": {"test": {"better_than_floor": better}}}


def test_a_good_report_says_so():
    assert answers(content(noise=floor(False))) == {
        "Better than the best baseline": ("yes", "good"),
        "Enough rows to believe it": ("yes", "good"),
        "Within what the raters' noise allows": ("yes", "good"),
    }


@pytest.mark.parametrize(
    ("skill", "expected"),
    [
        ({"value": 0.2, "interval": [-0.1, 0.3], "certain": False}, ("no", "bad")),
        ({"value": None, "interval": None, "certain": False}, ("unknown", "caution")),
    ],
)
def test_skill_within_its_interval_is_no_skill_and_undefined_skill_is_unknown(skill, expected):
    report = content()
    report["subsets"]["test"]["skill"] = skill
    assert answers(report)["Better than the best baseline"] == expected


def test_few_rows_are_insufficient_and_an_unknown_floor_is_no_good_news():
    report = content()
    report["subsets"]["test"]["insufficient"] = "only 12 rows in 3 groups"
    assert answers(report)["Enough rows to believe it"] == ("no", "bad")
    assert "insufficient: only 12 rows in 3 groups" in [each["words"] for each in verdict(report)]
    assert answers(report)["Within what the raters' noise allows"] == ("unknown", "caution")
    report["method"] = "test"
    words = [each["words"] for each in verdict(report)]
    assert "insufficient: only 12 rows in 3 groups; trained with evaluation: kfold, all rows judge it" in words


def test_better_than_the_floor_is_bad():
    assert answers(content(noise=floor(True)))["Within what the raters' noise allows"] == ("no", "bad")


@pytest.mark.parametrize(
    ("comparison", "expected"),
    [
        ({"difference": -0.2, "interval": [-0.3, -0.1], "better": True, "certain": True}, ("yes", "good")),
        ({"difference": -0.2, "interval": [-0.3, 0.1], "better": True, "certain": False}, ("yes", "caution")),
        ({"difference": 0.2, "interval": [-0.3, 0.4], "better": False, "certain": False}, ("no", "bad")),
        ({"difference": None, "interval": None, "better": False, "certain": False}, ("unknown", "caution")),
        (None, ("unknown", "caution")),
    ],
)
def test_the_active_model_is_compared_where_it_can_be(comparison, expected):
    report = content(active_version="v1")
    if comparison is not None:
        report["subsets"]["test"]["comparisons"] = [{"against": "v1", **comparison}]
    assert answers(report)["At least as good as the active v1"] == expected


def test_a_better_baseline_that_is_no_simpler_is_named_though_the_model_beats_all_that_is_simpler():
    report = content(gate={"simplicity": {"order": ["constant", "line", "trees"], "model": 1,
                                          "baselines": {"mean": 0, "boosting": 2}}})  # fmt: skip
    report["primary"] = {"name": "mae", "higher_is_better": False, "best": 0.0}
    table = report["subsets"]["test"]
    table["skill"]["certain"] = False
    table["rows"] = []
    table["comparisons"] = [
        {
            "against": "mean",
            "difference": -0.3,
            "interval": [-0.4, -0.2],
            "better": True,
            "certain": True,
            "probability_better": 1.0,
        },
        {
            "against": "boosting",
            "difference": 0.1,
            "interval": [0.05, 0.15],
            "better": False,
            "certain": False,
            "probability_better": 0.0,
        },
    ]
    found = answers(report)
    assert found["Better than the best baseline"] == ("no", "bad")
    assert found["Better than all that is simpler"] == ("yes", "caution")
    table["comparisons"][0] |= {"interval": [-0.4, 0.1], "certain": False}
    assert answers(report)["Better than all that is simpler"] == ("no", "bad")
