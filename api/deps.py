"""What routes ask for: a session that commits before the answer goes out, and the parts of the running API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request
from sqlmodel import Session

from api.active_models import ActiveModels
from api.metrics import Metrics
from api.pool import BoundedPool
from api.settings import ApiSettings
from db.engine import session_scope


def get_session() -> Iterator[Session]:
    """One unit of work for one request."""
    with session_scope() as session:
        yield session


def get_settings(request: Request) -> ApiSettings:
    """The settings of this app."""
    settings: ApiSettings = request.app.state.settings
    return settings


def get_active_models(request: Request) -> ActiveModels:
    """The models that are served."""
    models: ActiveModels = request.app.state.active_models
    return models


def get_metrics(request: Request) -> Metrics:
    """The counters of this app."""
    metrics: Metrics = request.app.state.metrics
    return metrics


def get_score_pool(request: Request) -> BoundedPool:
    """The threads that decode and score."""
    pool: BoundedPool = request.app.state.score_pool
    return pool


SessionDep = Annotated[Session, Depends(get_session, scope="function")]
"""Scope `function`: the commit happens before the answer is sent, so that a failed one is an error the caller sees."""
SettingsDep = Annotated[ApiSettings, Depends(get_settings)]
ModelsDep = Annotated[ActiveModels, Depends(get_active_models)]
MetricsDep = Annotated[Metrics, Depends(get_metrics)]
ScorePoolDep = Annotated[BoundedPool, Depends(get_score_pool)]
