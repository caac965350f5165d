"""The model that serves a kind: which version, loaded and self-tested, with the threshold that applies to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlmodel import Session

from db.errors import Conflict
from db.queries import models
from db.tables import ModelVersion
from ml import thresholds
from ml.images.store import FileStore
from ml.inference import Scorer
from ml.judgements import judgement
from worker.settings import ServingSettings
from worker.verified import fetch_bundle


@dataclass(frozen=True)
class Served:
    """One model version, loaded and self-tested, with the threshold that applies to it."""

    model_version: str
    kind: str
    scorer: Scorer
    policy: dict[str, Any]


def load_served(version: ModelVersion, store: FileStore, cache: Path, threshold: float | None = None) -> Served:
    """Fetch, check, open and self-test the bundle of a version.

    Args:
        version: The registered version.
        store: Where its bundle is.
        cache: Directory for bundles of a remote store.
        threshold: Replaces the threshold of its policy, on the same scale.

    Raises:
        BundleError: It is not the bundle that was registered, or it fails its self-test.
        ThresholdError: The threshold is not on the model's scale.
    """
    scorer = Scorer.load(fetch_bundle(store, version, cache / version.bundle_sha256))
    policy = thresholds.applied(version.threshold_policy, threshold)
    thresholds.check_policy(policy, (version.scale_low, version.scale_high))
    return Served(version.model_version, version.kind, scorer, policy)


def active_served(session: Session, kind: str, store: FileStore, cache: Path, settings: ServingSettings) -> Served:
    """The model that serves a kind, loaded: the pinned version where one is set for this kind, else the active one.

    Raises:
        Conflict: No version of this kind is active.
        NotFound: The pinned version is not registered.
    """
    version = models.active_version(session, kind)
    if settings.model_version is not None:
        pinned = models.get_version(session, settings.model_version)
        version = pinned if pinned.kind == kind else version
    if version is None:
        raise Conflict(f"no {kind} model is active: train one with `afterglow train {kind}`, then `afterglow promote`")
    threshold = settings.rating_threshold if judgement(kind).scores_snapshots else None
    return load_served(version, store, cache, threshold)
