"""The app: parts put together, started and stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.middleware.trustedhost import TrustedHostMiddleware

from api import errors
from api.active_models import ActiveModels, CannotServe
from api.logs import configure_logging
from api.metrics import Metrics
from api.pool import BoundedPool
from api.request_context import RequestContext
from api.routes import datasets, jobs, models, score, snapshots, system, training_runs, webcams
from api.scoring import ScoringDesk
from api.security import KeyCache
from api.settings import ApiSettings, api_settings
from worker.places import bundle_cache, file_store

log = structlog.get_logger("api")
FETCH_WAITING = 200
"""Pictures by address that wait for a fetching thread at most: two webcam ticks of 100."""

DESCRIPTION = """
Turns people's judgements of images into models that can be trusted, and keeps them honest.

Every route under `/v1` needs a key: press *Authorize* and paste one made by `afterglow keys create --scopes ...`.
Errors are `application/problem+json` with the request's id, which is also in the server's log.
"""
TAGS = [
    {"name": "score", "description": "Score pictures with the active model."},
    {"name": "webcams", "description": "Cameras, with the latest score of their picture."},
    {"name": "snapshots", "description": "Kept frames, and what people say of them."},
    {"name": "datasets", "description": "Frozen exports of labels, row by row."},
    {"name": "training runs", "description": "Start a training, or register one that happened elsewhere."},
    {"name": "models", "description": "Versions, their evaluations, promotion and rollback."},
    {"name": "jobs", "description": "Work in the background: progress, log, cancel."},
    {"name": "system", "description": "Health and counters. No key needed."},
]
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {errors.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    for status, text in (
        (401, "No valid key."),
        (403, "The key lacks a scope."),
        (404, "Not known."),
        (409, "Contradicts what is stored."),
        (413, "The body is too large."),
        (422, "Something in the request is wrong; `errors` names it."),
        (503, "Busy, or the database is away; try again."),
    )
}


def create_app(settings: ApiSettings | None = None) -> FastAPI:
    """Make the app. Nothing is opened before it starts."""
    settings = settings or api_settings()
    metrics, refusals = Metrics(), list[str]()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        configure_logging()
        app.state.score_pool = BoundedPool("score", settings.score_threads, settings.score_queue)
        app.state.fetch_pool = BoundedPool("fetch", settings.fetch_threads, FETCH_WAITING)
        app.state.active_models = ActiveModels(
            file_store(), bundle_cache(), pinned=settings.model_version, threshold=settings.rating_threshold
        )
        app.state.desk = ScoringDesk(
            app.state.active_models, file_store(), settings, metrics, app.state.score_pool, app.state.fetch_pool
        )
        try:
            await run_in_threadpool(app.state.active_models.start)
            log.info("api started", version=app.version)
            yield
        except CannotServe as error:
            refusals.append(str(error))
            raise
        finally:
            await run_in_threadpool(_stop, app)

    app = FastAPI(
        title="Afterglow", version=version("afterglow"), description=DESCRIPTION, openapi_tags=TAGS,
        lifespan=lifespan, docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.state.settings, app.state.metrics, app.state.keys = settings, metrics, KeyCache()
    errors.install(app)
    hosts = [host.strip() for host in settings.trusted_hosts.split(",") if host.strip()]
    if "*" not in hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    app.add_middleware(
        RequestContext, metrics=metrics, body_limit=settings.max_body_bytes,
        body_limits={training_runs.REGISTER_PATH: settings.max_bundle_bytes}, refusals=refusals,
    )  # fmt: skip
    for part in (score, webcams, snapshots, datasets, training_runs, models, jobs):
        app.include_router(part.router, responses=PROBLEMS)
    app.include_router(system.router)
    app.mount(system.ASSETS_PATH, StaticFiles(directory=system.ASSETS_DIR), name="docs-assets")
    _describe_problems(app)
    return app


def _stop(app: FastAPI) -> None:
    app.state.active_models.stop()
    app.state.fetch_pool.close()
    app.state.score_pool.close()
    # The engine is the process's, not the app's, and ends with it.


def _describe_problems(app: FastAPI) -> None:
    """Put our error format into the description in place of FastAPI's own."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        content = plain()
        schemas = content["components"]["schemas"]
        if "HTTPValidationError" in schemas:
            del schemas["HTTPValidationError"], schemas["ValidationError"]
        if "Problem" not in schemas or "FieldProblem" not in schemas:
            about = errors.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(about.pop("$defs"), Problem=about)
        return content

    app.openapi = described  # type: ignore[method-assign]


def main() -> None:
    """Serve on AFTERGLOW_HOST and AFTERGLOW_PORT until stopped."""
    import uvicorn

    settings = api_settings()
    uvicorn.run(app, host=settings.host, port=settings.port, timeout_graceful_shutdown=10)


app = create_app()

if __name__ == "__main__":
    main()
