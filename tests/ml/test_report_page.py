import copy
import json
import re
import tomllib
from fnmatch import fnmatch
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from ml.frames import MAX_THUMBNAIL_BYTES, NUM_FRAMES, thumbnails
from ml.report import ReportError
from ml.report_files import FRAME_LISTS
from ml.report_page import MAX_PAGE_BYTES, report_page
from tests.ml.test_evaluate import World, write_ratings

ROOT = Path(__file__).parents[2]
SECTIONS = [
    "verdict", "decisions", "calibration", "predicted", "residuals", "slices", "disagreement", "frames", "data", "model",
    "reproduce",
]  # fmt: skip
HOSTILE = "<script>alert('x')</script><img src=https://example.org/x onerror=alert(1)>\"'&{{ 7*7 }}"


class Page(HTMLParser):
    """The page's tags with their attributes, the text of each figure, and all text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.figures, self.text = [], [], ""
        self.depth = 0
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.text += " " if tag == "br" else ""
        if tag == "svg":
            self.figures.append({"label": dict(attrs).get("aria-label"), "series": [], "texts": []})
            self.depth = 1
        elif self.depth and tag == "g" and dict(attrs).get("class") == "series":
            self.figures[-1]["series"].append([dict(attrs).get("aria-label"), []])
        elif self.depth and self.figures[-1]["series"] and dict(attrs).get("class"):
            self.figures[-1]["series"][-1][1].append(dict(attrs)["class"])

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        self.text += " " if tag in ("td", "th", "p", "li") else ""
        self.depth = 0 if tag == "svg" else self.depth

    def handle_data(self, data):
        self.text += data
        if self.depth:
            self.figures[-1]["texts"].append(data)


def votes_of(world):
    random = np.random.default_rng(0)
    return [
        (each.snapshot_id, rater, int(np.clip(each.label_value + random.integers(-1, 2), 1, 5)))
        for each in world.rows
        for rater in ("ann", "bob", "eve")
    ]


def world_of(folder, **more):
    world = World(folder, **more)
    content = world.evaluate(ratings=write_ratings(folder, votes_of(world)))
    points = np.array([(float(each["target"]), float(each["score"])) for each in world.predictions()])
    shown = [row["image_sha256"] for name in ("worst", "doubtful") for row in content[name]]
    return content, points, thumbnails(shown, world.store.image), (folder / "report" / "report.html").read_text()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return world_of(tmp_path_factory.mktemp("regression"))


@pytest.fixture(scope="module", params=["regression", "binary"])
def written(request, world, tmp_path_factory):
    """The page that the verb wrote, of either head."""
    return world[3] if request.param == "regression" else world_of(tmp_path_factory.mktemp("binary"), head="binary")[3]


@pytest.fixture
def content(world):
    return copy.deepcopy(world[0])


def _section(page, name):
    return page[page.index(f'<section id="{name}">') :].partition("</section>")[0]


class TestThePage:
    def test_all_sections_stand_in_order_and_the_navigation_leads_to_them(self, written):
        page = Page(written)
        assert written.startswith("<!DOCTYPE html>\n")
        assert [attrs["id"] for tag, attrs in page.tags if tag == "section"] == SECTIONS
        assert [attrs["href"] for tag, attrs in page.tags if tag == "a"] == [f"#{name}" for name in SECTIONS]

    def test_nothing_is_asked_of_anybody(self, written):
        page = Page(written)
        assert {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "form", "base"} == set()
        for tag, attrs in page.tags:
            assert not [name for name in attrs if name.startswith("on")], tag
            for name in ("src", "srcset", "href", "xlink:href", "action", "data", "poster", "background"):
                assert attrs.get(name, "#").startswith(("#", "data:image/jpeg;base64,")), (tag, attrs)
        style = written[written.index("<style>") : written.index("</style>")]
        assert "url(" not in style
        assert "@import" not in style

    def test_every_picture_and_figure_says_what_it_shows(self, written):
        page = Page(written)
        pictures = [attrs for tag, attrs in page.tags if tag == "img"]
        assert pictures
        assert all(re.search(r"Snapshot \d+: label .*, score", attrs["alt"]) for attrs in pictures)
        assert all(figure["label"] for figure in page.figures)
        assert all(attrs["role"] == "img" for tag, attrs in page.tags if tag == "svg")

    def test_every_series_has_its_name_beside_it_and_a_sign_of_its_own(self, written):
        figures = [figure for figure in Page(written).figures if figure["series"]]
        assert len(figures) >= 5
        for figure in figures:
            names = [name for name, _ in figure["series"]]
            assert len(set(names)) == len(names)
            assert set(names) <= set(figure["texts"]), figure["label"]
            rows_or_bars = len(names) == sum(text in names for text in figure["texts"])
            signs = {frozenset(classes) for _, classes in figure["series"]}
            assert rows_or_bars or len(signs) == len(names), figure["label"]

    def test_the_same_input_gives_the_same_bytes(self, world):
        content, points, pictures, _ = world
        assert report_page(content, points, pictures) == report_page(copy.deepcopy(content), points.copy(), pictures)

    def test_a_report_without_a_baseline_is_refused(self, content, world):
        table = content["subsets"][content["headline"]]
        table["rows"] = [row for row in table["rows"] if row["role"] != "baseline"]
        with pytest.raises(ReportError, match="no baseline row"):
            report_page(content, world[1], {})

    def test_texts_from_elsewhere_stay_texts(self, content, world):
        content["data_card"]["exclusions"] = [{"reason": HOSTILE, "n": 0}]
        content["data_card"]["sources"][0]["name"] = HOSTILE
        content["noise"]["raters"][0]["rater"] = HOSTILE
        content["notes"].append(HOSTILE)
        content["model_card"]["notes"] = [HOSTILE]
        content["model_card"]["recipe"] = {HOSTILE: HOSTILE}
        content["model_card"]["code"] = {"commit": HOSTILE}
        content["how_to_reproduce"][0]["command"] = HOSTILE
        content["slices"]["region"][0]["value"] = HOSTILE
        content["verdict"][0]["words"] = HOSTILE
        content["worst"][0] |= {"webcam": HOSTILE, "label_source": HOSTILE, "phase": HOSTILE, "image_sha256": HOSTILE}
        content["worst"][0]["captured_at"] = HOSTILE
        table = content["subsets"][content["headline"]]
        old = table["skill"]["against"]
        for row in table["rows"]:
            row["detail"] = HOSTILE
            row["name"] = HOSTILE if row["name"] == old else row["name"]
        table["skill"]["against"] = content["residuals"]["baseline"]["name"] = HOSTILE
        page = Page(report_page(content, world[1], {}))
        assert "script" not in {tag for tag, _ in page.tags}
        assert [attrs for _, attrs in page.tags if "onerror" in attrs] == []
        assert [attrs["src"] for _, attrs in page.tags if "src" in attrs] == []
        assert page.text.count(HOSTILE) >= 12  # not evaluated either: {{ 7*7 }} is still there

    def test_the_largest_report_is_under_two_megabytes(self, content, world):
        random = np.random.default_rng(0)
        points = np.stack([random.uniform(0, 5, 50_000), random.uniform(0, 5, 50_000)], axis=1)
        row = content["worst"][0]
        names = [f"{number:064x}" for number in range(3 * NUM_FRAMES)]
        for place, name in enumerate(("worst", "doubtful", "suspects")):
            shown = names[place * NUM_FRAMES : (place + 1) * NUM_FRAMES]
            content[name] = [row | {"image_sha256": sha256, "why": "w" * 500, "webcam": "t" * 500} for sha256 in shown]
        content["slices"]["region"] = [content["slices"]["region"][0] | {"value": "r" * 500}] * 200
        content["noise"]["raters"] = [{"rater": "r" * 500, "n": 9, "bias": 0.1}] * 200
        page = report_page(content, points, dict.fromkeys(names, b"\xff" * MAX_THUMBNAIL_BYTES))
        assert len(page.encode()) < MAX_PAGE_BYTES
        assert re.search(r"label \(50000 rows; \d{4} of them drawn\)", page)

    def test_a_page_that_would_be_larger_is_refused(self, content, world):
        sha256 = content["worst"][0]["image_sha256"]
        with pytest.raises(ReportError, match="more than 2000000"):
            report_page(content, world[1], {sha256: b"\xff" * MAX_PAGE_BYTES})

    def test_what_a_report_does_not_know_is_left_out(self, content, world):
        for name in (
            "verdict", "notes", "metrics", "confusion", "threshold_sweep", "threshold_policy", "calibration_table",
            "score_range", "residuals", "slices", "worst", "doubtful", "data_card", "model_card", "how_to_reproduce",
            "noise", "replicates", "threshold_achieved", "audit", "within_webcam", "disagreement",
        ):  # fmt: skip
            del content[name]
        page = Page(report_page(content, world[1], {}))
        sections = [name for name in SECTIONS if name != "disagreement"]
        assert [attrs["id"] for tag, attrs in page.tags if tag == "section"] == sections
        assert "None" not in page.text
        assert "Undefined" not in page.text

    def test_odd_facts_of_a_training_do_not_break_it(self, content, world):
        content["model_card"] |= {
            "counts": {"train": [1]}, "groups": {}, "parity": {"n": "many"}, "libraries": [1, {"a": None}], "seed": {},
            "notes": [{"odd": 1.5}], "recipe": {"": None}, "normalisation": "x", "best_epoch": float("1e300"),
        }  # fmt: skip
        assert "n many" in Page(report_page(content, world[1], {})).text

    def test_a_model_beside_the_active_one_shows_both_with_the_difference(self, content, world):
        row = {"value": "seen", "n": 15, "n_groups": 3, "model": 0.5, "active": 0.6, "difference": -0.1}
        content["gate"] = {
            "latency": {
                "measurements": 25, "model_ms": 12.34, "model_quartiles_ms": [11.0, 13.0], "active_ms": None,
                "active_quartiles_ms": None,
            },
            "against_active": {
                "version": "v0", "n": 20, "n_groups": 20, "decisions": None,
                "slices": {"webcam": [row | {"interval": [-0.2, 0.1]}]},
            },
        }  # fmt: skip
        text = " ".join(Page(report_page(content, world[1], {})).text.split())
        assert "Webcam: seen" in text
        assert "-0.100 [-0.200, 0.100]" in text
        assert "12.3 ms, half of 25 measurements from 11.0 to 13.0 ms" in text


class TestWhatItSays:
    def test_the_verdict_comes_first_and_in_words(self, world):
        content, _, _, written = world
        text = Page(written).text
        places = [text.index(each["question"]) for each in content["verdict"]]
        assert places == sorted(places)
        assert places[-1] < text.index("Decisions at the threshold")
        assert all(each["words"] in text for each in content["verdict"])
        assert "insufficient: only 20 rows in 20 groups" in text  # the headline is too small to be believed

    def test_every_row_of_the_headline_has_its_interval_and_the_table_its_n(self, world):
        content, _, _, written = world
        text = " ".join(Page(written).text.split())
        table = content["subsets"][content["headline"]]
        for row in table["rows"]:
            low, high = row["intervals"]["mae"]
            assert f"{row['metrics']['mae']:.3f} [{low:.3f}, {high:.3f}]" in text
        assert f"n = {table['n']} rows in {table['n_groups']} groups" in text

    def test_the_audit_of_leaks_is_shown_with_what_a_naive_split_would_have_claimed(self, world):
        content, _, _, written = world
        text = " ".join(Page(written).text.split())
        audit = content["audit"]
        for each in audit["between"]:
            assert f"{each['learned']} {each['judged']} {each['n']} {each['near_duplicates']}" in text
        for reason, n in audit["excluded"].items():
            assert f"dropped before training: {reason.replace('-', ' ')} {n}" in text
        assert audit["naive"]["known"]
        for model in audit["naive"]["models"]:
            for key in ("naive", "grouped", "difference", "webcams", "webcams_difference"):
                low, high = model[key]["interval"]
                assert f"{model[key]['value']:.3f} [{low:.3f}, {high:.3f}]" in text
        assert f"{audit['naive']['n_groups']} groups of {audit['naive']['n_webcams']} webcams" in text
        assert audit["verdict"] in text

    def test_decisions_stand_with_their_intervals_beside_calling_everything_good(self, world):
        content, _, _, written = world
        text = " ".join(Page(written).text.split())
        precision, confusion = content["threshold_achieved"]["precision"], content["confusion"]
        low, high = precision["interval"]
        good = (confusion["true_positive"] + confusion["false_negative"]) / confusion["n"]
        start = text.index("precision of those called good, the good")
        row = text[start : text.index("recall", start)]
        assert f"{precision['value']:.3f}" in row
        assert f"[{low:.3f}, {high:.3f}]" in row
        assert f"[{precision['wilson'][0]:.3f}, {precision['wilson'][1]:.3f}]" in row
        assert f"{good:.3f}" in row

    def test_every_bucket_has_its_rows_and_its_interval(self, world):
        content, _, _, written = world
        text = " ".join(Page(written).text.split())
        for each in content["calibration_table"]:
            low, high = each["interval"] or (0.0, 0.0)
            shown = f"[{low:.3f}, {high:.3f}]" if each["interval"] else "interval unknown"
            assert f"{each['low']:.2f} to {each['high']:.2f}" in text
            assert f"{each['mean_label']:.3f} {shown}" in text
        slope, (low, high) = content["calibration"]["score"]["slope"], content["calibration"]["score"]["slope_interval"]
        assert f"{slope:.3f} [{low:.3f}, {high:.3f}]" in text
        assert content["calibration"]["p_good_reason"] in text  # this bundle has no such output

    def test_baselines_decide_at_the_same_threshold_with_their_intervals(self, world):
        content, _, _, written = world
        text = " ".join(Page(written).text.split())
        assert content["threshold_achieved"]["baselines"]
        for each in content["threshold_achieved"]["baselines"]:
            recall = each["recall"]
            precision = each["precision"]
            shown = "-"
            if precision:
                shown = f"{precision['value']:.3f} [{precision['interval'][0]:.3f}, {precision['interval'][1]:.3f}]"
            span = f"[{recall['interval'][0]:.3f}, {recall['interval'][1]:.3f}]"
            assert f"{each['name']} {each['n_passed']} {shown} {recall['value']:.3f} {span}" in text

    def test_ranks_within_a_webcam_are_shown_or_why_not(self, world, content):
        assert content["within_webcam"]["reason"] in Page(world[3]).text  # no webcam of the headline has five rows
        row = {"name": "m", "role": "model", "value": 0.5, "interval": [0.4, 0.6]}
        other = row | {"name": "b", "role": "baseline", "value": 0.1, "difference": 0.4}
        content["within_webcam"] = {
            "known": True, "metric": "spearman", "n": 40, "n_webcams": 4, "n_left_out": 3,
            "rows": [row, other | {"difference_interval": [0.2, 0.7]}],
        }  # fmt: skip
        text = " ".join(Page(report_page(content, world[1], {})).text.split())
        assert "its mean over 4 webcams with 40 rows, weighted by rows (3 more webcams" in text
        assert "b 0.100 [0.400, 0.600] 0.400 [0.200, 0.700]" in text

    def test_small_slices_are_grey_and_say_few(self, world):
        content, _, _, written = world
        small = [each for entries in content["slices"].values() for each in entries if each["n"] < 20]
        assert small
        rows = re.findall(r'<tr class="few">.*?</tr>', _section(written, "slices"), re.DOTALL)
        assert len(rows) == len(small)
        assert all("<small>few</small>" in row for row in rows)

    def test_kept_and_excluded_rows_are_all_candidates(self, world):
        content, _, _, written = world
        card = content["data_card"]
        assert card["kept"] + card["excluded"] == card["candidates"] == 120
        assert "120 kept and 0 excluded rows are all 120 candidates" in Page(written).text
        assert content["manifest_sha256"] == card["manifest_sha256"]
        assert card["manifest_sha256"] in written

    def test_the_json_holds_what_the_page_shows(self, world):
        content, _, _, written = world
        assert len(content["worst"]) == 20
        residuals = [abs(row["residual"]) for row in content["worst"]]
        assert residuals == sorted(residuals, reverse=True)
        lists = [content.get(name, [])[:NUM_FRAMES] for name in FRAME_LISTS]
        assert written.count("<img ") == sum(len(each) for each in lists)
        assert json.dumps(content["model_card"])
        assert content["model_card"]["bundle_sha256"] in written


def test_an_installed_package_has_the_templates():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["ml"]
    files = [path.relative_to(ROOT / "ml").as_posix() for path in (ROOT / "ml" / "templates").iterdir()]
    assert len(files) >= 2
    assert all(any(fnmatch(name, pattern) for pattern in patterns) for name in files)
