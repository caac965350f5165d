"""Disagreements by command: found, listed, triaged and counted, and what makes no sense is told."""

from __future__ import annotations

import pytest

from db.engine import session_scope
from db.queries import jobs, labels
from ml.images.store import FileStore
from tests.builders import put_into_split
from tests.tiny_model import activate, picture, register_bundle
from tests.worker.cli.conftest import Afterglow
from tests.worker.stages.test_find_disagreements import stored
from worker.jobs import run_job


@pytest.fixture(scope="module")
def found(database: str, store: FileStore) -> dict[str, int]:
    """A version that says 4.7 of a frame which ann gave 1 star, and 0.4 of one which nobody rated."""
    with session_scope() as session:
        activate(session, register_bundle(session, store))
        bright, dark = (stored(session, store, picture(level)) for level in (240, 20))
        put_into_split(session, "train", bright)
        labels.rate_snapshot(session, snapshot_id=bright, rater="ann", rating=1, is_sunset=True, label_source="test")
    return {"bright": bright, "dark": dark}


@pytest.fixture
def review_set(afterglow: Afterglow, found: dict[str, int]) -> int:
    """A review set of both."""
    said = afterglow("find-disagreements", "--seed", "7", "--no-wait", "--json")
    assert said.code == 0, said.err
    assert said.json["result"] is None
    job_id = said.json["job_id"]
    assert run_job(job_id, "test") == "succeeded"
    with session_scope() as session:
        result = jobs.get_job(session, job_id).result
    assert result is not None
    number: int = result["review_set_id"]
    return number


def _ids(afterglow: Afterglow, *words: str) -> list[int]:
    return [row["snapshot_id"] for row in afterglow("disagreements", *words, "--json").json]


def test_the_list_is_narrowed_by_each_filter(afterglow: Afterglow, found: dict[str, int], review_set: int) -> None:
    of_set = ("--set", str(review_set))
    assert set(_ids(afterglow, *of_set)) == set(found.values())
    assert _ids(afterglow, *of_set, "--reason", "flip") == [found["bright"]]
    assert _ids(afterglow, *of_set, "--need", "first-rating", "--state", "open") == [found["dark"]]
    assert _ids(afterglow, *of_set, "--priority", "99") == []
    text = afterglow("disagreements", *of_set).out.replace("\n", " ")
    assert "largest-disagreement" in text and "flip" in text


def test_triage_and_backlog_follow_what_people_do(afterglow: Afterglow, found: dict[str, int], review_set: int) -> None:
    rows = afterglow("disagreements", "--set", str(review_set), "--json").json
    numbers = {row["snapshot_id"]: str(row["id"]) for row in rows}
    bright, dark = numbers[found["bright"]], numbers[found["dark"]]
    assert afterglow("disagreements", "triage", dark, "--dismiss", "--json").json["state"] == "dismissed"
    said = afterglow("disagreements", "triage", dark, "--reopen", "--priority", "5", "--json").json
    assert (said["state"], said["priority"], said["closed_by"]) == ("open", 5, None)
    assert "0 frames settled ever; 2 wait" in afterglow("disagreements", "backlog").out
    with session_scope() as session:
        labels.rate_snapshot(session, snapshot_id=found["bright"], rater="bob", rating=2, is_sunset=True,
                             label_source="test")  # fmt: skip
    refused = afterglow("disagreements", "triage", bright, "--reopen")
    assert (refused.code, "settled by a rating of bob" in refused.err) == (3, True)
    after = afterglow("disagreements", "backlog", "--json").json
    assert (after["settled"], after["open"]) == (1, 1)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("disagreements", "--state", "closed"), "choose from open, settled, dismissed"),
        (("disagreements", "--reason", "whim"), "choose from largest-disagreement"),
        (("disagreements", "triage", "1"), "--dismiss, --reopen or --priority"),
        (("find-disagreements", "--control", "-1", "--no-wait"), "greater than or equal to 0"),
    ],
)
def test_wrong_words_are_told(afterglow: Afterglow, database: str, words: tuple[str, ...], says: str) -> None:
    said = afterglow(*words)
    assert said.code == 2
    assert says in said.err.replace("\n", " ")


def test_what_does_not_exist_is_not_found(afterglow: Afterglow, found: dict[str, int]) -> None:
    assert afterglow("find-disagreements", "--version", "nobody", "--no-wait").code == 4
    assert afterglow("disagreements", "triage", "999999", "--dismiss").code == 4
