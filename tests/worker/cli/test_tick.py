"""`afterglow tick` against a live API and a live camera."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api.main import create_app
from api.settings import ApiSettings
from db.engine import session_scope
from ml.images.store import FileStore
from tests.conftest import environment, serving
from tests.image_server import PAGE, Cameras, running_cameras
from tests.tiny_model import BRIGHT, activate, picture, register_bundle
from tests.worker.cli.conftest import Afterglow


@pytest.fixture(scope="module")
def cameras(database: str) -> Iterator[Cameras]:
    with (
        running_cameras(num_hosts=1, num_dead=0) as cameras,
        environment(AFTERGLOW_FETCH_ALLOW_HOSTS=cameras.allowed, DATABASE_URL=database),
    ):
        yield cameras


@pytest.fixture(scope="module")
def address(cameras: Cameras, store: FileStore) -> Iterator[str]:
    """An API without a model, until a test promotes one."""
    with serving(create_app(ApiSettings())) as address:
        yield address


@pytest.fixture
def file(cameras: Cameras, tmp_path: Path) -> Path:
    rows = [
        {"webcam": "a", "phase": "sunset", "title": "t", "url": cameras.url("/a", picture(255))},
        {"webcam": "b", "phase": "sunset", "title": "t", "url": cameras.url("/b", PAGE)},
    ]
    path = tmp_path / "webcams.json"
    path.write_text(json.dumps({"webcams": rows}))
    return path


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch, api_key: Callable[..., str]) -> None:
    monkeypatch.setenv("AFTERGLOW_KEY", api_key("score", "ingest"))


def test_a_tick_is_told_and_its_exit_code_says_whether_it_was_ok(
    afterglow: Afterglow, address: str, file: Path, store: FileStore
) -> None:
    before = afterglow("tick", str(file), "--url", address, "--json")
    assert (before.code, before.json["ok"], before.json["ai"]["failure_reasons"]) == (1, False, {"no_model": 2})
    with session_scope() as session:
        activate(session, register_bundle(session, store, BRIGHT))
    with serving(create_app(ApiSettings())) as with_model:
        said = afterglow("tick", str(file), "--url", with_model)
    assert said.code == 0, said.err
    assert "above-threshold" in said.out
    assert "not_an_image" in said.out
    assert json.loads(said.out.splitlines()[-1])["ai"]["total_scored"] == 1


def test_what_cannot_be_sent_is_said(
    afterglow: Afterglow, address: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "cannot read" in afterglow("tick", "/no/such.json", "--url", address).err
    assert afterglow("tick", str(file), "--url", "http://127.0.0.1:9").code == 1
    assert afterglow("tick", str(file), "--url", "ftp://x").code == 2
    file.write_text('{"webcams": []}')
    refused = afterglow("tick", str(file), "--url", address)
    assert (refused.code, "422" in refused.err) == (2, True)
    file.write_text("{")
    assert "is not JSON" in afterglow("tick", str(file), "--url", address).err
    monkeypatch.setenv("AFTERGLOW_KEY", "ag_wrong")
    file.write_text("{}")
    assert "401" in afterglow("tick", str(file), "--url", address).err
    monkeypatch.setenv("AFTERGLOW_KEY", "")
    assert "keys create" in afterglow("tick", str(file), "--url", address).err
