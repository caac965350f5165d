"""Taking in a model that was trained elsewhere: the run, its labels and its bundle, as one unit of work."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from sqlmodel import Session

from api.errors import InvalidInput
from api.schemas.training import ForeignLabel, ForeignRun
from db.errors import Conflict
from db.queries import models, webcams
from db.tables import Job, ModelTrainingRun
from ml.bundle import BundleError, parse_facts
from ml.bundle_archive import read_archive_description
from ml.images.store import FileStore
from ml.judgements import judgement
from worker.places import upload_key
from worker.queue import submit


def check_bundle_zip(path: Path, run: ForeignRun) -> None:
    """Refuse an archive that is no bundle of this run, before anything is written.

    Reads the list of files and the description only: the graph is for the job, which opens it in a process of its own.

    Raises:
        InvalidInput: It is no zip, holds links, odd names or too much, its description is wrong, or of another version
            or kind.
    """
    try:
        facts = read_archive_description(path)
    except BundleError as error:
        raise InvalidInput("body.bundle", str(error)) from error
    for name, expected in (("model_version", run.model_version), ("kind", run.kind)):
        if facts.get(name) != expected:
            raise InvalidInput(
                "body.bundle",
                f"is of {name} {ascii(facts.get(name))[:120]}, but `run` says {expected!r}; make them equal",
            )
    try:
        parse_facts(facts)
    except BundleError as error:
        raise InvalidInput("body.bundle", f"cannot be served: {error}") from error


def register_run(
    session: Session,
    store: FileStore,
    run: ForeignRun,
    bundle: Path,
    bundle_sha256: str,
    *,
    idempotency_key: str | None = None,
) -> tuple[ModelTrainingRun, Job]:
    """Record the run with its labels, keep the archive, and submit the job that makes a model version of it.

    Raises:
        Conflict: A run of this version exists.
        InvalidInput: A label is of a snapshot that is not known or has no image, or two are of the same.
        UnknownKind: There is no such kind.
    """
    judgement(run.kind)
    if models.find_run(session, run.model_version) is not None:
        raise Conflict(
            f"there is a training run of {run.model_version} already; a version never changes, choose another"
        )
    images = _images_of(session, run.labels)
    key = upload_key(bundle_sha256)
    row = models.add_run(
        session,
        model_version=run.model_version,
        kind=run.kind,
        status="trained",
        trained_at=run.trained_at,
        params_json=run.params,
        notes=run.notes,
    )
    models.add_provenance(
        session,
        (
            {**label.model_dump(), "training_run_id": row.id, "image_sha256": images[label.snapshot_id]}
            for label in run.labels
        ),
        (),
    )
    job, _ = submit(session, "register", {"upload": key}, run_id=row.id, idempotency_key=idempotency_key)
    store.put_file(bundle, key)
    return row, job


def _images_of(session: Session, labels: list[ForeignLabel]) -> dict[int, str | None]:
    ids = [label.snapshot_id for label in labels]
    if len(set(ids)) != len(ids):
        twice = Counter(ids).most_common(1)[0][0]
        raise InvalidInput("body.run.labels", f"snapshot {twice} is listed twice; one label for each snapshot")
    images = webcams.snapshot_images(session, ids)
    unknown = [each for each in ids if each not in images]
    if unknown:
        raise InvalidInput("body.run.labels", f"{len(unknown)} snapshots are not known here, e.g. {unknown[:5]}")
    bare = [each for each in ids if images[each] is None]
    if bare:
        raise InvalidInput("body.run.labels", f"{len(bare)} snapshots have no image here, e.g. {bare[:5]}")
    return images
