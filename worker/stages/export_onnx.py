"""Export a trained run as an ONNX bundle and register it as a model version."""

from __future__ import annotations

import json

from sqlmodel import Session

from db.engine import session_scope
from db.queries import models
from ml.bundle import bundle_sha256, load_bundle
from ml.manifest import manifest_bytes
from worker.jobs import Finish, JobContext, JobFailed
from worker.places import bundle_key, file_store, work_directory
from worker.queue import submit
from worker.stages.register import register_version
from worker.stages.train import run_manifest
from worker.training_process import run_verb
from worker.verified import fetch_run


def run(context: JobContext) -> Finish:
    """The job `export_onnx` of the run `run_id`: bundle, parity, self-test, registration, then its evaluation."""
    store = file_store()
    run_id = context.run_id
    with session_scope() as session:
        training = models.get_run(session, run_id)
    if training.artifact_path is None:
        raise JobFailed(f"run {run_id} is {training.status}: it has nothing to export")
    directory = work_directory(context.claim.job_id, context.claim.attempt)
    run_directory = fetch_run(store, training, directory / "run")
    (directory / "manifest_full.csv").write_bytes(manifest_bytes(run_manifest(store, training)))
    out = directory / "bundle"
    result = run_verb(
        context,
        "ml.export_onnx",
        ["--run", str(run_directory), "--version", training.model_version, "--store", store.url,
         "--manifest", str(directory / "manifest_full.csv"), "--out", str(out)],
        directory / "export_onnx.log",
    )  # fmt: skip
    bundle = load_bundle(out)
    digest = bundle_sha256(out)
    store.put_directory(out, bundle_key(digest))

    def effects(session: Session) -> None:
        register_version(session, training, bundle, digest)
        submit(
            session,
            "evaluate",
            {"model_version": training.model_version},
            parent_id=context.claim.job_id,
        )

    return Finish({"model_version": training.model_version, "bundle_sha256": digest, **_small(result)}, effects)


def _small(result: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in result.items() if len(json.dumps(value)) < 2000}
