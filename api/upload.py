"""Reading the form that registers a model, into files that are gone when the request ends."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request
from sqlmodel import Session
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from api.errors import InvalidInput, UnsupportedBody
from api.idempotency import other_body
from api.picture_input import media_type
from api.registration import check_bundle_zip
from api.schemas.training import ForeignRun
from db.queries import jobs, models
from db.tables import Job, ModelTrainingRun
from ml.strict_json import parse_json
from worker.places import upload_key

MAX_RUN_BYTES = 64 << 20
"""Of the field `run`: some 100 bytes a label."""
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Upload:
    """A registration as it came in."""

    run: ForeignRun
    bundle: Path
    bundle_sha256: str


async def read_registration(request: Request) -> AsyncIterator[Upload]:
    """The parts of a registration's form, the archive in a file that is removed afterwards."""
    if media_type(request) != "multipart/form-data":
        raise UnsupportedBody("send a form with the JSON field `run` and the file field `bundle`")
    with tempfile.TemporaryDirectory(prefix="afterglow-upload-") as directory:
        async with request.form(max_files=2, max_fields=2, max_part_size=MAX_RUN_BYTES) as form:
            run, bundle = form.get("run"), form.get("bundle")
            if isinstance(run, UploadFile):
                run = (await run.read()).decode("utf-8", "replace")
            if run is None:
                raise InvalidInput("body.run", "is missing; send the run as JSON")
            if not isinstance(bundle, UploadFile):
                raise InvalidInput("body.bundle", "is missing; send the bundle's directory as a zip file")
            path, digest = Path(directory) / "bundle.zip", hashlib.sha256()
            with path.open("wb") as target:
                while chunk := await bundle.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    target.write(chunk)
        content = await run_in_threadpool(_run_of, run)
        await run_in_threadpool(check_bundle_zip, path, content)
        yield Upload(content, path, digest.hexdigest())


def _run_of(text: str) -> ForeignRun:
    try:
        content = parse_json(text)
    except ValueError as error:
        raise InvalidInput("body.run", f"is not JSON: {error}") from error
    return ForeignRun.model_validate(content)


def find_registration(session: Session, upload: Upload, key: str) -> tuple[ModelTrainingRun, Job] | None:
    """The run and the job that the same registration made before under this key; None where it is new.

    Raises:
        Conflict: The key was used for something else.
    """
    jobs.lock_idempotency_key(session, "register", key)
    job = jobs.find_job(session, "register", key)
    if job is None or job.run_id is None:
        return None
    known, given = models.get_run(session, job.run_id), upload.run
    labels = {(each.snapshot_id, each.label_source, each.label_value, each.split) for each in given.labels}
    stored = models.provenance(session, job.run_id)
    is_same = (
        (known.model_version, known.kind, known.trained_at, known.params_json, known.notes)
        == (given.model_version, given.kind, given.trained_at, given.params, given.notes)
        and job.params == {"upload": upload_key(upload.bundle_sha256)}
        and labels == {(each.snapshot_id, each.label_source, each.label_value, each.split) for each in stored}
    )
    if not is_same:
        raise other_body(f"run {job.run_id}", key)
    return known, job
