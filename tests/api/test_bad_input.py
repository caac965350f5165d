"""Bad requests and their answers: names, ids, filters, JSON, forms. Never a fault of ours, never a file left behind."""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlmodel import Session, col, select

from api.main import create_app
from db.tables import Webcam
from ml.images.store import FileStore
from tests.tiny_model import picture

DESCRIPTION = create_app().openapi()
PATH_VALUES = {"model_version": "v", "rater": "ana", "name": "full", "key_id": "00000000"}
FORM_ROUTES = ("/v1/score", "/v1/score/batch", "/v1/snapshots", "/v1/training-runs/register")
BOUNDARY = "multipart/form-data; boundary=b"


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DESCRIPTION["paths"].items():
        for method, operation in methods.items():
            if path.startswith("/v1"):
                yield method.upper(), path, operation


def takes_json(operation: dict[str, Any]) -> bool:
    return "application/json" in operation.get("requestBody", {}).get("content", {})


JSON_ROUTES = [(method, path) for method, path, operation in operations() if takes_json(operation)]
ID_ROUTES = [
    (method, path, each["name"])
    for method, path, operation in operations()
    for each in operation.get("parameters", ())
    if each["in"] == "path" and each["schema"].get("type") == "integer"
]
BODIES = {"ratings": {"rater": "a", "rating": 1}, "triage": {"state": "dismissed"}}
"""End of a POST's path -> a body that it takes."""
LISTS = [
    (path, [each["name"] for each in operation["parameters"] if each["in"] == "query"])
    for method, path, operation in operations()
    if method == "GET" and any(each["name"] == "cursor" for each in operation.get("parameters", ()))
]


def filled(path: str, **values: str) -> str:
    names = {part[1:-1] for part in path.split("/") if part.startswith("{")} | {"name"}
    return path.format(**{name: values.get(name, PATH_VALUES.get(name, "999999")) for name in names})


def refusal(answer: httpx.Response, *statuses: int) -> str:
    """The detail of a refusal, after looking at its form."""
    assert answer.status_code in statuses, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    return str(answer.json()["detail"])


class TestJson:
    @pytest.mark.parametrize(
        ("text", "word"),
        [
            pytest.param("[" * 10_000, "nested too deep", id="deep"),
            pytest.param('{"a":' * 10_000 + "1" + "}" * 10_000, "nested too deep", id="deep objects"),
            ('{"a": 1e400}', "too large"),
            ('{"a": -1e400}', "too large"),
            ('{"a": NaN}', "NaN"),
            ('{"a": -Infinity}', "Infinity"),
            pytest.param('{"a": 1' + "0" * 5000 + "}", "digits", id="huge integer"),
            ('{"a": 1, "a": 2}', "given twice"),
            ('{"kind": "rating", "kind": "rating"}', "given twice"),
            ("{'a': 1}", "not JSON"),
            ('{"a": 1} {"b": 2}', "not JSON"),
            pytest.param(b'{"a": "\xff"}', "UTF-8", id="not utf-8"),
            pytest.param('{"a": 1}'.encode("utf-16"), "UTF-8", id="utf-16"),
        ],
    )
    def test_what_is_no_plain_json_is_422_on_every_route(
        self, client: httpx.Client, text: str | bytes, word: str
    ) -> None:
        assert len(JSON_ROUTES) >= 9
        for method, path in JSON_ROUTES:
            headers = {"Content-Type": "application/json"}
            answer = client.request(method, filled(path), content=text, headers=headers)
            detail = refusal(answer, 422)
            assert "not JSON" in detail, path
            assert word in detail, path

    def test_a_key_given_twice_among_many_is_found_at_once(self, client: httpx.Client) -> None:
        names = ",".join(f'"k{number}":0' for number in (*range(100_000), 99_999))  # by pairs it would take minutes
        answer = client.post("/v1/webcams", content=f"{{{names}}}", headers={"Content-Type": "application/json"})
        assert "'k99999' is given twice" in refusal(answer, 422)

    def test_json_without_a_picture_is_small(self, client: httpx.Client) -> None:
        body = '{"a":[' + "0," * (1 << 20) + "0]}"
        refusal(client.post("/v1/webcams", content=body, headers={"Content-Type": "application/json"}), 413)

    @pytest.mark.parametrize("odd", ["a\0b", "\ud800", "x\udfff"])
    @pytest.mark.parametrize(
        ("path", "body", "field"),
        [
            ("/v1/webcams", {"external_id": "x"}, "title"),
            ("/v1/webcams", {}, "external_id"),
            ("/v1/snapshots/1/ratings", {"rating": 4}, "rater"),
            ("/v1/datasets", {}, "kind"),
            ("/v1/training-runs", {}, "notes"),
            ("/v1/keys", {"scopes": ["rate"]}, "name"),
            ("/v1/score?kind=rating", {}, "url"),
        ],
    )
    def test_text_that_the_database_would_choke_on_is_422(
        self, client: httpx.Client, path: str, body: dict[str, Any], field: str, odd: str
    ) -> None:
        content = json.dumps({**body, field: odd})
        refusal(client.post(path, content=content, headers={"Content-Type": "application/json"}), 422)

    @pytest.mark.parametrize("odd", ["a\0b", "\ud800"])
    @pytest.mark.parametrize("where", ["key", "value"])
    def test_so_it_is_inside_of_free_json(self, client: httpx.Client, odd: str, where: str) -> None:
        recipe = {odd: 1} if where == "key" else {"weights": [{"a": odd}]}
        content = json.dumps({"recipe": recipe})
        headers = {"Content-Type": "application/json"}
        assert "recipe" in refusal(client.post("/v1/training-runs", content=content, headers=headers), 422)

    @pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded"])
    def test_json_under_another_type_is_not_taken(self, client: httpx.Client, session: Session, kind: str) -> None:
        key = uuid.uuid4().hex
        answer = client.post("/v1/webcams", content=json.dumps({"external_id": key}), headers={"Content-Type": kind})
        refusal(answer, 415, 422)
        assert session.exec(select(Webcam).where(col(Webcam.external_id) == key)).all() == []


