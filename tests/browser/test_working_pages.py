"""The pages about jobs, models, webcams and disagreements in a real browser: what is so is seen without a reload, and what
they offer is done by keys alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from db.engine import listening, session_scope
from db.queries import disagreements, evaluations, images, jobs, models
from ml.images.store import FileStore
from tests.api.builders import evaluation_report
from tests.browser.conftest import DESKTOP, PHONE, Visit, Visits, make_jpeg
from tests.browser.test_pages import CONTROLS, SMALL, axe, findings, go
from tests.builders import NOON, make_snapshot, make_version, make_webcam

__all__ = ["axe"]
SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
OFFLINE = "ERR_INTERNET_DISCONNECTED|Failed to load resource"


@pytest.fixture(autouse=True)
def dispatcher(database: str) -> Iterator[None]:
    """Somebody hands out jobs."""
    with listening(jobs.JOBS_CHANNEL):
        yield


def running_job() -> jobs.Claim:
    """A job that runs, and whoever may write on it."""
    with session_scope() as session:
        job, _ = jobs.add_job(session, "train", {}, queue="train", max_attempts=3)
        claim = jobs.claim_job(session, job.id or 0, f"w{job.id}", 600)
        assert claim is not None
        jobs.add_job_event(session, claim.job_id, 1, "log", "epoch 1, loss 0.9")
        return claim


def report_progress(claim: jobs.Claim, progress: float, message: str) -> None:
    with session_scope() as session:
        assert jobs.beat(session, claim, 600, progress=progress, message=message) is not None
        jobs.add_job_event(session, claim.job_id, 1, "log", message)


def end(claim: jobs.Claim, state: str, reason: str | None = None) -> None:
    with session_scope() as session:
        assert jobs.finish_job(session, claim, state, reason=reason)


def evaluated_version(better: bool = True) -> str:
    """A version with a report; the gate allows it only where it is better."""
    with session_scope() as session:
        name = make_version(session).model_version
        report = evaluation_report(better)
        report["model_version"] = name
        evaluations.add_evaluation(
            session, model_version=name, kind="rating", manifest_sha256="0" * 64, method="test", report=report,
            artifact_key="reports/none",
        )  # fmt: skip
        return name


def promote(name: str) -> None:
    with session_scope() as session:
        models.add_activation(
            session, kind="rating", model_version=name, action="promote", verdict={}, activated_by="test"
        )


def active() -> str | None:
    with session_scope() as session:
        version = models.active_version(session, "rating")
        return version.model_version if version else None


def review_set(store: FileStore, name: str) -> list[int]:
    """Two frames that wait, of one webcam."""
    with session_scope() as session:
        webcam = make_webcam(session, title="Pier", region="Algarve")

        def frame(number: int) -> int | None:
            sha256 = store.put_image(data := make_jpeg(number))
            images.add_image(session, sha256, "image/jpeg", 640, 480, len(data))
            return make_snapshot(session, webcam, ai_rating=2.0 + number, image_sha256=sha256,
                                 image_key=f"sha256:{sha256}").id  # fmt: skip

        rows: list[dict[str, Any]] = [
            {"snapshot_id": frame(number), "reasons": ["flip"], "ai_rating": 1.5,
             "inclusion_probability": 1.0, "num_verdicts": 3, "need": "audit", "label_value": 5.0, "raw_score": 0.3,
             "disagreement": 0.7}
            for number in range(2)
        ]  # fmt: skip
        made = disagreements.add_review_set(session, rows, kind="rating", model_version=name, seed=1, params={},
                                            counts={}, as_of=NOON)  # fmt: skip
        return [each.id or 0 for each, _, _ in disagreements.list_disagreements(session, review_set_id=made.id)]


@SIZES
def test_pages_with_something_on_them_fit_and_axe_finds_nothing_serious(
    visits: Visits, store: FileStore, axe: str, size: tuple[int, int]
) -> None:
    failed = running_job()
    end(failed, "failed", "no label is left, " + "x" * 300)
    running = running_job()
    first, second = evaluated_version(), evaluated_version(better=False)
    promote(first)
    review_set(store, first)
    ann = visits("ann", "admin", size=size)
    for path in (
        "/", "/jobs", f"/jobs/{failed.job_id}", f"/jobs/{running.job_id}", "/models", f"/models/{first}",
        f"/models/{second}", f"/comparison?base={first}&other={second}", "/webcams", "/webcams/1", "/evaluations",
        "/disagreements",
    ):  # fmt: skip
        ann.page.goto(ann.base + path)
        ann.page.wait_for_selector("body[data-started]")
        assert findings(ann.page, axe) == [], path
        assert ann.page.evaluate("document.documentElement.scrollWidth") <= size[0], f"{path} scrolls to the side"
        if size == PHONE:
            assert ann.page.evaluate(SMALL, [CONTROLS, 44]) == [], path
    go(ann, f"/models/{second}").keyboard.press("p")
    expect(ann.page.locator("#promote")).to_be_visible()
    assert findings(ann.page, axe) == []


class TestJobs:
    def test_progress_log_and_end_are_seen_without_a_reload(self, visits: Visits) -> None:
        claim = running_job()
        ann = visits("ann", "train")
        page = go(ann, f"/jobs/{claim.job_id}")
        page.evaluate("window.wasNotReloaded = true")
        report_progress(claim, 0.4, "epoch 4, loss 0.5")
        expect(page.locator("#job .now")).to_contain_text("40 %")
        expect(page.locator("#log")).to_contain_text("epoch 4, loss 0.5")
        end(claim, "failed", "the disk is full")
        expect(page.locator("#job .alarm")).to_have_text(re.compile("the disk is full"))
        expect(page.locator("[data-again]")).to_have_count(0)
        assert page.evaluate("window.wasNotReloaded") is True

    def test_a_job_is_chosen_and_tried_again_by_keys_and_the_choice_survives_news(self, visits: Visits) -> None:
        claim = running_job()
        end(claim, "failed", "why")
        other = running_job()
        page = go(visits("ann", "train"), "/jobs")
        page.keyboard.press("r")
        expect(page.locator("#done")).to_contain_text("Choose a job first")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("j")
        chosen = page.locator(f"#job-{claim.job_id}")
        expect(chosen).to_be_focused()
        report_progress(other, 0.7, "epoch 7")
        expect(page.locator(f"[data-job='{other.job_id}']")).to_contain_text("70 %")
        expect(chosen).to_be_focused()
        page.keyboard.press("r")
        expect(page.locator("#done")).to_contain_text(f"Job {claim.job_id} is tried again as job")
        with session_scope() as session:
            again = jobs.find_retry(session, claim.job_id)
        assert again is not None
        expect(page.locator(f"#job-{again.id}")).to_be_visible()  # the list has come anew
        page.keyboard.press("k")
        page.keyboard.press("k")
        expect(page.locator(f"#job-{again.id}")).to_be_focused()
        page.keyboard.press("c")
        expect(page.locator("#done")).to_have_text(f"Job {again.id} is cancelled.")
        end(other, "succeeded")

    def test_a_lost_connection_is_told_and_its_return_too(self, visits: Visits) -> None:
        ann = visits("ann", "train")
        ann.may_fail.append(OFFLINE)
        claim = running_job()
        page = go(ann, "/jobs")
        ann.context.set_offline(True)
        expect(page.locator("#save-state")).to_have_attribute("data-state", "offline")
        report_progress(claim, 0.9, "nearly")
        ann.context.set_offline(False)
        expect(page.locator("#jobs")).to_contain_text("nearly", timeout=20_000)
        expect(page.locator("#save-state")).to_be_empty()
        end(claim, "succeeded")


class TestModels:
    def test_promoting_asks_first_and_leaving_it_changes_nothing(self, visits: Visits) -> None:
        before, version = evaluated_version(), evaluated_version()
        promote(before)
        page = go(visits("ann", "train"), f"/models/{version}")
        page.keyboard.press("p")
        dialog = page.locator("#promote")
        expect(dialog).to_contain_text(f"It would serve in place of {before}.")
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        assert active() == before

    def test_what_the_gate_refuses_is_promoted_only_by_saying_so(self, visits: Visits) -> None:
        before, version = evaluated_version(), evaluated_version(better=False)
        promote(before)
        page = go(visits("ann", "train"), f"/models/{version}")
        page.keyboard.press("p")
        expect(page.locator("#promote")).to_contain_text("The gate says no:")
        expect(page.locator("#promote-yes")).to_be_disabled()
        page.locator("#force").focus()
        page.keyboard.press("Space")
        page.locator("#promote-yes").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#done")).to_have_text(f"{version} is active, although the gate said no.")
        expect(page.locator("h1")).to_contain_text("active")
        assert active() == version

    def test_rolling_back_names_the_version_and_does_it(self, visits: Visits) -> None:
        before, version = evaluated_version(), evaluated_version()
        promote(before)
        promote(version)
        page = go(visits("ann", "train"), f"/models/{version}")
        page.keyboard.press("b")
        expect(page.locator("#rollback")).to_contain_text(f"Roll back to {before}?")
        page.keyboard.press("Enter")
        expect(page.locator("#done")).to_have_text(f"{before} is active.")
        assert active() == before


def test_frames_are_dismissed_opened_and_brought_first_by_keys(visits: Visits, store: FileStore) -> None:
    name = evaluated_version()
    newest, _ = review_set(store, name)
    ann = visits("ann", "rate")
    page = go(ann, "/disagreements?state=")
    card = page.locator(f"[data-disagreement='{newest}']")

    def triage(key: str, said: str, state: str) -> None:
        page.keyboard.press(key)
        expect(page.locator("#done")).to_have_text(said)
        expect(card).to_contain_text(state)

    page.keyboard.press("ArrowRight")
    expect(page.locator(f"#frame-{newest}")).to_be_focused()
    triage("x", "Dismissed: nobody need look at it.", "dismissed by")
    triage("o", "It waits again.", "open: needs a look into it")
    triage("u", "It comes first.", "first")
    with session_scope() as session:
        assert disagreements.get_disagreement(session, newest).priority == 10


def test_arrows_go_through_webcams_and_enter_opens_one(visits: Visits) -> None:
    with session_scope() as session:
        ids = [make_webcam(session, region="Arrows").id for _ in range(3)]
    ann: Visit = visits("ann", "rate")
    page: Page = go(ann, "/webcams?region=Arrows")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator(f"#webcam-{ids[1]}")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url(f"{ann.base}/webcams/{ids[1]}")
    expect(page.locator(".empty")).to_have_text("No frame of it is kept.")
