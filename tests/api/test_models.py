"""Model versions, evaluations, promotion and rollback over HTTP."""

from __future__ import annotations

from collections.abc import Callable

import httpx
from sqlmodel import Session

from db.queries import models
from ml.images.store import FileStore
from tests.api.builders import evaluate, evaluation_report
from tests.builders import NOON, make_version
from tests.tiny_model import BRIGHT, DARK, YES, register_bundle


class TestModels:
    def test_the_life_of_a_version(
        self, client: httpx.Client, session: Session, store: FileStore, api_key: Callable[..., str]
    ) -> None:
        yes = register_bundle(session, store, YES)
        session.commit()
        url = f"/v1/models/{yes.model_version}"

        assert client.get(f"{url}/evaluation").status_code == 404
        assert client.get(url).json()["headline"] is None
        early = client.post(f"{url}/promote")
        assert (early.status_code, early.json()["verdict"]["allowed"]) == (409, False)

        newest_id = evaluate(yes, better=False)
        refused = client.post(f"{url}/promote", json={})
        assert refused.status_code == 409
        assert "predict the mean" in refused.json()["detail"]
        verdict = refused.json()["verdict"]
        assert (verdict["n"], verdict["allowed"], verdict["evaluation_id"]) == (120, False, newest_id)
        assert {each["name"]: each["passed"] for each in verdict["checks"] if each["required"]} == {
            "active": True, "baselines": False, "slices": True, "parity": True, "latency": True, "leaks": True
        }  # fmt: skip
        assert [each["active"] for each in client.get("/v1/models").json()["items"]] == [False]

        evaluate(yes, better=True)
        headline = client.get(url).json()["headline"]
        assert (headline["metric"], headline["n"], headline["n_groups"]) == ("mae", 120, 12)
        assert headline["rows"][0] == {"name": "tiny_yes", "role": "model", "value": 0.5, "interval": [0.4, 0.6]}
        assert client.get(f"{url}/evaluation").json()["report"] == evaluation_report(True)
        newest, older = client.get(f"{url}/evaluations").json()["items"]
        assert newest["id"] > older["id"]
        assert "report" not in newest
        assert client.get(f"{url}/evaluations/{older['id']}").json()["report"] == evaluation_report(False)
        assert client.get(f"/v1/models/other/evaluations/{older['id']}").status_code == 404
        for path in (f"{url}/evaluation", f"{url}/evaluations/{newest['id']}"):
            etag = client.get(path).headers["etag"]
            assert client.get(path, headers={"If-None-Match": etag}).status_code == 304
        stale = client.get(f"{url}/evaluations/{older['id']}").headers["etag"]
        assert client.get(f"{url}/evaluation", headers={"If-None-Match": stale}).status_code == 200
        done = client.post(f"{url}/promote")
        assert done.status_code == 200, done.text
        assert (done.json()["forced"], done.json()["activated_by"], done.json()["pinned"]) == (
            False, "key:test-admin", None
        )  # fmt: skip
        assert done.json()["verdict"]["checks"][1]["compared"][0]["interval"] == [0.3, 0.7]
        assert client.get(url).json()["active"] is True
        assert client.post(f"{url}/promote").status_code == 409

        nothing = client.post("/v1/models/rollback", json={"kind": "rating"})
        assert nothing.status_code == 409
        dark = register_bundle(session, store, DARK)
        session.commit()
        forced = client.post(f"/v1/models/{dark.model_version}/promote", json={"force": True})
        assert (forced.status_code, forced.json()["forced"]) == (200, True)
        back = client.post("/v1/models/rollback", json={"kind": "rating"})
        assert (back.status_code, back.json()["model_version"]) == (200, yes.model_version)
        active = {each["model_version"]: each["active"] for each in client.get("/v1/models").json()["items"]}
        assert active == {"tiny_yes": True, "tiny_dark": False}
        changes = client.get("/v1/models/activations", params={"kind": "rating"}).json()["items"]
        assert [(each["action"], each["model_version"]) for each in changes] == [
            ("rollback", "tiny_yes"), ("promote", "tiny_dark"), ("promote", "tiny_yes")
        ]  # fmt: skip

    def test_an_evaluation_is_a_job(self, client: httpx.Client, session: Session, store: FileStore) -> None:
        bright = register_bundle(session, store, BRIGHT)
        session.commit()
        answer = client.post(f"/v1/models/{bright.model_version}/evaluations")
        assert answer.status_code == 202
        assert (answer.json()["kind"], answer.json()["params"]) == ("evaluate", {"model_version": "tiny_bright"})
        headers = {"Idempotency-Key": "once"}
        again = [client.post("/v1/models/tiny_bright/evaluations", headers=headers).json()["id"] for _ in range(2)]
        assert again[0] == again[1]

    def test_a_reproduction_is_a_job_unless_the_model_is_from_elsewhere(
        self, client: httpx.Client, session: Session
    ) -> None:
        sha256 = "a" * 64
        dataset = models.add_dataset(
            session, (), kind="rating", as_of=NOON, params={}, counts={}, manifest_sha256=sha256, artifact_key="d"
        )
        here = make_version(session)
        run = models.get_run(session, here.training_run_id)
        run.dataset_id, run.manifest_sha256 = dataset.id, sha256
        run.artifact_path, run.artifact_sha256 = "runs/job-1/attempt-1", sha256
        elsewhere = make_version(session)
        session.commit()
        url = f"/v1/models/{here.model_version}/reproduce"
        answers = [client.post(url, headers={"Idempotency-Key": "proof"}) for _ in range(2)]
        assert [each.status_code for each in answers] == [202, 202]
        assert answers[0].json()["id"] == answers[1].json()["id"]
        asked = {"model_version": here.model_version}
        assert (answers[0].json()["kind"], answers[0].json()["params"]) == ("reproduce", asked)
        refused = client.post(f"/v1/models/{elsewhere.model_version}/reproduce")
        assert (refused.status_code, "trained elsewhere" in refused.json()["detail"]) == (409, True)

    def test_unknown_versions_and_kinds(self, client: httpx.Client) -> None:
        for method, path in (("GET", ""), ("GET", "/evaluation"), ("POST", "/evaluations"), ("POST", "/promote"),
                             ("POST", "/reproduce")):  # fmt: skip
            assert client.request(method, f"/v1/models/nobody{path}").status_code == 404
        assert client.post("/v1/models/rollback", json={"kind": "mood"}).status_code == 422
        assert client.post("/v1/models/nobody/promote", json={"forse": True}).status_code == 422
        assert client.get("/v1/models/a%00b").status_code == 422