class TestIds:
    @pytest.mark.parametrize(
        "key",
        ["1 OR 1=1", "-1", "0", str(2**63), str(2**64), "9" * 400, "9" * 5000, "%00", "1%00", "1.5", "1_0", "+1", "0x1", "null",
         "\u0661", "%ff", "1;DROP TABLE jobs", "..", "..%2f1"],
    )  # fmt: skip
    def test_an_odd_id_is_refused_on_every_route(self, client: httpx.Client, key: str) -> None:
        assert len(ID_ROUTES) >= 14
        for method, path, name in ID_ROUTES:
            if method == "POST" and path.endswith("ratings"):
                answer = client.post(filled(path, **{name: key}), json={"rater": "a", "rating": 1})
            else:
                answer = client.request(method, filled(path, **{name: key}))
            refusal(answer, 422, 404, 405)

    def test_an_id_that_nobody_has_is_404_on_every_route(self, client: httpx.Client) -> None:
        for method, path, name in ID_ROUTES:
            body = BODIES.get(path.rpartition("/")[2]) if method == "POST" else None
            detail = refusal(client.request(method, filled(path, **{name: str(2**63 - 1)}), json=body), 404)
            assert "no" in detail

    @pytest.mark.parametrize("name", ["a b", "a%00b", "..%2F..%2Fetc", "%2e%2e", "a" * 101, "-rf", "a;b", "é"])
    def test_an_odd_version_name_is_refused(self, client: httpx.Client, name: str) -> None:
        for tail in ("", "/evaluation", "/evaluations"):
            refusal(client.get(f"/v1/models/{name}{tail}"), 422, 404)


class TestLists:
    @pytest.mark.parametrize(("path", "names"), LISTS)
    def test_a_filter_that_is_not_known_is_422_and_hears_which_are(
        self, client: httpx.Client, path: str, names: list[str]
    ) -> None:
        for odd in ("password_hash", "secret_sha256__startswith", "order_by", "a'; --"):
            detail = refusal(client.get(filled(path), params={odd: "x"}), 422)
            assert all(name in detail for name in names)
        assert "once" in refusal(client.get(f"{filled(path)}?limit=1&limit=2"), 422)

    @pytest.mark.parametrize(("path", "names"), LISTS)
    def test_a_page_has_1_to_200_items(self, client: httpx.Client, path: str, names: list[str]) -> None:
        for odd in ("0", "-1", "201", "1e3", "x", ""):
            assert "limit" in refusal(client.get(filled(path), params={"limit": odd}), 422)
        for odd in ("0", "-1", "x", str(2**63)):
            assert "cursor" in refusal(client.get(filled(path), params={"cursor": odd}), 422)

    @pytest.mark.parametrize("value", ["password_hash", "id; DROP TABLE webcams", "-id", ""])
    def test_only_named_orders_are_taken(self, client: httpx.Client, value: str) -> None:
        for path in ("/v1/webcams", "/v1/snapshots"):
            assert "oldest" in refusal(client.get(path, params={"sort": value}), 422)
        for path in ("/v1/jobs", "/v1/keys", "/v1/models"):
            assert "sort" in refusal(client.get(path, params={"sort": value}), 422)

    def test_a_route_without_parameters_says_so(self, client: httpx.Client) -> None:
        assert "takes none" in refusal(client.get("/v1/webcams/1?verbose=1"), 422)
        assert "takes none" in refusal(client.post("/v1/webcams?dry_run=1", json={"external_id": "x"}), 422)

    def test_ten_thousand_ranges_cost_nothing(self, client: httpx.Client) -> None:
        ranges = "bytes=" + ",".join(f"{n}-{n}" for n in range(10_000))
        for path in ("/docs-assets/swagger-ui.css", "/v1/webcams"):
            answer = client.get(path, headers={"Range": ranges})
            assert answer.status_code in (200, 400, 416, 431), path
            assert len(answer.content) < 2_000_000


