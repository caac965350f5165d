"""Register a bundle as a model version; one that was trained elsewhere is unpacked and checked first."""

from __future__ import annotations

import io
import shutil
from datetime import UTC, datetime
from pathlib import Path

from sqlmodel import Session

from db.engine import session_scope
from db.queries import models
from db.tables import ModelTrainingRun
from ml.bundle import Bundle, BundleError, bundle_sha256, load_bundle
from ml.bundle_archive import ArchiveError, unpack
from worker.jobs import Finish, JobContext, JobFailed
from worker.places import bundle_key, file_store, work_directory
from worker.queue import submit
from worker.training_process import run_verb


def run(context: JobContext) -> Finish:
    """The job `register` of the run `run_id`: parameter `upload`, the store key of a zip with a bundle.

    The graph is opened by nobody before a fresh process has judged it; nothing of a refused bundle enters the store.
    """
    store = file_store()
    run_id = context.run_id
    with session_scope() as session:
        training = models.get_run(session, run_id)
    directory = work_directory(context.claim.job_id, context.claim.attempt)
    out = directory / "bundle"
    shutil.rmtree(out, ignore_errors=True)
    try:
        unpack(io.BytesIO(store.read_file(str(context.params["upload"]))), out)
    except ArchiveError as error:
        raise JobFailed(f"the bundle is refused (bad_model): the zip {error}") from error
    bundle = check(context, out, training, directory / "check_bundle.log")
    digest = bundle_sha256(out)
    store.put_directory(out, bundle_key(digest))

    def effects(session: Session) -> None:
        register_version(session, training, bundle, digest)
        submit(
            session,
            "evaluate",
            {"model_version": training.model_version, "fresh": True},
            parent_id=context.claim.job_id,
        )

    return Finish({"model_version": training.model_version, "bundle_sha256": digest}, effects)


def register_version(session: Session, training: ModelTrainingRun, bundle: Bundle, digest: str) -> None:
    """Make a bundle that is in the store the version that its run was promised."""
    assert training.id is not None
    models.add_version(
        session,
        model_version=training.model_version,
        kind=training.kind,
        head=bundle.head,
        training_run_id=training.id,
        bundle_key=bundle_key(digest),
        bundle_sha256=digest,
        scale_low=bundle.scale[0],
        scale_high=bundle.scale[1],
        threshold_policy=dict(bundle.threshold_policy),
    )
    run = models.get_run(session, training.id)
    run.status, run.trained_at = "registered", run.trained_at or datetime.now(UTC)
    session.add(run)


def check(context: JobContext, directory: Path, training: ModelTrainingRun, log_file: Path) -> Bundle:
    """Judge the bundle in a process of its own, which a graph may crash or fill, and see that it is what the run says.

    Raises:
        JobFailed: It is not, or must not be served.
    """
    try:
        run_verb(context, "ml.check_bundle", ["--bundle", str(directory)], log_file)
        bundle = load_bundle(directory)
    except (BundleError, JobFailed) as error:
        raise JobFailed(f"the bundle is refused (bad_model): {error}") from error
    if (bundle.kind, bundle.model_version) != (training.kind, training.model_version):
        raise JobFailed(
            f"the bundle is {bundle.kind} {bundle.model_version}, but the run was registered as {training.kind} "
            f"{training.model_version}"
        )
    return bundle
