"""A report in a real browser: nothing of it is cut off at the widths that people have."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.ml.test_report_page import world_of

WIDER_THAN_SHOWN = """
    [document.documentElement, ...document.querySelectorAll("section, .scroll, .two > *")]
        .filter((each) => each.scrollWidth > each.clientWidth + 1).map((each) => each.innerText.slice(0, 80))
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    world_of(folder)
    return folder / "report" / "report.html"


@pytest.mark.parametrize("width", [1200, 800])
def test_no_table_and_no_caption_is_cut_off_at_the_right(browser: Browser, report: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(report.as_uri())
    assert page.locator("table.metrics").count() > 0
    assert page.evaluate(WIDER_THAN_SHOWN) == []
    page.close()
