"""Begin a retrain cycle: freeze the labels as they are now, and submit the training on them."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from db.engine import session_scope
from ml.export_dataset import Gates
from worker.jobs import Finish, JobContext
from worker.places import file_store
from worker.queue import submit_training
from worker.retraining import recipe_of
from worker.stages.export_dataset import export_dataset


def run(context: JobContext) -> Finish:
    """The job `retrain`: parameters as `worker.retraining.Wish` has them.

    The dataset, the training run and the run's job are one transaction: none of them without the others.
    """
    kind = str(context.params["kind"])
    with session_scope() as session:
        recipe = recipe_of(session, kind, context.params["recipe"])
    context.progress(0.1, "exporting labels")
    result: dict[str, Any] = {}

    def effects(session: Session) -> None:
        dataset = export_dataset(
            session, file_store(), kind, recipe.head, Gates(min_rating_count=recipe.min_rating_count)
        )
        training, _ = submit_training(
            session,
            kind,
            recipe,
            dataset_id=dataset.id,
            notes=context.params["notes"],
            parent_id=context.claim.job_id,
        )
        result.update(
            dataset_id=dataset.id,
            counts=dataset.counts,
            manifest_sha256=dataset.manifest_sha256,
            model_version=training.model_version,
            run_id=training.id,
        )

    return Finish(result, effects)
