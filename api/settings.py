"""Settings of the API: where it listens, how much it takes at once, and what it serves."""

from __future__ import annotations

import os
from functools import cache

from pydantic import Field

from worker.settings import ServingSettings


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ApiSettings(ServingSettings):
    """Settings of the API process, over those of whatever serves a model."""

    host: str = Field("127.0.0.1", validation_alias="AFTERGLOW_HOST")
    """Address that `python -m api.main` listens on."""

    port: int = Field(8000, ge=0, le=65535, validation_alias="AFTERGLOW_PORT")
    """TCP port that `python -m api.main` listens on."""

    trusted_hosts: str = Field("*", validation_alias="AFTERGLOW_TRUSTED_HOSTS")
    """Comma-separated host names that requests may ask for; `*` takes any."""

    score_threads: int = Field(default_factory=lambda: _cores() + 1, ge=1, validation_alias="AFTERGLOW_SCORE_THREADS")
    """Images that are decoded and scored at the same time. Empty: one more than there are CPU cores."""

    score_queue: int = Field(64, ge=0, validation_alias="AFTERGLOW_SCORE_QUEUE")
    """Images that wait for a scoring thread at most; beyond that the answer is 503 with Retry-After."""

    fetch_threads: int = Field(8, ge=1, validation_alias="AFTERGLOW_FETCH_THREADS")
    """Images that are fetched by URL at the same time; slow servers never hold a scoring thread."""

    fetch_timeout_s: float = Field(10.0, gt=0, validation_alias="AFTERGLOW_FETCH_TIMEOUT_S")
    """Seconds after which an image that is scored by URL is given up."""

    max_body_mib: int = Field(25, ge=1, validation_alias="AFTERGLOW_MAX_BODY_MIB")
    """Largest request body in MiB; beyond that the answer is 413."""

    max_bundle_mib: int = Field(256, ge=1, validation_alias="AFTERGLOW_MAX_BUNDLE_MIB")
    """Largest request body in MiB where a model trained elsewhere is registered."""

    @property
    def max_body_bytes(self) -> int:
        """Largest request body in bytes."""
        return self.max_body_mib << 20

    @property
    def max_bundle_bytes(self) -> int:
        """Largest body of a registration in bytes."""
        return self.max_bundle_mib << 20


@cache
def api_settings() -> ApiSettings:
    """The settings of this process."""
    return ApiSettings()
