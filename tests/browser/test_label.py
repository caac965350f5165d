"""Labelling with keys in a real browser: nothing is dropped, nothing is doubled, and everything can be taken back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import APIResponse, Route, expect
from sqlalchemy import text

from db.engine import session_scope
from db.queries import logins
from tests.browser.conftest import (
    PHONE,
    Visits,
    events,
    on_screen,
    open_label,
    press_steadily,
    verdicts,
    wait_until_saved,
)

Frames = Callable[[int], list[int]]
KEYS = ["4", "1", "n", "5", "2", "0", "3"]
OFFLINE = r"ERR_INTERNET_DISCONNECTED|ERR_FAILED|ERR_NETWORK|503"


def keys(count: int) -> list[str]:
    return [KEYS[place % len(KEYS)] for place in range(count)]


def said(pressed: dict[int, str]) -> dict[int, str]:
    """`0` and `n` mean the same."""
    return {snapshot: key.replace("0", "n") for snapshot, key in pressed.items()}


def done_by_server(route: Route, base: str) -> APIResponse:
    """Let the server do what the page asks, and have its answer. Playwright leaves out where a request comes from."""
    answer = route.fetch(headers={**route.request.headers, "Origin": base})
    assert answer.ok, answer.text()
    return answer


def test_200_frames_at_10_keys_a_second_give_200_rows_each_what_was_pressed_for_it(
    visits: Visits, frames: Frames
) -> None:
    kept = frames(200)
    page = (ann := visits("ann-200")).page
    open_label(page, ann.base)
    began = time.monotonic()
    pressed = press_steadily(page, keys(200), 0.1)
    assert time.monotonic() - began < 30, "about ten keys a second"
    wait_until_saved(page)
    assert len(pressed) == 200, "every press met a picture"
    assert verdicts("ann-200") == said(pressed)
    assert set(pressed) == set(kept)
    assert len(events("ann-200")) == 200
    expect(page.locator("#save-state")).to_have_text("Saved: 200")
    expect(page.locator("#picture")).to_have_attribute("data-state", "empty", timeout=20_000)


def test_keys_faster_than_the_screen_count_for_no_frame_that_nobody_saw(visits: Visits, frames: Frames) -> None:
    frames(30)
    page = (ann := visits("ann-fast")).page
    open_label(page, ann.base)
    first = on_screen(page)
    page.evaluate(
        """() => { for (let n = 0; n < 5; n++)
             document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "4", code: "Digit4", bubbles: true })); }"""
    )
    expect(page.locator("#last")).to_have_text("Last: 4 stars")
    wait_until_saved(page)
    assert verdicts("ann-fast") == {first: "4"}


def test_a_key_that_is_held_down_is_one_press_and_typing_elsewhere_is_none(visits: Visits, frames: Frames) -> None:
    frames(10)
    page = (ann := visits("ann-held")).page
    open_label(page, ann.base)
    page.keyboard.down("3")
    for _ in range(5):
        page.keyboard.down("3")
    page.keyboard.up("3")
    page.keyboard.press("Control+4")
    page.keyboard.press("?")
    page.keyboard.press("5")
    page.keyboard.press("Escape")
    wait_until_saved(page)
    assert [row.rating for row in events("ann-held")] == [3]


def test_what_was_answered_is_taken_back_after_a_reload_by_new_events(visits: Visits, frames: Frames) -> None:
    frames(12)
    page = (ann := visits("ann-undo")).page
    open_label(page, ann.base)
    shown = []
    for key in ("4", "5", "Space", "2"):
        shown.append(on_screen(page))
        page.keyboard.press(key)
    fifth = on_screen(page)
    wait_until_saved(page)
    page.reload()
    assert on_screen(page) == fifth, "a reload goes on where it was"
    for back in reversed(shown[1:]):
        page.keyboard.press("z")
        expect(page.locator("#picture")).to_have_attribute("data-snapshot-id", str(back))
    wait_until_saved(page)
    assert verdicts("ann-undo") == {shown[0]: "4"}
    assert [(row.snapshot_id, row.action) for row in events("ann-undo")] == [
        (shown[0], "rate"), (shown[1], "rate"), (shown[3], "rate"), (shown[3], "retract"), (shown[1], "retract"),
    ]  # fmt: skip
    page.keyboard.press("1")
    assert on_screen(page) == shown[2]
    wait_until_saved(page)
    assert verdicts("ann-undo") == {shown[0]: "4", shown[1]: "1"}


def test_two_people_and_two_pages_of_one_never_get_the_same_frame(visits: Visits, frames: Frames) -> None:
    kept = frames(60)
    ann, ben = visits("ann-two"), visits("ben-two")
    pages = {"ann": ann.page, "ben": ben.page, "ann again": ann.another_page()}
    for page in pages.values():
        page.goto(f"{ann.base}/label")
    seen: dict[str, list[int]] = {name: [] for name in pages}
    until = time.monotonic() + 60
    while sum(map(len, seen.values())) < len(kept) and time.monotonic() < until:
        for name, page in pages.items():
            shown = page.get_attribute("#picture", "data-snapshot-id")
            if shown is not None:
                seen[name].append(int(shown))
                page.keyboard.press("3")
                page.wait_for_timeout(30)
    everything = [each for some in seen.values() for each in some]
    assert sorted(everything) == sorted(kept)
    assert all(seen.values()), "each was given some"
    for page in pages.values():
        wait_until_saved(page)
    assert len(verdicts("ann-two")) + len(verdicts("ben-two")) == 60
    assert not set(verdicts("ann-two")) & set(verdicts("ben-two"))


def test_a_connection_cut_for_ten_seconds_loses_nothing(visits: Visits, frames: Frames) -> None:
    frames(120)
    ann = visits("ann-cut")
    ann.may_fail.append(OFFLINE)
    open_label(ann.page, ann.base)
    pressed = press_steadily(ann.page, keys(20), 0.1)
    ann.context.set_offline(True)
    pressed |= press_steadily(ann.page, keys(100), 0.1)
    expect(ann.page.locator("#save-state")).to_have_attribute("data-state", "offline")
    assert "No connection" in ann.page.inner_text("#save-state")
    assert len(pressed) > 24, "what was decoded ahead could be labelled without a connection"
    waiting = len(pressed) - len(verdicts("ann-cut"))
    assert f"{waiting} ratings are kept here" in ann.page.inner_text("#save-state")
    ann.context.set_offline(False)
    wait_until_saved(ann.page)
    on_screen(ann.page)
    pressed |= press_steadily(ann.page, keys(20), 0.1)
    wait_until_saved(ann.page)
    assert verdicts("ann-cut") == said(pressed)
    assert len(events("ann-cut")) == len(pressed)


def test_what_waits_for_the_server_survives_a_reload_and_an_answer_that_is_lost_doubles_nothing(
    visits: Visits, frames: Frames
) -> None:
    frames(30)
    ann = visits("ann-lost")
    ann.may_fail.append(OFFLINE)
    open_label(ann.page, ann.base)

    def lose(route: Route) -> None:
        done_by_server(route, ann.base)
        route.abort()  # and its answer is lost

    ann.page.route("**/ratings", lose)
    pressed = press_steadily(ann.page, keys(6), 0.2)
    expect(ann.page.locator("#save-state")).to_have_attribute("data-state", "offline")
    ann.page.unroute("**/ratings")
    ann.page.route("**/ratings", lambda route: route.abort())
    ann.page.reload()
    shown = on_screen(ann.page)
    assert shown not in pressed, "what waits is not shown again"
    ann.page.unroute("**/ratings")
    wait_until_saved(ann.page)
    assert verdicts("ann-lost") == said(pressed)
    assert len(events("ann-lost")) == len(pressed)


def test_whoever_is_logged_out_loses_nothing_and_is_told(visits: Visits, frames: Frames) -> None:
    frames(20)
    ann = visits("ann-out")
    ann.may_fail.append("401")
    open_label(ann.page, ann.base)
    with session_scope() as session:
        (login,) = [row for row in logins.list_logins(session) if row.rater == "ann-out"]
        logins.end_login(session, int(login.id or 0))
    time.sleep(5.1)  # for so long a server may believe a cookie
    pressed = press_steadily(ann.page, keys(3), 0.3)
    expect(ann.page.locator("#log-in-again")).to_be_visible()
    assert "Logged out: 3 ratings are kept here" in ann.page.inner_text("#save-state")
    with session_scope() as session:
        _, link = logins.make_link(session, rater="ann-out", scopes=["rate"])
    ann.page.goto(f"{ann.base}/login?link={link}")
    ann.page.locator("main button").press("Enter")
    ann.page.wait_for_url(f"{ann.base}/")
    open_label(ann.page, ann.base)
    wait_until_saved(ann.page)
    assert verdicts("ann-out") == said(pressed)


class TestBlind:
    @pytest.fixture
    def scored(self, frames: Frames) -> list[int]:
        kept = frames(8)
        with session_scope() as session:
            session.execute(
                text("UPDATE webcam_snapshots SET ai_rating = 3.9, ai_model_version = 'seen_v1' WHERE id = ANY(:ids)"),
                {"ids": kept},
            )
        return kept

    def test_the_model_is_heard_after_the_answer_and_the_record_says_when_before(
        self, visits: Visits, scored: list[int]
    ) -> None:
        ann = visits("ann-blind")
        heard: list[Any] = []
        ann.page.on("response", lambda answer: "/v1/" in answer.url and heard.append((answer.url, answer)))
        open_label(ann.page, ann.base)
        told = [answer.text() for url, answer in heard if "/image" not in url]
        assert told
        assert not any("3.9" in each or "seen_v1" in each for each in told)
        assert "Model" not in ann.page.inner_text("main")
        ann.page.keyboard.press("5")
        expect(ann.page.locator("#reveal")).to_contain_text("Model: 3.9 (seen_v1)")
        on_screen(ann.page)
        ann.page.keyboard.press("m")
        expect(ann.page.locator("#notice")).to_contain_text("The model says 3.9")
        ann.page.keyboard.press("4")
        expect(ann.page.locator("#reveal")).to_contain_text("Model: 3.9")
        ann.page.keyboard.press("z")
        ann.page.wait_for_timeout(100)
        on_screen(ann.page)
        ann.page.keyboard.press("3")
        wait_until_saved(ann.page)
        ann.page.keyboard.press("z")
        ann.page.keyboard.press("z")
        ann.page.wait_for_timeout(100)
        on_screen(ann.page)
        ann.page.keyboard.press("1")
        wait_until_saved(ann.page)
        rated = [(row.rating, row.shown_model_version) for row in events("ann-blind") if row.action == "rate"]
        assert rated == [(5, None), (4, "seen_v1"), (3, "seen_v1"), (1, "seen_v1")]


def test_fingers_label_on_a_phone(visits: Visits, frames: Frames) -> None:
    frames(6)
    ann = visits("ann-touch", size=PHONE, touch=True)
    open_label(ann.page, ann.base)
    first = on_screen(ann.page)
    ann.page.tap("[data-action=rate][data-with='5']")
    expect(ann.page.locator("#picture")).not_to_have_attribute("data-snapshot-id", str(first))
    ann.page.keyboard.press("Space")  # after a finger, Space is not the button's
    wait_until_saved(ann.page)
    assert verdicts("ann-touch") == {first: "5"}
    ann.page.tap("[data-action=undo]")
    ann.page.tap("[data-action=undo]")
    wait_until_saved(ann.page)
    expect(ann.page.locator("#picture")).to_have_attribute("data-snapshot-id", str(first))
    assert verdicts("ann-touch") == {}


def test_a_frame_whose_picture_is_gone_is_left_out(visits: Visits, frames: Frames) -> None:
    kept = frames(4)
    ann = visits("ann-gone")
    ann.may_fail.append("410")
    held = [kept[1], kept[2]]

    def vanish(route: Route) -> None:
        with session_scope() as session:
            session.execute(
                text("UPDATE webcam_snapshots SET image_state = 'removed' WHERE id = ANY(:ids)"), {"ids": held}
            )
        route.continue_()

    ann.page.route(f"**/{held[0]}/image", vanish)
    ann.page.route(f"**/{held[1]}/image", vanish)
    open_label(ann.page, ann.base)
    shown = []
    for _ in range(2):
        shown.append(on_screen(ann.page))
        ann.page.keyboard.press("4")
    expect(ann.page.locator("#picture")).not_to_have_attribute("data-state", "shown")
    wait_until_saved(ann.page)
    assert sorted(shown) == [kept[0], kept[3]]


def test_an_answer_with_fewer_frames_than_asked_for_is_not_the_end(visits: Visits, frames: Frames) -> None:
    frames(50)
    ann = visits("ann-fewer")

    def shorten(route: Route) -> None:
        """As when ratings arrive while the frames are being chosen."""
        if route.request.method == "GET":
            route.continue_()
            return
        answer = done_by_server(route, ann.base)
        content = answer.json()
        route.fulfill(response=answer, json={**content, "frames": content["frames"][:-2]})

    ann.page.route("**/label-queue", shorten)
    open_label(ann.page, ann.base)
    pressed = press_steadily(ann.page, keys(40), 0.15)
    wait_until_saved(ann.page)
    assert len(pressed) == 40
    assert verdicts("ann-fewer") == said(pressed)


def test_a_server_that_is_busy_is_asked_again(visits: Visits, frames: Frames) -> None:
    frames(10)
    ann = visits("ann-busy")
    ann.may_fail.append(OFFLINE)
    open_label(ann.page, ann.base)
    refused: list[int] = []

    def refuse_twice(route: Route) -> None:
        if len(refused) < 2:
            refused.append(1)
            route.fulfill(status=503, json={"detail": "busy"})
        else:
            route.continue_()

    ann.page.route("**/ratings", refuse_twice)
    pressed = press_steadily(ann.page, ["4"], 0.1)
    wait_until_saved(ann.page)
    assert len(refused) == 2
    assert verdicts("ann-busy") == pressed


def test_a_rating_that_is_refused_is_told_and_holds_up_nothing(visits: Visits, frames: Frames) -> None:
    frames(10)
    ann = visits("ann-refused")
    ann.may_fail.append("422")
    open_label(ann.page, ann.base)
    first = on_screen(ann.page)
    ann.page.route(f"**/{first}/ratings", lambda route: route.fulfill(status=422, json={"detail": "that is no rating"}))
    pressed = press_steadily(ann.page, ["4", "5"], 0.3)
    expect(ann.page.locator("#refused")).to_contain_text(f"frame {first} was not taken: that is no rating")
    wait_until_saved(ann.page)
    assert verdicts("ann-refused") == {snapshot: key for snapshot, key in pressed.items() if snapshot != first}
