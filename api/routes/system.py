"""Is it alive, is it ready, its description, which need no key; and its counters, which need any."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import fastapi_offline
from fastapi import APIRouter, Request, Response, status
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from prometheus_client import CONTENT_TYPE_LATEST

from api.deps import MetricsDep, ModelsDep
from api.health import Readiness, readiness
from api.keyed_route import KeyedRoute
from api.security import require

router = APIRouter(tags=["system"])
keyed = APIRouter(tags=["system"], route_class=KeyedRoute)
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json", "/login"})
"""Routes that need no key. A browser sends none when it opens /docs, and what it shows is in our source code."""
_INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
ASSETS_PATH = "/docs-assets"
ASSETS_DIR = Path(fastapi_offline.__file__).parent / "static"
"""Swagger UI as installed with us, so that /docs works without a network."""


@router.get("/healthz", summary="Is the process alive?")
def healthz() -> dict[str, str]:
    """Answers as long as the process does."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    response_model=Readiness,
    summary="Can it do its work?",
    responses={503: {"model": Readiness, "description": "Not now; `errors` says why."}},
)
def readyz(models: ModelsDep, response: Response) -> Readiness:
    """Database, migrations, waiting jobs and served models. 503 when the database does not answer, is not migrated, or
    an active model cannot be loaded and nothing serves in its place.
    """
    found = readiness(models)
    if not found.ready:
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    return found


@keyed.get(
    "/metrics",
    response_class=Response,
    dependencies=[require()],
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    summary="Counters for Prometheus",
)
def metrics(counters: MetricsDep, models: ModelsDep) -> Response:
    """Requests, scoring times, scores by how they came about, jobs by state. Labels never name a webcam or a caller."""
    counters.set_jobs(readiness(models).jobs)
    return Response(counters.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/docs", include_in_schema=False)
def docs(request: Request) -> HTMLResponse:
    """The API's description as a page, which runs our own scripts only."""
    root = request.scope.get("root_path", "")
    page = get_swagger_ui_html(
        openapi_url=f"{root}/openapi.json",
        title="Afterglow API",
        swagger_js_url=f"{root}{ASSETS_PATH}/swagger-ui-bundle.js",
        swagger_css_url=f"{root}{ASSETS_PATH}/swagger-ui.css",
        swagger_favicon_url=f"{root}{ASSETS_PATH}/favicon.png",
        swagger_ui_parameters={"persistAuthorization": True},
    )
    page.headers["Content-Security-Policy"] = _policy(bytes(page.body))
    return page


def _policy(page: bytes) -> str:
    hashes = (base64.b64encode(hashlib.sha256(each).digest()).decode() for each in _INLINE_SCRIPT.findall(page))
    scripts = " ".join(f"'sha256-{each}'" for each in hashes)
    # Swagger UI sets styles inline, and its icons are data.
    return (
        f"default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
