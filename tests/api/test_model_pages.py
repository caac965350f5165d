"""The pages of models: what each reached, the gate's verdict in words, what it is made of, and what moved between two."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx
from sqlmodel import Session

from db.engine import session_scope
from db.queries import evaluations, models
from db.queries.access import add_key
from db.tables import ModelVersion
from tests.api.builders import evaluation_report
from tests.api.conftest import BROWSER
from tests.builders import make_snapshot, make_version
from tests.conftest import client_of


def _see(client: httpx.Client, path: str) -> str:
    answer = client.get(path, headers=BROWSER)
    assert answer.status_code == 200, answer.text
    return " ".join(answer.text.split())


def _evaluated(version: ModelVersion, mae: float, better: bool = True, **facts: Any) -> None:
    report = evaluation_report(better)
    report["model_version"] = version.model_version
    report["subsets"]["not seen"]["rows"][0] |= {
        "name": version.model_version, "metrics": {"mae": mae}, "intervals": {"mae": [mae - 0.1, mae + 0.1]},
    }  # fmt: skip
    with session_scope() as session:
        evaluations.add_evaluation(
            session, model_version=version.model_version, kind=version.kind, manifest_sha256="0" * 64, method="test",
            report=report, artifact_key="reports/none", **facts,
        )  # fmt: skip


def _made(**facts: Any) -> ModelVersion:
    with session_scope() as session:
        return make_version(session, **facts)


def _promote(client: httpx.Client, version: ModelVersion) -> None:
    assert client.post(f"/v1/models/{version.model_version}/promote", json={"force": True}).status_code == 200


def test_without_a_model_the_pages_say_how_to_make_one(client: httpx.Client) -> None:
    assert "There is no model yet." in _see(client, "/models")
    assert "There is no version so far" in _see(client, "/comparison")


def test_the_list_shows_each_with_its_figure_and_n_and_the_figure_of_all(client: httpx.Client) -> None:
    first, second, third = _made(), _made(), _made()
    _evaluated(first, 0.61)
    _evaluated(second, 0.52)
    _promote(client, first)
    page = _see(client, "/models")
    rows = re.findall(r'<li> <a class="row" id="version-(\w+)".*?</li>', page)
    assert rows == [each.model_version for each in (third, second, first)]
    assert 'mae 0.520 <span class="dim">[0.420 to 0.620]</span> <span class="dim">n 120</span>' in page
    assert "not evaluated yet" in page
    (figure,) = re.findall(r"<figure.*?</figure>", page)
    assert re.findall(r'class="series" role="group" aria-label="(\w+)"', figure) == [
        first.model_version, second.model_version
    ], "oldest first, and none without a figure"  # fmt: skip
    assert page.count(">active</span>") == 1
    assert "lower is better" in figure
    assert second.model_version not in _see(client, "/models?kind=other")


def test_a_version_shows_the_gates_verdict_in_words_and_asks_before_it_is_promoted(client: httpx.Client) -> None:
    good, bad = _made(kind="gated"), _made(kind="gated")
    _evaluated(good, 0.5)
    _evaluated(bad, 1.5, better=False)
    for version, allowed in ((good, True), (bad, False)):
        page = _see(client, f"/models/{version.model_version}")
        assert ("<strong>The gate allows it:</strong>" in page) is allowed
        assert ("<strong>The gate says no:</strong>" in page) is not allowed
        assert 'id="promote-yes" ' + ("autofocus" if allowed else "disabled") in page
        assert "on 120 rows in 12 groups" in page
        assert "predict the mean" in page
    told = client.post(f"/v1/models/{bad.model_version}/promote", json={}).json()["verdict"]["sentence"]
    assert told in _see(client, f"/models/{bad.model_version}"), "the same words as over HTTP"


def test_the_active_version_offers_the_one_before_it_and_tells_its_history(client: httpx.Client) -> None:
    first, second = _made(kind="history"), _made(kind="history")
    _promote(client, first)
    page = _see(client, f"/models/{first.model_version}")
    assert 'data-with="rollback"' not in page, "there is none before it"
    _promote(client, second)
    page = _see(client, f"/models/{second.model_version}")
    assert f"Roll back to {first.model_version}?" in page
    assert "although the gate said no" in page
    assert 'data-with="promote"' not in page
    page = _see(client, f"/models/{first.model_version}")
    assert f"It would serve in place of {second.model_version}." in page


def test_who_may_not_train_reads_and_is_offered_nothing(client: httpx.Client, server: str) -> None:
    version = _made(kind="read")
    _evaluated(version, 0.5)
    with session_scope() as session:
        key = add_key(session, name="reader", scopes=("rate",))[1]
    with client_of(server, key) as reader:
        page = _see(reader, f"/models/{version.model_version}")
    assert "this login lacks the scope train" in page
    assert 'data-with="promote"' not in page and '<dialog id="promote"' not in page


def test_a_version_says_what_it_is_made_of_and_hostile_text_stays_text(client: httpx.Client) -> None:
    evil = "<img src=x onerror=alert(1)>"
    with session_scope() as session:
        version = make_version(session, kind="made")
        run = models.get_run(session, version.training_run_id)
        run.notes = evil
        session.add(run)
        snapshot = make_snapshot(session)
        row = {"training_run_id": run.id, "snapshot_id": snapshot.id}
        label = {"label_source": "calculated_rating", "label_value": 4.0, "split": "train",
                 "image_sha256": snapshot.image_sha256}  # fmt: skip
        rating = {"user_session_id": evil, "rating": 4, "is_sunset_verdict": True, "label_source": "human"}
        models.add_provenance(session, [row | label], [row | rating])
    page = _see(client, f"/models/{version.model_version}")
    assert "<dt>Rows</dt><dd>1 train</dd>" in page
    assert "calculated_rating 1" in page
    assert evil not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") == 2, "the notes and the rater"
    answer = client.get("/models/nothing", headers=BROWSER)
    assert answer.status_code == 404
    assert "There is no model version nothing" in answer.text


class TestComparison:
    def test_versions_of_two_kinds_are_refused_in_words(self, client: httpx.Client) -> None:
        one, other = _made(kind="apple"), _made(kind="pear")
        page = _see(client, f"/comparison?base={one.model_version}&other={other.model_version}")
        assert f"{one.model_version} is a apple model and {other.model_version} a pear model" in page
        assert "compared with itself" in _see(client, f"/comparison?base={one.model_version}&other={one.model_version}")
        assert client.get("/comparison?base=nothing&other=nobody", headers=BROWSER).status_code == 404

    def test_metrics_stand_side_by_side_and_what_is_not_compared_is_said(self, client: httpx.Client) -> None:
        one, other = _made(), _made()
        _evaluated(one, 0.61)
        _evaluated(other, 0.52)
        page = _see(client, f"/comparison?base={one.model_version}&other={other.model_version}")
        assert re.search(r'<th scope="row">mae</th><td>0.610 .*?</td><td>0.520 ', page)
        assert "0 of 0 verdicts flipped" in page


def test_a_report_opens_in_a_box_of_its_own(client: httpx.Client, ids: dict[str, str]) -> None:
    page = _see(client, f"/models/{ids['model_version']}")
    (address,) = set(re.findall(r'href="(/v1/evaluations/\d+/report.html)"', page))
    policy = client.get(address).headers["content-security-policy"]
    assert policy.endswith("sandbox")


def test_heads_hold_the_headline_and_nothing_else_of_a_report(session: Session) -> None:
    one = make_version(session, kind="heads")
    session.commit()
    _evaluated(one, 0.7)
    _evaluated(one, 0.6)
    found = evaluations.latest_heads(session, [one.model_version, "nothing"])
    assert set(found) == {one.model_version}
    report = found[one.model_version].report
    assert set(report) == {"headline", "primary", "subsets"}
    assert report["subsets"]["not seen"]["rows"][0]["metrics"] == {"mae": 0.6}, "the newest"
    newest, older = evaluations.list_heads(session, kind="heads")
    assert newest.id > older.id
    assert [each.id for each in evaluations.list_heads(session, kind="heads", cursor=newest.id)] == [older.id]


def test_any_key_may_look(client: httpx.Client, server: str, api_key: Callable[..., str]) -> None:
    with client_of(server, api_key("score")) as scorer:
        _see(scorer, "/models")
        _see(scorer, "/comparison")
