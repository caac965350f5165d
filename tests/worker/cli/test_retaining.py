"""Retention by command and over HTTP: nothing goes unless it is asked for, twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from db.engine import session_scope
from db.queries import webcams
from ml.images.decode import inspect
from ml.images.store import FileStore
from tests.builders import make_snapshot
from tests.tiny_model import picture
from tests.worker.cli.conftest import Afterglow

OLD = datetime.now(UTC) - timedelta(days=400)


@pytest.fixture
def old(database: str, store: FileStore) -> tuple[int, str]:
    """An old frame that nobody needs: its id and content."""
    from db.queries import images

    data = picture(3)
    info = inspect(data)
    store.put_image(data)
    with session_scope() as session:
        images.add_image(session, info.sha256, info.media_type, info.width, info.height, info.byte_size)
        row = make_snapshot(session, image_key=f"sha256:{info.sha256}", image_sha256=info.sha256, created_at=OLD)
        assert row.id is not None
        return row.id, info.sha256


def _state(snapshot_id: int) -> str:
    with session_scope() as session:
        return webcams.get_snapshot(session, snapshot_id).image_state


def test_without_commit_it_says_what_would_go_and_removes_nothing(
    afterglow: Afterglow, old: tuple[int, str], store: FileStore
) -> None:
    said = afterglow("retain")
    assert (said.code, "nothing was changed" in said.out, "to remove" in said.out) == (0, True, True)
    assert (_state(old[0]), store.has_image(old[1])) == ("present", True)
    facts = afterglow("retain", "--json").json
    assert facts["dry_run"] and facts["frames"]["removed"]["frames"] >= 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--commit",), "--commit --yes"),
        (("--yes",), "--commit"),
        (("--frames-days", "0"), "greater than or equal to 1"),
    ],
)
def test_what_it_will_not_do_is_said_plainly(
    afterglow: Afterglow, old: tuple[int, str], words: tuple[str, ...], message: str
) -> None:
    said = afterglow("retain", *words)
    assert (said.code, message in said.err) == (2, True), said.err
    assert _state(old[0]) == "present"


def test_with_commit_and_yes_it_removes_and_the_snapshot_says_so(
    afterglow: Afterglow, client: httpx.Client, old: tuple[int, str], store: FileStore
) -> None:
    said = afterglow("retain", "--commit", "--yes", "--json").json
    assert said["done"]["frames"] >= 1 and said["done"]["bytes"] > 0
    shown = client.get(f"/v1/snapshots/{old[0]}").json()
    assert (shown["image_state"], shown["image_sha256"]) == ("removed", old[1])
    assert not store.has_image(old[1])
    assert afterglow("retain", "--json").json["frames"]["removed"]["frames"] == 0


def test_over_http_it_is_a_job_that_counts_unless_told_otherwise(client: httpx.Client, database: str) -> None:
    answer = client.post("/v1/retention", json={})
    assert (answer.status_code, answer.json()["kind"]) == (202, "retain")
    assert answer.json()["params"] == {"dry_run": True, "frames_days": None, "events_days": None}
    assert client.post("/v1/retention", json={"frames_days": 0}).status_code == 422
    assert client.post("/v1/retention", json={"dry_run": "no"}).status_code == 422
