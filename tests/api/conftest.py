"""A world in which the ids of paths mean something."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest
from sqlmodel import Session

from db.engine import session_scope
from db.queries import disagreements, evaluations, exclusions, images, jobs, labels, models, photos
from ml.export_dataset import Gates
from ml.images.store import FileStore
from tests.api.builders import evaluate, store_report
from tests.builders import NOON, make_snapshot
from tests.conftest import client_of
from tests.tiny_model import BRIGHT, DARK, YES, activate, picture, register_bundle
from worker.retraining import RetrainRequest, submit_retraining
from worker.stages.export_dataset import export_dataset

BROWSER = {"Accept": "text/html,*/*;q=0.8"}
"""What a browser says that it would like to have when a person opens an address."""


@pytest.fixture
def visitor(server: str) -> Iterator[httpx.Client]:
    """A browser that nobody has logged in: it keeps cookies and says where its requests come from."""
    with httpx.Client(base_url=server, headers={**BROWSER, "Origin": server}, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def world(database: str, store: FileStore, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One of everything, so that the ids of the examples mean something."""
    with session_scope() as session:
        bright, dark = (register_bundle(session, store, each) for each in (BRIGHT, DARK))
        activate(session, bright)
        activate(session, dark)
        spare = register_bundle(session, store, YES)
        dataset = export_dataset(session, store, "rating", "regression", Gates(min_rating_count=1))
        run = models.find_run(session, bright.model_version)
        job, _ = jobs.add_job(session, "evaluate", {}, queue="train", max_attempts=1)
        assert job.id is not None
        cycle, _ = submit_retraining(session, RetrainRequest("rating", {}), by="test")
        jobs.cancel_job(session, job.id)  # a stream of a final job ends at once
        assert run is not None
        import_id = exclusions.begin_import(session, file_name="labels.csv", file_sha256="0" * 64, by="test")
        labels.rate_snapshot(session, snapshot_id=_stored_snapshot(session, store), rater="bot", rating=3, is_sunset=True,
                             label_source="test")  # type: ignore[arg-type]  # fmt: skip
        looked = evaluations.add_cycle(
            session, kind="rating", job_id=job.id, created_by="test", dataset_id=dataset.id, manifest_sha256="0" * 64,
            params={}, summary={},
        )  # fmt: skip
        project = photos.find_or_add_project(session, "mojo1").name
        exclusions.exclude(session, exclusions.Subject(rater="bot"), reason="not a person", by="test")
        review_set = disagreements.add_review_set(
            session, [{"snapshot_id": _stored_snapshot(session, store), "reasons": ["control"], "need": "first-rating",
                       "inclusion_probability": 0.5, "num_verdicts": 0}],
            kind="rating", model_version=bright.model_version, seed=1, as_of=NOON,
        )  # fmt: skip
        ((waiting, _, _),) = disagreements.list_disagreements(session, review_set_id=review_set.id)
        ids = {
            "review_set_id": review_set.id,
            "disagreement_id": waiting.id,
            "dataset_id": dataset.id,
            "run_id": run.id,
            "other_run_id": spare.training_run_id,
            "job_id": job.id,
            "first_job_id": cycle.id,
            "import_id": import_id,
            "cycle_id": looked.id,
        }
    store_report(store, tmp_path_factory.mktemp("report"))
    ids["evaluation_id"] = evaluate(spare, better=True)
    return {
        **{key: str(value) for key, value in ids.items()},
        "model_version": "tiny_yes",
        "name": "full",
        "rater": "ana",
        "image_sha256": "0" * 64,
        "project": project,
    }


def _stored_snapshot(session: Session, store: FileStore) -> int:
    """A snapshot whose picture is in the store too."""
    sha256 = store.put_image(data := picture(61))
    images.add_image(session, sha256, "image/png", 32, 24, len(data))
    snapshot = make_snapshot(session, image_sha256=sha256, image_key=f"sha256:{sha256}")
    return int(snapshot.id or 0)


@pytest.fixture(scope="module")
def ids(world: dict[str, str], server: str, api_key: Callable[..., str]) -> dict[str, str]:
    """Values for the parameters of paths."""
    with client_of(server, api_key()) as client:
        return {**world, **_webcam_and_snapshot(client)}


def _webcam_and_snapshot(client: httpx.Client) -> dict[str, str]:
    webcam = client.post("/v1/webcams", json={"external_id": "examples"}).json()
    params = {"webcam_id": webcam["id"], "phase": "sunset", "captured_at": "2026-02-14T17:00:00Z"}
    snapshot = client.post("/v1/snapshots", content=picture(60), params=params).json()
    client.post(f"/v1/snapshots/{snapshot['id']}/ratings", json={"rater": "ana", "rating": 4})
    return {"webcam_id": str(webcam["id"]), "snapshot_id": str(snapshot["id"])}
