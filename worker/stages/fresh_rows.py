"""Today's labels as rows to judge versions by: none that one of them learned from, and none that is too like those."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from db.engine import session_scope
from db.queries import lineage, models
from db.queries.lineage import LearnedFrame
from db.tables import ModelVersion
from ml.export_dataset import Gates, drop_images, with_hashes
from ml.images.fingerprints import fingerprints_of
from ml.images.store import FileStore
from ml.manifest import ManifestRow
from ml.near_duplicates import near_others, without_near_duplicates
from worker.jobs import JobContext, JobFailed
from worker.places import feature_cache
from worker.stages.cache_images import cache_images
from worker.stages.export_dataset import export_now
from worker.stages.readable import is_readable
from worker.verified import dataset_rows

LEARNED_FROM, NEAR_LEARNED = "learned-from", "near-duplicate-of-learned"
"""Why a test row does not judge: a version was trained or validated on it, or on a near-duplicate of it."""


@dataclass(frozen=True)
class FreshRows:
    """Rows of a new dataset, the same for all versions that they are to judge."""

    rows: list[ManifestRow]
    dataset_id: int
    num_learned: int
    """Frames that the versions were trained or validated on."""
    num_learned_missing: int
    """Those of them whose image is gone, so that nobody can say what resembles them."""


def fresh_rows(context: JobContext, store: FileStore, versions: Sequence[ModelVersion]) -> FreshRows:
    """Export today's labels for the first version's head and gates, and leave out what any of the versions learned from.

    Raises:
        JobFailed: No test row is left.
    """
    context.progress(0.02, "exporting labels")
    with session_scope() as session:
        recipe = models.get_run(session, versions[0].training_run_id).params_json.get("recipe", {})
        learned = lineage.learned_frames(session, [version.training_run_id for version in versions])
    gates = Gates(min_rating_count=int(recipe.get("min_rating_count", 1)))
    dataset = export_now(versions[0].kind, versions[0].head, gates)
    assert dataset.id is not None
    rows = dataset_rows(store, dataset)
    hashes, failed = cache_images(store, rows, lambda part, text: context.progress(0.05 + 0.15 * part, text))
    rows = with_hashes(drop_images(rows, failed), hashes)
    context.progress(0.2, "looking for frames that resemble what was learned from")
    there = [frame for frame in learned if is_readable(store, frame.image_sha256)]
    rows = _without_alike(store, _without_learned(rows, learned), there)
    if not any(row.split == "test" for row in rows):
        names = ", ".join(version.model_version for version in versions)
        raise JobFailed(
            f"no test row is left to evaluate {names} on: label more snapshots "
            f"({len(rows)} rows, none of them in the test split and unknown to what is evaluated)"
        )
    return FreshRows(rows, dataset.id, len(learned), len(learned) - len(there))


def _without_learned(rows: Sequence[ManifestRow], learned: Sequence[LearnedFrame]) -> list[ManifestRow]:
    snapshots, images = {frame.snapshot_id for frame in learned}, {frame.image_sha256 for frame in learned}
    return [
        row.excluded(LEARNED_FROM)
        if row.split == "test" and (row.snapshot_id in snapshots or row.image_sha256 in images)
        else row
        for row in rows
    ]


def _without_alike(store: FileStore, rows: list[ManifestRow], learned: Sequence[LearnedFrame]) -> list[ManifestRow]:
    """Test rows that resemble a learned frame go; then rows that baselines learn from and that resemble a test row."""
    tested = [place for place, row in enumerate(rows) if row.split == "test"]
    judging = [rows[place] for place in tested]
    hashes = [str(row.image_sha256) for row in judging] + [frame.image_sha256 for frame in learned]
    near = near_others(judging, learned, fingerprints_of(store.image, hashes, feature_cache()))
    for at in near:
        rows[tested[at]] = judging[at].excluded(NEAR_LEARNED)
    kept = [str(row.image_sha256) for row in rows if row.split is not None]
    return without_near_duplicates(rows, fingerprints_of(store.image, kept, feature_cache()))[0]
