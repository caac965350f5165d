"""The app: parts put together, started and stopped."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import structlog
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.middleware.trustedhost import TrustedHostMiddleware

from api import errors
from api.active_models import ActiveModels, CannotServe
from api.description import DESCRIPTION, PROBLEMS, TAGS, describe
from api.logs import configure_logging
from api.metrics import Metrics
from api.pool import BoundedPool
from api.request_context import RequestContext
from api.routes import (
    datasets,
    disagreements,
    evaluation_cycles,
    evaluation_pages,
    evaluations,
    exclusions,
    job_pages,
    jobs,
    keys,
    label_queue,
    lineage,
    login,
    model_pages,
    models,
    pages,
    projects,
    raters,
    reports,
    retention,
    retraining,
    review_sets,
    score,
    shadows,
    snapshots,
    system,
    tick,
    training_runs,
    webcam_pages,
    webcams,
)
from api.scoring import ScoringDesk
from api.security import KeyCache, look_up_login
from api.settings import ApiSettings, api_settings
from api.web.rendering import STATIC_DIR, STATIC_PATH
from worker.places import bundle_cache, file_store

log = structlog.get_logger("api")
FETCH_WAITING = 200
"""Pictures by address that wait for a fetching thread at most: two webcam ticks of 100."""
TICKS_AT_ONCE = 2
"""Ticks that run at the same time; one more is answered 503."""


def create_app(settings: ApiSettings | None = None) -> FastAPI:
    """Make the app. Nothing is opened before it starts."""
    settings = settings or api_settings()
    metrics, refusals = Metrics(), list[str]()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        configure_logging()
        app.state.score_pool = BoundedPool("score", settings.score_threads, settings.score_queue)
        app.state.fetch_pool = BoundedPool("fetch", settings.fetch_threads, FETCH_WAITING)
        app.state.tick_pool = BoundedPool("ticks", TICKS_AT_ONCE, 0)
        app.state.active_models = ActiveModels(
            file_store(), bundle_cache(), pinned=settings.model_version, threshold=settings.rating_threshold
        )
        app.state.desk = ScoringDesk(
            app.state.active_models, file_store(), settings, metrics, app.state.score_pool, app.state.fetch_pool
        )
        try:
            await run_in_threadpool(app.state.active_models.start)
            gc.collect()
            gc.freeze()  # what was made until now stays, and need not be looked through again and again
            log.info("api started", version=app.version)
            yield
        except CannotServe as error:
            refusals.append(str(error))
            raise
        finally:
            await run_in_threadpool(_stop, app)

    app = FastAPI(
        title="Afterglow", version=version("afterglow"), description=DESCRIPTION, openapi_tags=TAGS,
        lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False,
    )  # fmt: skip
    app.state.settings, app.state.metrics = settings, metrics
    app.state.keys, app.state.logins = KeyCache(), KeyCache(look_up=look_up_login)
    errors.install(app)
    app.add_middleware(score.ScoreFirst)  # innermost
    hosts = [host.strip() for host in settings.trusted_hosts.split(",") if host.strip()]
    if "*" not in hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    app.add_middleware(
        RequestContext, metrics=metrics, body_limit=settings.max_body_bytes,
        body_limits={training_runs.REGISTER_PATH: settings.max_bundle_bytes, login.LOGIN_PATH: 1 << 20},
        refusals=refusals,
    )  # fmt: skip
    for part in (
        score, tick, webcams, snapshots, label_queue, datasets, training_runs, models, evaluations, reports, lineage,
        evaluation_cycles, raters, exclusions, disagreements, review_sets, jobs, keys, retention, retraining, shadows,
        projects,
    ):  # fmt: skip
        app.include_router(part.router, responses=PROBLEMS)
    for pages_of in (
        login.router, login.keyed, pages.router, job_pages.router, model_pages.router, webcam_pages.router,
        evaluation_pages.router,
    ):  # fmt: skip
        app.include_router(pages_of)
    app.include_router(system.router)
    app.include_router(system.keyed, responses=PROBLEMS)
    app.mount(system.ASSETS_PATH, StaticFiles(directory=system.ASSETS_DIR), name="docs-assets")
    app.mount(STATIC_PATH, pages.StaticAssets(directory=STATIC_DIR), name="static")
    describe(app)
    return app


def _stop(app: FastAPI) -> None:
    app.state.active_models.stop()
    app.state.tick_pool.close()
    app.state.fetch_pool.close()
    app.state.score_pool.close()
    app.state.desk.close()
    # The engine is the process's, not the app's, and ends with it.


def main() -> None:
    """Serve on AFTERGLOW_HOST and AFTERGLOW_PORT until stopped."""
    import uvicorn

    settings = api_settings()
    # The access log would print queries; ours is in api/request_context.py.
    uvicorn.run(
        app, host=settings.host, port=settings.port, timeout_graceful_shutdown=10, access_log=False, server_header=False
    )


app = create_app()

if __name__ == "__main__":
    main()
