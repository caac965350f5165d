"""The pages' shell: what it allows itself, and refusals in plain words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import unescape
from typing import Any

import httpx
import pytest

from api.main import create_app
from api.routes import evaluation_pages, job_pages, model_pages, pages, webcam_pages
from api.web.navigation import NAVIGATION
from api.web.rendering import STATIC_DIR, STATIC_PATH
from tests.api.conftest import BROWSER
from tests.api.test_security import every_route
from tests.conftest import client_of
from tests.node_packages import run_node

TEMPLATES = STATIC_DIR.parent / "templates"
ROUTES = [
    route
    for module in (pages, job_pages, model_pages, webcam_pages, evaluation_pages)
    for route in module.router.routes
]
PATHS = [path for _, path, route in every_route(create_app()) if route in ROUTES]


@pytest.fixture(scope="module")
def keymap() -> dict[str, Any]:
    """What keymap.js exports."""
    code = f"import {{ EVERYWHERE, PAGES }} from {json.dumps((STATIC_DIR / 'keymap.js').as_uri())};" + (
        "console.log(JSON.stringify({ EVERYWHERE, PAGES }))"
    )
    done = run_node(STATIC_DIR, "--no-warnings", "--input-type=module", "-e", code)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def names_of_pages() -> set[str]:
    found = {path.name: re.findall(r"block name %}(\w+)", path.read_text()) for path in TEMPLATES.glob("*.j2")}
    return {name for names in found.values() for name in names}


@pytest.mark.parametrize("path", PATHS)
def test_a_page_runs_our_files_and_asks_this_server_and_nothing_else(
    client: httpx.Client, ids: dict[str, str], path: str
) -> None:
    answer = client.get(path.format(**ids), headers=BROWSER)
    assert answer.status_code == 200, answer.text
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["img-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert re.findall(r"\sstyle=|\son\w+=|javascript:|//", answer.text) == []
    assert re.findall(r"<(?:script|style)(?![^>]*\ssrc=)", answer.text) == []
    for address in re.findall(r'(?:src|href)="([^"#]+)"', answer.text):
        assert client.get(unescape(address)).status_code == 200, address


def test_a_browser_without_a_login_is_shown_the_form_that_leads_back(anonymous: httpx.Client) -> None:
    answer = anonymous.get("/label?frame=7", headers=BROWSER)
    assert (answer.status_code, answer.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert 'name="goes_to" value="/label?frame=7"' in answer.text
    assert anonymous.get("/label", headers={"Accept": "*/*"}).headers["content-type"] == "application/problem+json"
    assert anonymous.get("/v1/webcams", headers=BROWSER).headers["content-type"] == "application/problem+json"


def test_a_login_that_lacks_a_scope_is_told_in_words(server: str, api_key: Callable[..., str]) -> None:
    with client_of(server, api_key("score")) as client:
        answer = client.get("/label", headers=BROWSER)
    assert answer.status_code == 403
    assert "scope &#39;rate&#39;" in answer.text


def test_an_address_without_a_page_says_so_and_shows_what_was_asked_as_text(client: httpx.Client) -> None:
    answer = client.get("/<script>alert(1)</script>", headers=BROWSER)
    assert answer.status_code == 404
    assert "There is no page /&lt;script&gt;" in answer.text
    assert "<script>alert" not in answer.text


def test_modules_and_styles_are_asked_for_again_each_time(anonymous: httpx.Client) -> None:
    first = anonymous.get(f"{STATIC_PATH}/shell.js")
    assert first.headers["cache-control"] == "no-cache"
    assert "javascript" in first.headers["content-type"]
    again = anonymous.get(f"{STATIC_PATH}/shell.js", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    assert anonymous.get(f"{STATIC_PATH}/../templates/shell.html.j2").status_code == 404


def test_no_file_of_the_pages_names_another_server() -> None:
    for file in (*STATIC_DIR.iterdir(), *TEMPLATES.iterdir()):
        named = re.findall(r"https?://(?!www\.w3\.org/)[\w.]+", file.read_text())
        assert named == [], file.name


class TestKeymap:
    def test_every_page_has_its_keys_there(self, keymap: dict[str, Any]) -> None:
        assert set(keymap["PAGES"]) == names_of_pages()

    def test_no_key_means_two_things_on_one_page(self, keymap: dict[str, Any]) -> None:
        for page, entries in keymap["PAGES"].items():
            keys = [key for entry in (*entries, *keymap["EVERYWHERE"]) for key in entry["keys"]]
            assert len(keys) == len(set(keys)), page
            firsts = {key.split(" ")[0] for key in keys if len(key) == 3}
            assert not firsts & set(keys), f"{page}: a key would wait for a second one"

    def test_every_entry_of_the_navigation_has_a_key(self, keymap: dict[str, Any]) -> None:
        assert {entry["goes"] for entry in keymap["EVERYWHERE"] if "goes" in entry} == {
            each.path for each in NAVIGATION
        }

    @pytest.mark.parametrize("path", PATHS)
    def test_every_button_means_an_entry_and_every_entry_says_what_it_does(
        self, client: httpx.Client, ids: dict[str, str], keymap: dict[str, Any], path: str
    ) -> None:
        text = client.get(path.format(**ids), headers=BROWSER).text
        (name,) = re.findall(r'data-page="(\w+)"', text)
        known = [*keymap["PAGES"][name], *keymap["EVERYWHERE"]]
        assert all(entry["says"] for entry in known)
        meant = {(entry.get("action"), str(entry.get("with", ""))) for entry in known}
        for button in re.findall(r"<button[^>]*data-action[^>]*>", text):
            (action,) = re.findall(r'data-action="(\w+)"', button)
            (given,) = re.findall(r'data-with="(\w+)"', button) or [""]
            assert (action, given) in meant, button
