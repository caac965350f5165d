"""A real Chromium before a real server: who is logged in, frames to label, and what a page must never do."""

from __future__ import annotations

import io
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from sqlalchemy import text

from db.engine import session_scope
from db.queries import logins
from tests.browser.chromium import find_chromium
from tests.conftest import client_of

DESKTOP, PHONE = (1280, 720), (390, 844)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WHEN = datetime(2026, 2, 14, 17, 0, tzinfo=UTC)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this folder needs a browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium. Where there is none and none can be had the tests are skipped; with CI set, they fail."""
    path = find_chromium()
    if path is None:
        told = "no Chromium was found on the PATH, and it cannot be installed; set AFTERGLOW_CHROMIUM to one"
        (pytest.fail if os.environ.get("CI") or os.environ.get("AFTERGLOW_REQUIRE_BROWSER") else pytest.skip)(told)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        started.close()


@dataclass
class Visit:
    """One person's browser, and all that went wrong in it."""

    context: BrowserContext
    page: Page
    base: str
    may_fail: list[str] = field(default_factory=list)
    """Patterns of complaints that a test provokes."""
    complaints: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> Page:
        """Note errors of scripts, refusals by the policy, and requests to anybody else."""
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("console", lambda said: said.type == "error" and self.complaints.append(f"console: {said.text}"))
        page.on("request", lambda one: one.url.startswith(self.base) or self.complaints.append(f"asked {one.url}"))
        return page

    def another_page(self) -> Page:
        """A second page of the same browser."""
        return self.watch(self.context.new_page())

    def check(self) -> None:
        """Fail on what was not provoked."""
        left = [each for each in self.complaints if not any(re.search(one, each) for one in self.may_fail)]
        assert left == []


Visits = Callable[..., Visit]


@pytest.fixture
def visits(browser: Browser, server: str) -> Iterator[Visits]:
    """A function that opens a browser for a rater with scopes; `size` is that of its window."""
    opened: list[Visit] = []

    def visit(rater: str, *scopes: str, size: tuple[int, int] = DESKTOP, touch: bool = False) -> Visit:
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, has_touch=touch)
        context.set_default_timeout(20_000)
        one = Visit(context, context.new_page(), server)
        one.watch(one.page)
        opened.append(one)
        with session_scope() as session:
            _, link = logins.make_link(session, rater=rater, scopes=scopes or ("rate",))
        one.page.goto(f"{server}/login?link={link}")
        one.page.locator("main button").press("Enter")
        one.page.wait_for_url(f"{server}/")
        return one

    yield visit
    for one in opened:
        one.context.close()
    for one in opened:
        one.check()


@pytest.fixture
def frames(server: str, api_key: Callable[..., str]) -> Callable[[int], list[int]]:
    """A function that keeps so many new frames of 640 x 480, the only ones that wait; gives their snapshots."""

    def keep(count: int) -> list[int]:
        with session_scope() as session:
            session.execute(text("DELETE FROM label_leases"))
            session.execute(text("UPDATE webcam_snapshots SET image_state = 'removed' WHERE image_state = 'present'"))
        with client_of(server, api_key("ingest")) as client:
            webcam = client.post("/v1/webcams", json={"external_id": uuid.uuid4().hex, "title": "Pier"}).json()["id"]
            return [_keep(client, webcam, number) for number in range(count)]

    return keep


def _keep(client: httpx.Client, webcam: int, number: int) -> int:
    moment = (WHEN + timedelta(minutes=number)).isoformat()
    params: dict[str, Any] = {"webcam_id": webcam, "phase": "sunset", "captured_at": moment}
    answer = client.post("/v1/snapshots", content=make_jpeg(webcam * 10_000 + number), params=params)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


def make_jpeg(seed: int) -> bytes:
    """A picture of 640 x 480 like no other, of about 70 kB."""
    rng = np.random.default_rng(seed)
    top, bottom = rng.integers(0, 256, (2, 1, 3))
    sky = np.linspace(top, bottom, 480) + rng.normal(0, 9, (480, 640, 3))
    out = io.BytesIO()
    Image.fromarray(np.clip(sky, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=75)
    return out.getvalue()


def open_label(page: Page, base: str) -> None:
    """Open the label page and wait for its first picture."""
    page.goto(f"{base}/label")
    on_screen(page)


def on_screen(page: Page) -> int:
    """The snapshot whose picture is on the screen, waited for."""
    page.wait_for_selector("#picture[data-state=shown][data-snapshot-id]")
    return int(page.get_attribute("#picture", "data-snapshot-id") or 0)


def press_steadily(page: Page, keys: list[str], each_s: float) -> dict[int, str]:
    """Press keys at a pace, each for whatever is on the screen; gives what was pressed for which snapshot.

    A press that meets no picture counts for none, as the page says.
    """
    pressed: dict[int, str] = {}
    due = time.monotonic()
    for key in keys:
        time.sleep(max(0.0, due - time.monotonic()))
        due = max(due + each_s, time.monotonic())
        shown = page.get_attribute("#picture", "data-snapshot-id")
        page.keyboard.press(key)
        if shown is not None:
            assert int(shown) not in pressed, f"snapshot {shown} was shown twice"
            pressed[int(shown)] = key
    return pressed


def wait_until_saved(page: Page) -> None:
    """Wait until the page says that everything is saved."""
    expect(page.locator("#save-state")).to_have_attribute("data-state", "saved", timeout=30_000)


def verdicts(rater: str) -> dict[int, str]:
    """Snapshot -> the key that stands for the rater's verdict on it."""
    with session_scope() as session:
        rows = session.execute(
            text("SELECT snapshot_id, rating FROM webcam_snapshot_ratings WHERE user_session_id = :rater"),
            {"rater": rater},
        )
        return {row.snapshot_id: "n" if row.rating is None else str(row.rating) for row in rows}


def events(rater: str) -> list[Any]:
    """All that a rater did, in order: rows with snapshot_id, action, rating and shown_model_version."""
    with session_scope() as session:
        return list(
            session.execute(
                text(
                    "SELECT snapshot_id, action, rating, shown_model_version FROM rating_events "
                    "WHERE user_session_id = :rater ORDER BY id"
                ),
                {"rater": rater},
            )
        )