class TestFileNames:
    @pytest.mark.parametrize(
        "name",
        ["../../etc/passwd", "..\\..\\x.png", "%2e%2e%2fx.png", "%252e%252e%252fx", "x" * 300 + ".png", "CON",
         "\u202egnp.exe", "a\0b.png", "", "<img src=x onerror=alert(1)>.png", "/etc/passwd", "nul\r\nX-Evil: 1"],
    )  # fmt: skip
    def test_a_file_name_names_nothing(self, client: httpx.Client, store: FileStore, data_dir: Path, name: str) -> None:
        webcam = client.post("/v1/webcams", json={"external_id": uuid.uuid4().hex}).json()["id"]
        params = {"webcam_id": webcam, "phase": "sunset", "captured_at": "2026-02-14T17:00:00Z"}
        before = {path for path in data_dir.rglob("*") if path.is_file()}
        form = (
            b'--b\r\nContent-Disposition: form-data; name="image"; filename="' + name.encode() + b'"\r\n'
            b"Content-Type: image/png\r\n\r\n" + picture(40 + len(name)) + b"\r\n--b--\r\n"
        )
        answer = client.post("/v1/snapshots", content=form, params=params, headers={"Content-Type": BOUNDARY})
        assert answer.status_code in (201, 400, 422), answer.text
        new = {path for path in data_dir.rglob("*") if path.is_file()} - before
        if answer.status_code == 201:
            sha256 = answer.json()["image_sha256"]
            assert {path.parent.name + path.name.partition(".")[0] for path in new} <= {sha256}
        else:
            assert new == set()
        assert "X-Evil" not in answer.headers


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the server puts temporary files while a test runs; empty before and after."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def part(name: str, value: bytes, file: str | None = None) -> bytes:
    filename = f'; filename="{file}"' if file is not None else ""
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'.encode() + value + b"\r\n"


FORMS = {
    "cut in a header": part("image", picture(1), "x.png")[:30],
    "cut in a file": part("image", b"\0" * 3_000_000, "x.png")[:-1000],
    "cut before the end": part("image", picture(1), "x.png"),
    "2000 files": b"".join(part(f"image{n}", b"x", "x.png") for n in range(2000)) + b"--b--\r\n",
    "2000 fields": b"".join(part(f"field{n}", b"x") for n in range(2000)) + b"--b--\r\n",
    "a field of 10 MB": part("phase", b"s" * 10_000_000) + b"--b--\r\n",
    "a field name of 1 MB": part("p" * 1_000_000, b"s") + b"--b--\r\n",
    "no part": b"--b--\r\n",
    "empty": b"",
    "another boundary": part("image", picture(1), "x.png").replace(b"--b", b"--c") + b"--c--\r\n",
    "no form at all": picture(1),
}


class TestForms:
    @pytest.mark.parametrize("path", FORM_ROUTES)
    @pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
    def test_a_broken_form_is_refused_and_leaves_no_file(
        self, client: httpx.Client, temporary: Path, form: bytes, path: str
    ) -> None:
        answer = client.post(path, content=form, headers={"Content-Type": BOUNDARY})
        refusal(answer, 400, 413, 422)
        assert list(temporary.iterdir()) == []

    @pytest.mark.parametrize("path", FORM_ROUTES)
    @pytest.mark.parametrize(
        "kind",
        ["multipart/form-data", "multipart/form-data; boundary=", 'multipart/form-data; boundary="', "multipart/mixed",
         "multipart/form-data; boundary=" + "b" * 5000],
    )  # fmt: skip
    def test_a_form_without_its_boundary_is_refused(
        self, client: httpx.Client, temporary: Path, kind: str, path: str
    ) -> None:
        form = part("image", picture(1), "x.png") + b"--b--\r\n"
        refusal(client.post(path, content=form, headers={"Content-Type": kind}), 400, 415, 422)
        assert list(temporary.iterdir()) == []
