"""Scanning by command and over HTTP."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.conftest import client_of
from tests.tiny_model import picture
from tests.worker.cli.conftest import Afterglow
from worker.stages.scan import scan


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "20250727_224840_stage2_upscaled.png").write_bytes(picture(1))
    (tmp_path / "20250727_224840_stage2_upscaled.yaml").write_text("x")
    (tmp_path / "bad.png").write_bytes(b"no image")
    return tmp_path


def test_it_says_what_came_in_and_what_could_not_be_read(afterglow: Afterglow, database: str, directory: Path) -> None:
    said = afterglow("scan", str(directory), "--project", "said")
    assert said.code == 0
    assert "2 images: 1 read, 0 unchanged" in said.out and "1 photos, 1 paths, 1 companions" in said.out
    assert "bad.png" in said.out and "not an image" in said.out
    again = afterglow("scan", str(directory), "--project", "said", "--json").json
    assert (again["unchanged"], again["photos_added"], len(again["unreadable"])) == (1, 0, 1)
    listed = afterglow("projects", "--json").json
    assert [(each["name"], each["photos"]) for each in listed] == [("said", 1)]
    assert "said" in afterglow("projects").out


def test_where_nothing_can_be_read_it_fails_and_an_empty_directory_is_no_failure(
    afterglow: Afterglow, database: str, tmp_path: Path
) -> None:
    empty = afterglow("scan", str(tmp_path), "--project", "empty")
    assert (empty.code, "no images in" in empty.out) == (0, True)
    (tmp_path / "bad.png").write_bytes(b"no image")
    assert afterglow("scan", str(tmp_path), "--project", "empty").code == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("/nowhere/at/all", "--project", "p"), "is not there: name a directory"),
        ((__file__, "--project", "p"), "is not a directory"),
        (("/tmp", "--project", "../p"), "cannot name a project"),
        (("/tmp", "--project", ""), "cannot name a project"),
        (("/tmp",), "--project"),
    ],
)
def test_what_it_cannot_use_is_said_plainly(
    afterglow: Afterglow, database: str, words: tuple[str, ...], message: str
) -> None:
    said = afterglow("scan", *words)
    assert (said.code, message in said.err) == (2, True), said.err


def test_over_http_it_is_a_job_and_photos_are_listed(client: httpx.Client, directory: Path) -> None:
    answer = client.post("/v1/projects/web/scan", json={"directory": str(directory)})
    assert (answer.status_code, answer.json()["kind"]) == (202, "scan")
    assert answer.json()["params"] == {"project": "web", "directory": str(directory)}
    scan(directory, "web")
    (photo,) = client.get("/v1/projects/web/photos").json()["items"]
    assert (photo["stage"], photo["taken_at"]) == (2.0, "2025-07-27T22:48:40Z")
    assert {each["name"]: each["photos"] for each in client.get("/v1/projects").json()["items"]}["web"] == 1


def test_projects_come_in_pages(client: httpx.Client, tmp_path: Path) -> None:
    for name in ("page a", "page b", "page c"):
        scan(tmp_path, name)
    first = client.get("/v1/projects", params={"limit": 2}).json()
    rest = client.get("/v1/projects", params={"cursor": first["next_cursor"], "limit": 200}).json()
    names = [each["name"] for each in (*first["items"], *rest["items"])]
    assert len(names) == len(set(names)) and set(names) >= {"page a", "page b", "page c"}


@pytest.mark.parametrize(
    ("project", "body"),
    [("web", {"directory": "relative"}), ("web", {}), ("..%20x", {"directory": "/a"}), ("a!", {"directory": "/a"})],
)
def test_what_the_route_cannot_use_is_refused(client: httpx.Client, project: str, body: dict[str, str]) -> None:
    assert client.post(f"/v1/projects/{project}/scan", json=body).status_code == 422


def test_an_unknown_project_is_404_and_a_key_that_only_reads_cannot_scan(
    client: httpx.Client, server: str, api_key: object
) -> None:
    assert client.get("/v1/projects/nowhere/photos").status_code == 404
    with client_of(server, api_key("rate")) as rater:  # type: ignore[operator]
        assert rater.post("/v1/projects/web/scan", json={"directory": "/a"}).status_code == 403
