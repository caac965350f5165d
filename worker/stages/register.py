"""Register a bundle as a model version; one that was trained elsewhere is unpacked and checked first."""

from __future__ import annotations

import io
import shutil
import stat
import zipfile
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from sqlmodel import Session

from db.engine import session_scope
from db.queries import models
from db.tables import ModelTrainingRun
from ml.bundle import Bundle, BundleError, bundle_sha256
from ml.inference import Scorer
from worker.jobs import Finish, JobContext, JobFailed
from worker.places import bundle_key, file_store, work_directory
from worker.queue import submit

MAX_BUNDLE_BYTES = 2 << 30
MAX_BUNDLE_FILES = 200


def run(context: JobContext) -> Finish:
    """The job `register` of the run `run_id`: parameter `upload`, the store key of a zip with a bundle."""
    store = file_store()
    run_id = context.run_id
    with session_scope() as session:
        training = models.get_run(session, run_id)
    directory = work_directory(context.claim.job_id, context.claim.attempt)
    out = directory / "bundle"
    shutil.rmtree(out, ignore_errors=True)
    unpack(store.read_file(str(context.params["upload"])), out)
    bundle = check(out, training.kind, training.model_version)
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


def unpack(data: bytes, target: Path) -> None:
    """Unpack a zip of a bundle, without trusting its names, links or sizes.

    Raises:
        JobFailed: It is not such a zip.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile as error:
        raise JobFailed(f"the upload is not a zip of a bundle: {error}") from error
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > MAX_BUNDLE_FILES or sum(member.file_size for member in members) > MAX_BUNDLE_BYTES:
        raise JobFailed(f"the zip has more than {MAX_BUNDLE_FILES} files or {MAX_BUNDLE_BYTES >> 30} GiB")
    roots = [PurePosixPath(member.filename).parent for member in members if member.filename.endswith("bundle.json")]
    if len(roots) != 1:
        raise JobFailed("the zip must hold one bundle.json, with model.onnx and golden/ beside it")
    for member in members:
        path = PurePosixPath(member.filename)
        if (
            path.is_absolute()
            or ".." in path.parts
            or "\\" in member.filename
            or stat.S_ISLNK(member.external_attr >> 16)
        ):
            raise JobFailed(f"the zip holds a name that leaves the bundle: {member.filename!r}")
        if path.is_relative_to(roots[0]):
            place = target / path.relative_to(roots[0])
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(archive.read(member))


def check(directory: Path, kind: str, model_version: str) -> Bundle:
    """Load and self-test the bundle, and see that it is what the run says.

    Raises:
        JobFailed: It is not.
    """
    try:
        bundle = Scorer.load(directory).bundle
    except BundleError as error:
        raise JobFailed(f"the bundle is refused: {error}") from error
    if (bundle.kind, bundle.model_version) != (kind, model_version):
        raise JobFailed(
            f"the bundle is {bundle.kind} {bundle.model_version}, but the run was registered as {kind} {model_version}"
        )
    return bundle
