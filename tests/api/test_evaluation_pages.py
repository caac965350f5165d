"""The pages of evaluations: reports and cycles, and the triage of frames on which people and a version disagree."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from sqlmodel import Session

from db.engine import session_scope
from db.queries import disagreements, evaluations, jobs, labels, models
from db.queries.access import add_key
from tests.api.builders import evaluation_report
from tests.api.conftest import BROWSER
from tests.builders import NOON, make_snapshot, make_version
from tests.conftest import client_of

DRIFT = {"known": True, "value": 0.41, "chance": 0.12, "p_value": 0.001, "n_current": 300, "n_reference": 900}
EVIL = "<i onclick=alert(1)>"


def _see(client: httpx.Client, path: str) -> str:
    answer = client.get(path, headers=BROWSER)
    assert answer.status_code == 200, answer.text
    assert EVIL not in answer.text
    return " ".join(answer.text.split())


def _evaluation(session: Session, name: str, mae: float, **facts: Any) -> int:
    report = evaluation_report(True)
    report["model_version"] = name
    report["subsets"]["not seen"]["rows"][0] |= {"metrics": {"mae": mae}, "intervals": {"mae": [mae - 0.1, mae + 0.1]}}
    row = evaluations.add_evaluation(
        session, model_version=name, kind="rating", manifest_sha256="0" * 64, method="test", report=report,
        artifact_key="reports/none", **facts,
    )  # fmt: skip
    return row.id or 0


def test_without_an_evaluation_the_page_says_how_to_have_one(client: httpx.Client) -> None:
    assert "Nothing was evaluated yet." in _see(client, "/evaluations")
    assert "There is no review set yet." in _see(client, "/disagreements")


def test_every_report_stands_with_its_figure_beside_the_best_baseline(client: httpx.Client, session: Session) -> None:
    name = make_version(session).model_version
    older = _evaluation(session, name, 0.6)
    session.commit()  # a moment of its own
    newer = _evaluation(session, name, 0.5)
    session.commit()
    page = _see(client, "/evaluations")
    assert re.findall(r'id="evaluation-(\d+)" href="/v1/evaluations/\1/report.html"', page) == [str(newer), str(older)]
    assert 'mae 0.500 <span class="dim">[0.400 to 0.600]</span> <span class="dim">n 120 in 12 groups</span>' in page
    assert "predict the mean 1.000" in page
    (figure,) = re.findall(r"<figure.*?</figure>", page)
    assert f"{name} 0.600, n 120; {name} 0.500, n 120" in figure
    assert f"evaluation-{older}" not in _see(client, f"/evaluations?cursor={newer}&kind=other")


@pytest.mark.parametrize(
    ("drift", "words"),
    [
        (
            {**DRIFT, "drift": True},
            "<strong>The scores drift:</strong> index 0.41, by chance up to 0.12 (p 0.001, n 300 beside 900)",
        ),
        ({**DRIFT, "drift": False, "p_value": 0.4}, "No drift of the scores beyond chance (p 0.400, n 300 beside 900)"),
        ({"known": False, "reason": "no frames"}, "Whether the scores drift is not known."),
        (None, "Whether the scores drift is not known."),
    ],
)  # fmt: skip
def test_a_cycle_names_its_versions_by_role_and_says_whether_scores_drift(
    client: httpx.Client, session: Session, drift: dict[str, Any] | None, words: str
) -> None:
    name = make_version(session).model_version
    job, _ = jobs.add_job(session, "evaluate_cycle", {}, queue="train", max_attempts=1)
    dataset = models.add_dataset(session, (), kind="rating", as_of=NOON, params={}, counts={}, manifest_sha256="0" * 64,
                                 artifact_key="datasets/none")  # fmt: skip
    summary = {"versions": {"active": name}, "rows": {"judging": 42}, **({"score_drift": drift} if drift else {})}
    cycle = evaluations.add_cycle(session, kind="rating", job_id=job.id, dataset_id=dataset.id, params={},
                                  manifest_sha256="0" * 64, created_by=f"key:{EVIL}", summary=summary)  # fmt: skip
    _evaluation(session, name, 0.5, cycle_id=cycle.id, role="active")
    session.commit()
    page = _see(client, "/evaluations")
    newest = re.findall(r'<ul class="cycles"> <li>(.*?)</li>', page)[0]
    assert f'active <a href="/models/{name}">{name}</a>, 42 rows judge' in newest
    assert words in newest
    assert f'href="/jobs/{job.id}"' in newest


class TestTriage:
    @pytest.fixture
    def frames(self, session: Session) -> list[int]:
        """A review set of three frames: what people and the model said differs, nobody said anything, settled."""
        name = make_version(session).model_version
        rows: list[dict[str, Any]] = []
        for need, label, rating in (("audit", 5.0, 1.5), ("first-rating", None, 3.9), ("one-more-rating", 2.0, 4.5)):
            snapshot = make_snapshot(session)
            rows.append({
                "snapshot_id": snapshot.id, "reasons": ["flip"] if label else ["control"], "ai_rating": rating,
                "inclusion_probability": 1.0 if label else 0.2, "num_verdicts": 3 if label else 0, "need": need,
                "label_value": label, "raw_score": rating / 5, "disagreement": abs(label - rating) / 5 if label else None,
            })  # fmt: skip
        made = disagreements.add_review_set(session, rows, kind="rating", model_version=name, seed=1, params={},
                                            counts={}, as_of=NOON)  # fmt: skip
        labels.rate_snapshot(session, snapshot_id=rows[2]["snapshot_id"], rater=EVIL, rating=2, is_sunset=True,
                             label_source="human")  # fmt: skip
        session.commit()
        found = disagreements.list_disagreements(session, review_set_id=made.id)
        by_snapshot = {each.snapshot_id: each.id or 0 for each, _, _ in found}
        return [by_snapshot[row["snapshot_id"]] for row in rows]

    def _card(self, page: str, frame: int) -> str:
        (found,) = re.findall(rf'<li data-disagreement="{frame}">(.*?)</li>', page)
        return str(found)

    def test_a_frame_shows_both_sides_its_reason_and_what_it_needs(
        self, client: httpx.Client, frames: list[int]
    ) -> None:
        page = _see(client, "/disagreements?state=")
        assert "people 5.0, model 1.5" in self._card(page, frames[0])
        assert "open: needs a look into it" in self._card(page, frames[0])
        assert "no label, model 3.9" in self._card(page, frames[1])
        assert "settled by &lt;i onclick=alert(1)&gt;" in self._card(page, frames[2])
        assert "<button" not in self._card(page, frames[2]), "a rating settled it"

    def test_only_what_is_chosen_is_shown(self, client: httpx.Client, frames: list[int]) -> None:
        for query, expected in (
            ("", {frames[0], frames[1]}), ("state=&reason=&need=", set(frames)), ("state=settled", {frames[2]}),
            ("need=audit", {frames[0]}), ("reason=control", {frames[1]}),
        ):  # fmt: skip
            shown = {
                int(each) for each in re.findall(r'data-disagreement="(\d+)"', _see(client, f"/disagreements?{query}"))
            }
            assert shown & set(frames) == expected, query
        assert "No disagreement is like that." in _see(client, "/disagreements?state=settled&need=audit")

    def test_what_triage_did_is_seen(self, client: httpx.Client, frames: list[int]) -> None:
        def triage(body: dict[str, Any]) -> str:
            assert client.post(f"/v1/disagreements/{frames[0]}/triage", json=body).status_code == 200
            return self._card(_see(client, "/disagreements?state="), frames[0])

        card = triage({"state": "dismissed"})
        assert "dismissed by key:test-admin" in card
        assert re.findall(r'data-with="(\w+)"', card) == ["open"]
        card = triage({"state": "open", "priority": 10})
        assert "<strong>first</strong>" in card
        assert re.findall(r'data-with="(\w+)"', card) == ["dismissed"], "it comes first already"

    def test_who_may_not_rate_is_offered_no_triage(self, frames: list[int], server: str) -> None:
        with session_scope() as session:
            key = add_key(session, name="looker", scopes=("score",))[1]
        with client_of(server, key) as looker:
            page = _see(looker, "/disagreements")
        assert "people 5.0, model 1.5" in self._card(page, frames[0])
        assert 'data-action="triage"' not in page and "lacks the scope rate" in page
