"""All tables. Importing this package registers every one of them in `SQLModel.metadata`."""

from db.tables.access import ApiKey, Login
from db.tables.disagreements import Disagreement, ReviewSet
from db.tables.evaluations import Evaluation, EvaluationCycle
from db.tables.exclusions import LabelExclusion, LabelImport
from db.tables.images import Image, ImageRemoval
from db.tables.jobs import Job, JobEvent
from db.tables.labels import LabelLease, RatingEvent, WebcamSnapshotRating
from db.tables.models import (
    Dataset,
    DatasetRow,
    ModelActivation,
    ModelShadow,
    ModelTrainingRun,
    ModelTrainingSnapshotLabel,
    ModelTrainingSnapshotRating,
    ModelVersion,
    SplitAssignment,
)
from db.tables.photos import Photo, PhotoCompanion, PhotoPath, Project
from db.tables.selections import Crop, CropEvent, PhotoGroup, PhotoGroupMember, Selection, SelectionEvent
from db.tables.webcams import ScoringEvent, SnapshotAiInference, Webcam, WebcamFetchFailure, WebcamSnapshot

APPEND_ONLY = (
    "rating_events",
    "scoring_events",
    "dataset_rows",
    "split_assignments",
    "model_training_snapshot_labels",
    "model_training_snapshot_ratings",
    "model_versions",
    "model_activations",
    "evaluations",
    "evaluation_cycles",
    "job_events",
    "datasets",
    "snapshot_ai_inferences",
    "label_exclusions",
    "model_shadows",
    "review_sets",
    "photo_group_members",
    "selection_events",
    "crop_events",
)
"""Tables whose rows are never changed or removed: the database refuses UPDATE, DELETE and TRUNCATE. Old scoring events may
go, by `db.queries.retention` alone, which says so to the guard."""

__all__ = [
    "APPEND_ONLY",
    "ApiKey",
    "Crop",
    "CropEvent",
    "Dataset",
    "DatasetRow",
    "Disagreement",
    "Evaluation",
    "EvaluationCycle",
    "Image",
    "ImageRemoval",
    "Job",
    "JobEvent",
    "LabelExclusion",
    "LabelImport",
    "LabelLease",
    "Login",
    "ModelActivation",
    "ModelShadow",
    "ModelTrainingRun",
    "ModelTrainingSnapshotLabel",
    "ModelTrainingSnapshotRating",
    "ModelVersion",
    "Photo",
    "PhotoCompanion",
    "PhotoGroup",
    "PhotoGroupMember",
    "PhotoPath",
    "Project",
    "RatingEvent",
    "ReviewSet",
    "ScoringEvent",
    "Selection",
    "SelectionEvent",
    "SnapshotAiInference",
    "SplitAssignment",
    "Webcam",
    "WebcamFetchFailure",
    "WebcamSnapshot",
    "WebcamSnapshotRating",
]
