"""Every page in a real browser: by keyboard alone, on a phone, without findings of axe, and without a request elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from api.web.navigation import NAVIGATION
from tests.browser.conftest import DESKTOP, PHONE, Visit, Visits
from tests.node_packages import node_packages

PATHS = [entry.path for entry in NAVIGATION]
SERIOUS = ("serious", "critical")
SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
CONTROLS = "a[href], button, input, select, textarea, summary, [tabindex='0']"
FOCUSED = """() => {
  const one = document.activeElement, seen = one.getBoundingClientRect(), style = getComputedStyle(one);
  return { name: (one.innerText || one.ariaLabel || one.name || one.id || "").trim().slice(0, 60), tag: one.tagName,
           ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
           place: [seen.width, seen.height], nth: [...document.querySelectorAll("*")].indexOf(one) };
}"""
SMALL = """([controls, least]) => [...document.querySelectorAll(controls)]
  .filter((one) => one.checkVisibility({ visibilityProperty: true }) && !one.closest("p, li, td, th, .skip"))
  .map((one) => one.matches("[type=checkbox], [type=radio]") ? one.closest("label") ?? one : one)  // a finger takes the words too
  .map((one) => [one.outerHTML.slice(0, 80), one.getBoundingClientRect()])
  .filter(([, at]) => at.height < least && at.height > 0).map(([name]) => name)"""


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    place = node_packages(Path(__file__).parent)
    return (place / "node_modules" / "axe-core" / "axe.min.js").read_text()


def findings(page: Page, axe: str) -> list[str]:
    """What axe finds that is serious."""
    page.evaluate(axe)
    found: dict[str, Any] = page.evaluate("() => axe.run(document)")
    return [
        f"{each['id']}: {each['help']} ({', '.join(node['html'][:100] for node in each['nodes'])})"
        for each in found["violations"]
        if each["impact"] in SERIOUS
    ]


def go(visit: Visit, path: str) -> Page:
    """Open a page and wait for its module and for what it asks the server."""
    visit.page.goto(visit.base + path)
    visit.page.wait_for_selector("body[data-started]")
    visit.page.wait_for_load_state("networkidle")
    return visit.page


@SIZES
@pytest.mark.parametrize("path", PATHS)
def test_axe_has_no_serious_findings(visits: Visits, axe: str, path: str, size: tuple[int, int]) -> None:
    page = go(visits("ann", "admin", size=size), path)
    assert findings(page, axe) == []
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    assert findings(page, axe) == []


def test_axe_has_no_serious_findings_before_a_login_and_after_a_refusal(visits: Visits, axe: str) -> None:
    ann = visits("ann", "score")
    ann.may_fail += ["403", "404", "401"]
    for path in ("/login", "/label", "/nowhere", "/login?link=used"):
        ann.page.goto(ann.base + path)
        assert findings(ann.page, axe) == [], path


@pytest.mark.parametrize("path", PATHS)
def test_every_control_is_reached_with_tab_and_shows_that_it_has_the_focus(visits: Visits, path: str) -> None:
    page = go(visits("ann", "admin"), path)
    wanted = page.evaluate(
        """(controls) => [...document.querySelectorAll(controls)]
             .filter((one) => !one.disabled && one.checkVisibility({ visibilityProperty: true }) && one.tabIndex >= 0)
             .map((one) => [...document.querySelectorAll("*")].indexOf(one))""",
        CONTROLS,
    )
    reached = []
    for _ in range(len(wanted) + 2):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused["tag"] != "BODY":
            assert focused["ring"], f"{focused['tag']} {focused['name']} does not show its focus"
            reached.append(focused["nth"])
    assert set(wanted) <= set(reached)


@pytest.mark.parametrize("path", PATHS)
def test_every_page_is_gone_to_and_explained_by_keys(visits: Visits, path: str) -> None:
    page = go(visits("ann", "admin"), PATHS[0] if path != PATHS[0] else PATHS[1])
    entries = page.evaluate("async () => (await import(document.body.dataset.root + '/static/keymap.js')).EVERYWHERE")
    (keys,) = [entry["keys"][0] for entry in entries if entry.get("goes") == path]
    for key in keys.split(" "):
        page.keyboard.press(key)
    page.wait_for_url(lambda url: url.partition("?")[0].endswith(path))
    page.wait_for_selector("body[data-started]")
    page.keyboard.press("?")
    panel = page.locator("#keys")
    expect(panel).to_be_visible()
    name = page.get_attribute("body", "data-page")
    table = page.evaluate(
        "async (name) => (await import(document.body.dataset.root + '/static/keymap.js')).keymapOf(name)", name
    )
    assert panel.locator("tr td").all_inner_texts() == [entry["says"] for entry in table]
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    page.keyboard.press("F1")
    expect(panel).to_be_visible()
    page.keyboard.press("?")
    expect(panel).to_be_hidden()


@SIZES
@pytest.mark.parametrize("path", PATHS)
def test_a_page_fits_its_window_and_fingers_find_its_controls(visits: Visits, path: str, size: tuple[int, int]) -> None:
    page = go(visits("ann", "admin", size=size), path)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0], "it scrolls to the side"
    if size == PHONE:
        assert page.evaluate(SMALL, [CONTROLS, 44]) == []


def test_somebody_logs_in_with_a_key_and_out_again_by_keys_alone(visits: Visits, api_key: Any) -> None:
    ann = visits("ann")
    page = ann.page
    ann.may_fail.append("401")
    page.locator("summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{ann.base}/login")
    page.goto(f"{ann.base}/label")
    page.locator("[name=key]").focus()
    page.keyboard.type(api_key("rate"))
    page.keyboard.press("Tab")
    page.keyboard.type("Gil")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{ann.base}/label")
    page.wait_for_selector("body[data-started]")
    assert page.inner_text("summary") == "Gil"


def test_letters_typed_into_a_field_are_no_commands(visits: Visits) -> None:
    ann = visits("ann")
    ann.page.goto(f"{ann.base}/login")
    ann.page.get_by_label("Your name").fill("")
    ann.page.get_by_label("Your name").press_sequentially("gl?4")
    assert ann.page.input_value("[name=rater]") == "gl?4"
    assert ann.page.url.endswith("/login")


def test_digits_work_where_they_need_shift_and_letters_where_they_are_not_latin(visits: Visits) -> None:
    page = go(visits("ann"), "/")
    said = page.evaluate(
        """async () => {
             const { keyOf } = await import(document.body.dataset.root + '/static/keys.js');
             const press = (key, code, more = {}) => keyOf(new KeyboardEvent("keydown", { key, code, ...more }));
             return [press("&", "Digit1"), press("1", "Digit1", { shiftKey: true }), press("4", "Numpad4"),
                     press("\\u044f", "KeyZ"), press("Z", "KeyY", { shiftKey: true }), press("?", "Minus", { shiftKey: true }),
                     press(" ", "Space"), press("!", "Digit1", { shiftKey: true })];
           }"""
    )
    assert said == ["1", "1", "4", "z", "z", "?", " ", "!"]
