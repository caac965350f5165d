"""Disagreement and flips of a report: beside the mean, by slice, and recounted from the rows."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from tests.ml.test_evaluate import World
from tests.ml.test_report_page import Page


@pytest.fixture(scope="module", params=["regression", "binary"])
def world(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[World, dict[str, Any]]:
    """A report on frames whose brightness is nearly their rating, in four regions."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    world = World(folder, head=request.param)
    webcams = folder / "webcams.csv"
    with webcams.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(("webcam_id", "lat", "lng", "region", "source"))
        writer.writerows(
            (number, 47, 8, "Alps" if number % 2 else "", "") for number in {r.webcam_id for r in world.rows}
        )
    return world, world.evaluate(webcams=webcams)


def _judged(world: World, content: dict[str, Any]) -> list[tuple[Any, float]]:
    """Rows of the headline, with the version's raw score."""
    rows = {row.snapshot_id: row for row in world.rows}
    scores = {int(each["snapshot_id"]): float(each["raw_score"]) for each in world.predictions()}
    unseen = content["headline"] == "test_unseen"
    return [(rows[key], raw) for key, raw in scores.items() if not unseen or rows[key].seen is False]


def test_the_models_figures_are_those_of_the_rows(world: tuple[World, dict[str, Any]]) -> None:
    content = world[1]["disagreement"]
    judged = _judged(*world)
    binary = world[0].head == "binary"
    apart = [abs(raw - row.is_good) if binary else abs(5 * raw - row.label_value) / 5 for row, raw in judged]
    cut = 0.5 if binary else 0.8
    over = sum(raw >= cut and not row.is_good for row, raw in judged)
    under = sum(raw < cut and row.is_good for row, raw in judged)
    model = content["overall"]["rows"][0]
    assert content["overall"]["n"] == len(judged) > 0
    assert model["role"] == "model"
    assert model["disagreement"]["value"] == pytest.approx(sum(apart) / len(apart), abs=1e-6)
    assert (model["flips"]["over"], model["flips"]["under"], model["flips"]["n"]) == (over, under, over + under)
    low, high = model["flips"]["wilson"]
    assert low <= model["flips"]["share"] <= high


def test_the_mean_stands_beside_it_and_decides_always_the_same(world: tuple[World, dict[str, Any]]) -> None:
    model, mean = world[1]["disagreement"]["overall"]["rows"]
    assert mean["role"] == "baseline"
    assert model["disagreement"]["interval"][1] < mean["disagreement"]["interval"][0]
    assert 0 in (mean["flips"]["over"], mean["flips"]["under"])
    assert mean["flips"]["n"] > model["flips"]["n"]


def test_the_slices_of_each_family_add_up_to_all_rows(world: tuple[World, dict[str, Any]]) -> None:
    content = world[1]["disagreement"]
    assert set(content["slices"]) == {"phase", "local_hour", "region", "source"}
    overall = content["overall"]
    for entries in content["slices"].values():
        assert sum(each["n"] for each in entries) == overall["n"]
        for place, row in enumerate(overall["rows"]):
            parts = [(each["n"], each["rows"][place]) for each in entries]
            mean = sum(n * part["disagreement"]["value"] for n, part in parts) / overall["n"]
            assert mean == pytest.approx(row["disagreement"]["value"])
            assert sum(part["flips"]["n"] for _, part in parts) == row["flips"]["n"]
    assert {each["value"] for each in content["slices"]["region"]} == {"Alps", "unknown"}


def test_the_page_says_how_many_of_how_many_and_in_which_direction(world: tuple[World, dict[str, Any]]) -> None:
    text = " ".join(Page((world[0].root / "report" / "report.html").read_text()).text.split())
    overall = world[1]["disagreement"]["overall"]
    flips = overall["rows"][0]["flips"]
    assert f"all {overall['n']} {overall['n_groups']} {overall['rows'][0]['disagreement']['value']:.3f}" in text
    assert f"{flips['n']} ({flips['over']} over, {flips['under']} under)" in text
