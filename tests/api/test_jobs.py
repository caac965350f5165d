"""Jobs over HTTP. They are submitted here, and run elsewhere."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from sqlmodel import Session

from db.engine import session_scope
from db.queries import jobs


class TestJobs:
    @pytest.fixture
    def job_id(self, client: httpx.Client) -> int:
        """A queued job of this test's own."""
        return int(client.post("/v1/datasets", json={}).json()["id"])

    def test_list_by_state_and_kind_newest_first(self, client: httpx.Client) -> None:
        client.post("/v1/datasets", json={})
        job_id = int(client.post("/v1/datasets", json={}).json()["id"])
        page = client.get("/v1/jobs", params={"state": "queued", "kind": "export_dataset", "limit": 1}).json()
        assert [each["id"] for each in page["items"]] == [job_id]
        older = client.get("/v1/jobs", params={"cursor": page["next_cursor"], "kind": "export_dataset"}).json()
        assert older["items"]
        assert all(each["id"] < job_id for each in older["items"])
        assert client.get("/v1/jobs", params={"state": "asleep"}).status_code == 422

    def test_a_job_has_its_events(self, client: httpx.Client, job_id: int) -> None:
        body = client.get(f"/v1/jobs/{job_id}").json()
        assert body["job"]["state"] == "queued"
        assert [each["event"] for each in body["events"]] == ["submitted"]
        assert client.get("/v1/jobs/999999").status_code == 404

    def test_the_log_is_paged_from_where_the_job_shows_it(self, client: httpx.Client, session: Session) -> None:
        job_id = int(client.post("/v1/datasets", json={}).json()["id"])
        for line in range(204):
            jobs.add_job_event(session, job_id, 1, "log", str(line))
        session.commit()
        body = client.get(f"/v1/jobs/{job_id}").json()
        rest = client.get(f"/v1/jobs/{job_id}/log", params={"cursor": body["next_cursor"]}).json()
        lines = [each["message"] for each in body["events"] + rest["items"]]
        assert lines == [None, *map(str, range(204))]
        assert rest["next_cursor"] is None
        assert client.get("/v1/jobs/999999/log").status_code == 404

    @pytest.mark.parametrize(
        ("state", "cancelled", "retried"),
        [
            ("queued", (200, "cancelled"), (409, "queued")),
            ("running", (202, "running"), (409, "running")),
            ("cancelled", (200, "cancelled"), (201, "queued")),
            ("succeeded", (409, "succeeded"), (409, "succeeded")),
            ("failed", (409, "failed"), (201, "queued")),
        ],
    )
    def test_every_state_has_its_answer_to_cancel_and_retry(
        self, client: httpx.Client, state: str, cancelled: tuple[int, str], retried: tuple[int, str]
    ) -> None:
        for verb, (status, word) in (("cancel", cancelled), ("retry", retried)):
            job_id = self.in_state(client, state)
            for repeated in (False, True):
                answer = client.post(f"/v1/jobs/{job_id}/{verb}")
                expected = 200 if repeated and status == 201 else status
                assert answer.status_code == expected, answer.text
                if status == 409:
                    assert word in answer.json()["detail"]
                else:
                    assert answer.json()["state"] == word
                    assert answer.json()["retry_of"] == (job_id if verb == "retry" else None)
            assert client.post(f"/v1/jobs/999999/{verb}").status_code == 404

    def test_a_retry_is_one_new_job_however_often_it_is_asked_for(self, client: httpx.Client) -> None:
        job_id = self.in_state(client, "failed")
        ids = {client.post(f"/v1/jobs/{job_id}/retry").json()["id"] for _ in range(3)}
        assert len(ids) == 1
        assert ids != {job_id}
        assert client.get(f"/v1/jobs/{job_id}").json()["job"]["state"] == "failed"

    def in_state(self, client: httpx.Client, state: str) -> int:
        """A new job that has reached a state."""
        job_id = int(client.post("/v1/datasets", json={}).json()["id"])
        if state == "cancelled":
            client.post(f"/v1/jobs/{job_id}/cancel")
        elif state != "queued":
            with session_scope() as session:
                claim = jobs.claim_job(session, job_id, "test", 60)
                assert claim is not None
                if state != "running":
                    assert jobs.finish_job(session, claim, state, reason="no luck" if state == "failed" else None)
        return job_id

    def test_events_stream_until_the_final_state_and_resume(
        self, client: httpx.Client, job_id: int, session: Session
    ) -> None:
        seen: list[tuple[str, dict[str, Any]]] = []
        with client.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for name, _, data in read_events(answer.iter_lines()):
                seen.append((name, data))
                if len(seen) == 2:  # the job is seen waiting; from here on it goes on while it is watched
                    claim = jobs.claim_job(session, job_id, "test", 60)
                    assert claim is not None
                    session.commit()
                if name == "started":
                    jobs.beat(session, claim, 60, progress=0.5, message="half way")
                    session.commit()
                if data.get("progress") == 0.5 and name == "progress":
                    jobs.finish_job(session, claim, "succeeded", result={"dataset_id": 1})
                    session.commit()
        assert [name for name, _ in seen if name != "progress"] == ["submitted", "started", "succeeded", "end"]
        assert seen[-1][1]["result"] == {"dataset_id": 1}
        assert ("progress", 0.5) in [(name, data.get("progress")) for name, data in seen]

        with client.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
            first_id = next(key for _, key, _ in read_events(answer.iter_lines()) if key)
        with client.stream("GET", f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": first_id}) as answer:
            resumed = [name for name, _, _ in read_events(answer.iter_lines()) if name != "progress"]
        assert resumed == ["started", "succeeded", "end"]

    def test_following_nothing_is_404(self, client: httpx.Client) -> None:
        assert client.get("/v1/jobs/999999/events").status_code == 404
        assert client.get("/v1/jobs/999999/events", headers={"Last-Event-ID": "x"}).status_code == 422


def read_events(lines: Any) -> Any:
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield fields["event"], fields.get("id"), json.loads(fields["data"])
            fields = {}
