"""The command `shadow`: the comparison in words and numbers, and how it is stopped."""

from __future__ import annotations

import pytest

from db.engine import session_scope
from db.queries import shadows
from tests.builders import NOON, make_webcam
from tests.tiny_model import BRIGHT, DARK, activate, picture, register_bundle
from tests.worker.cli.conftest import Afterglow
from tests.worker.conftest import Running
from worker.places import bundle_cache
from worker.stages.score import Frame, record_score, score_pixels
from worker.stages.served import load_served


@pytest.fixture(scope="module")
def versions(running: Running) -> tuple[str, str]:
    """The active version and a candidate, with two frames that the first scored."""
    with session_scope() as session:
        bright, dark = (register_bundle(session, running.store, each) for each in (BRIGHT, DARK))
        activate(session, bright)
    served = load_served(bright, running.store, bundle_cache())
    for level in (20, 250):
        data = picture(level)
        with session_scope() as session:
            frame = Frame(make_webcam(session).id, "sunset", NOON)
            record_score(session, score_pixels(served, data), frame, kind="rating", store=running.store, data=data,
                         exploration_share=1.0, writes_snapshots=True)  # fmt: skip
    return bright.model_version, dark.model_version


def test_it_prints_how_both_compare_and_stops(versions: tuple[str, str], afterglow: Afterglow) -> None:
    active, candidate = versions
    said = afterglow("shadow", candidate)
    assert said.code == 0, said.err
    assert f"{candidate} shadows {active}: 2 frames scored now" in said.out
    assert "2 of 2 (100.0%)" in said.out
    assert "n = 2 frames of 2 webcams" in said.out
    assert "whom people agree with is not known" in said.out
    facts = afterglow("shadow", candidate, "--json").json
    assert (facts["shadows"], facts["result"]["scored"], facts["result"]["comparison"]["n"]) == (True, 0, 2)
    assert afterglow("shadow", candidate, "--stop").out.strip() == f"{candidate} does not shadow"
    with session_scope() as session:
        assert "rating" not in shadows.shadows(session)


def test_the_active_version_itself_is_refused(versions: tuple[str, str], afterglow: Afterglow) -> None:
    said = afterglow("shadow", versions[0], "--no-wait", "--json")
    assert (said.code, "name a candidate" in said.error["message"]) == (3, True)
    assert afterglow("shadow", "nobody", "--no-wait").code == 4
