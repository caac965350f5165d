"""The loop on generated data, tiny: the same rows judge everything, both ways pay as much, test is never asked about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ml.demo.loop import Size, TooSmall, run_loop
from ml.demo.loop_summary import CHOOSING, RANDOM
from ml.demo.world import make_world
from tests.worker.cli.conftest import Afterglow
from worker.cli.demo_loop import FIRST_SEED, PAGE_FILE, RESULT_FILE

TINY = Size(webcams=9, days=10, cycles=2, first=24, inflow=5, labels=6)


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_loop(FIRST_SEED, TINY, tmp_path_factory.mktemp("loop") / "world")


def test_the_same_frozen_rows_judge_every_version_of_both_ways(loop: dict[str, Any]) -> None:
    versions = [each for versions in loop["ways"].values() for each in versions]
    assert {each["test_sha256"] for each in versions} == {loop["test"]["sha256"]}
    assert {len(each["scores"]) for each in versions} == {len(loop["test"]["targets"])}
    assert len({each["manifest_sha256"] for each in versions}) == 1 + 2 * TINY.cycles


def test_both_ways_pay_as_many_labels_for_every_version(loop: dict[str, Any]) -> None:
    choosing, random = loop["ways"][CHOOSING], loop["ways"][RANDOM]
    assert [each["labels"] for each in choosing] == [each["labels"] for each in random]
    assert all(TINY.inflow < each["added"] <= TINY.inflow + TINY.labels for each in choosing[1:])
    assert sum(each["rated_again"] for each in random) == 0
    assert sum(each["rated_again"] for each in choosing) > 0
    for version, each in enumerate(choosing):
        assert each["labels"] == sum(earlier["added"] for earlier in choosing[: version + 1])


def test_no_test_row_is_ever_asked_about(loop: dict[str, Any]) -> None:
    asked = {snapshot for versions in loop["ways"].values() for each in versions for snapshot in each["asked"]}
    pool = {each.snapshot_id for each in make_world(FIRST_SEED, TINY.webcams, TINY.days).pool}
    assert asked <= pool
    assert not asked & set(loop["test"]["snapshot_ids"])


def test_the_command_shows_the_same_for_the_same_seed(
    loop: dict[str, Any], afterglow: Afterglow, tmp_path: Path
) -> None:
    size = [f"--{name}={value}" for name, value in vars(TINY).items()]
    said = afterglow("demo-loop", "--seeds", "1", *size, "--no-walk", "--directory", str(tmp_path / "demo"), "--json")
    assert said.code == 0, said.err
    assert json.loads((tmp_path / "demo" / f"world-{FIRST_SEED}" / "loop.json").read_text()) == loop
    assert said.json == json.loads((tmp_path / "demo" / RESULT_FILE).read_text())
    assert said.json["generated"] is True
    assert said.json["verdict"]["sentence"] in (tmp_path / "demo" / PAGE_FILE).read_text()


def test_a_world_with_too_few_frames_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(TooSmall, match="take more --webcams or --days"):
        run_loop(FIRST_SEED, Size(webcams=8, days=3), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_no_demo_made_is_left_alone(afterglow: Afterglow, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    said = afterglow("demo-loop", "--no-walk", "--directory", str(tmp_path))
    assert said.code == 2
    assert "was not made by a demo" in said.err
    assert [each.name for each in tmp_path.iterdir()] == ["mine"]


def test_the_walk_writes_into_no_services_that_were_named_for_something_else(
    afterglow: Afterglow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me@db.example/afterglow")
    said = afterglow("demo-loop", "--directory", str(tmp_path / "demo"))
    assert said.code == 2
    assert "unset DATABASE_URL, or give --no-walk" in said.err
    assert list(tmp_path.iterdir()) == []
