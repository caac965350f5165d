"""Begin a retrain cycle: freeze the labels as they are now, and submit the training on them."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from db.engine import session_scope
from db.queries import models
from db.tables import Dataset
from ml.export_dataset import Gates
from ml.training.recipe import Recipe
from worker.jobs import Finish, JobContext
from worker.places import file_store
from worker.queue import submit_training
from worker.retraining import recipe_of
from worker.stages.export_dataset import export_dataset


def run(context: JobContext) -> Finish:
    """The job `retrain`: parameters as `worker.retraining.RetrainRequest` has them.

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
        result.update(dataset_id=dataset.id, counts=dataset.counts, manifest_sha256=dataset.manifest_sha256)
        same = _same_as_active(session, dataset, recipe)
        if same is not None and not context.params["force"]:
            result["reason"] = (
                f"there is nothing new to learn: dataset {dataset.id} has the very rows that {same} was trained on, and the "
                "recipe is the same. New labels or a recipe key that differs change that; with force it is trained all "
                "the same"
            )
            return
        training, _ = submit_training(
            session,
            kind,
            recipe,
            dataset_id=dataset.id,
            notes=context.params["notes"],
            parent_id=context.claim.job_id,
        )
        result.update(model_version=training.model_version, run_id=training.id)

    return Finish(result, effects)


def _same_as_active(session: Session, dataset: Dataset, recipe: Recipe) -> str | None:
    """The version that serves, where it was trained on a dataset of the same bytes by the same recipe; else None."""
    active = models.active_version(session, dataset.kind)
    if active is None:
        return None
    training = models.get_run(session, active.training_run_id)
    if training.dataset_id is None or training.params_json.get("recipe") != recipe.model_dump(mode="json"):
        return None
    is_same = models.get_dataset(session, training.dataset_id).manifest_sha256 == dataset.manifest_sha256
    return active.model_version if is_same else None
