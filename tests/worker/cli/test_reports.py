"""`afterglow report`: where the page is, or a copy of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlmodel import Session

from db.engine import session_scope
from db.queries import evaluations
from ml.images.store import FileStore
from ml.suspects import TOO_HIGH, Suspect, suspects_bytes
from tests.tiny_model import BRIGHT, DARK, register_bundle
from tests.worker.cli.conftest import Afterglow
from worker.cli.errors import Ending

SUSPECTS = [
    Suspect(rank, 40 - rank, "0" * 64, "test", 5.0, 1.0, -4.0, 3.5 - rank, TOO_HIGH, 1, "ann", "the model")
    for rank in (1, 2, 3)
]
PAGE, REPORT = b"<!DOCTYPE html><title>a page</title>", {"headline": "test"}


def add_evaluation(session: Session, version: str, key: str) -> None:
    evaluations.add_evaluation(
        session, model_version=version, kind="rating", manifest_sha256="0" * 64, method="test", report=REPORT,
        artifact_key=key,
    )  # fmt: skip


@pytest.fixture(scope="module")
def versions(database: str, store: FileStore, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A version with an evaluation and its page, and one without an evaluation."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "report.html").write_bytes(PAGE)
    (folder / "suspects.csv").write_bytes(suspects_bytes(SUSPECTS))
    store.put_directory(folder, "reports/one")
    with session_scope() as session:
        bright, dark = (register_bundle(session, store, each).model_version for each in (BRIGHT, DARK))
        add_evaluation(session, bright, "reports/one")
    return bright, dark


def test_it_prints_where_the_page_is(afterglow: Afterglow, versions: tuple[str, str]) -> None:
    done = afterglow("report", versions[0])
    assert (done.code, done.err) == (0, "")
    assert Path(done.out.strip()).read_bytes() == PAGE


def test_out_writes_a_copy_in_place_of_what_was_there(
    afterglow: Afterglow, versions: tuple[str, str], tmp_path: Path
) -> None:
    target = tmp_path / "my report.html"
    target.write_text("an older one")
    done = afterglow("report", versions[0], "--out", str(target))
    assert (done.code, done.out.strip()) == (0, str(target))
    assert target.read_bytes() == PAGE
    assert list(tmp_path.iterdir()) == [target]


def test_json_is_the_report(afterglow: Afterglow, versions: tuple[str, str], tmp_path: Path) -> None:
    done = afterglow("report", versions[0], "--json", "--out", str(tmp_path / "x.html"))
    assert done.json == REPORT
    assert (tmp_path / "x.html").read_bytes() == PAGE


def test_from_a_remote_store_it_keeps_a_copy(
    afterglow: Afterglow, versions: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORE_URL", "memory://reports-of-a-test")
    (tmp_path / "report.html").write_bytes(b"from far away")
    FileStore("memory://reports-of-a-test").put_directory(tmp_path, "reports/one")
    for _ in range(2):
        done = afterglow("report", versions[0])
        assert Path(done.out.strip()).read_bytes() == b"from far away"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (lambda known, bare: ["report", "nothing"], Ending.NOT_FOUND, "no model version nothing"),
        (lambda known, bare: ["report", bare], Ending.NOT_FOUND, "`afterglow evaluate {bare}` makes one"),
        (lambda known, bare: ["report", known, "--out", "."], Ending.WRONG_INPUT, "cannot be written"),
        (lambda known, bare: ["report", known, "--out", "/no/such/x.html"], Ending.WRONG_INPUT, "a folder that exists"),
    ],
)
def test_what_cannot_be_given_is_said(
    afterglow: Afterglow,
    versions: tuple[str, str],
    words: Callable[[str, str], list[str]],
    code: Ending,
    said: str,
) -> None:
    done = afterglow(*words(*versions))
    assert (done.code, done.out) == (code, "")
    assert said.format(bare=versions[1]) in done.err


def test_suspects_are_listed_the_most_doubtful_first(afterglow: Afterglow, versions: tuple[str, str]) -> None:
    done = afterglow("suspects", versions[0], "--limit", "2", "--json")
    assert [(each["rank"], each["snapshot_id"]) for each in done.json] == [(1, 39), (2, 38)]
    assert "label too high" in afterglow("suspects", versions[0], "--limit", "2").out


def test_without_an_evaluation_there_are_no_suspects_and_it_says_what_to_do(
    afterglow: Afterglow, versions: tuple[str, str]
) -> None:
    done = afterglow("suspects", versions[1])
    assert done.code != 0
    assert f"afterglow evaluate {versions[1]}" in done.err
