"""Filling templates, and which answers are pages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette import status
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Scope

from api.web.navigation import NAVIGATION
from api.web.words import FILTERS

STATIC_PATH = "/static"
_WEB = Path(__file__).parent
STATIC_DIR = _WEB / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; manifest-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""What a page may do: run our files and ask this server; nothing inline, nothing from elsewhere."""
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    # With `no-referrer`, a browser would hide from us too that a form was sent from our own page.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_ONE_YEAR = "max-age=31536000"


def render(
    request: Request, template: str, *, status_code: int = status.HTTP_200_OK, headers: Mapping[str, str] | None = None,
    **facts: Any,
) -> HTMLResponse:  # fmt: skip
    """A page.

    Args:
        request: What is answered; its caller is who the page is for.
        template: A file of `templates/`, which extends `shell.html.j2`.
        status_code: Of the answer.
        headers: Beside those of every page.
        facts: What the template names.
    """
    page = _environment().get_template(template)
    root = request.scope.get("root_path", "")
    text = page.render(
        caller=request.scope.get("state", {}).get("caller"), navigation=NAVIGATION, root=root,
        path=request.scope["path"].removeprefix(root), version=version("afterglow"), **facts,
    )  # fmt: skip
    strict = {"Strict-Transport-Security": _ONE_YEAR} if request.url.scheme == "https" else {}
    return HTMLResponse(text, status_code, {**_HEADERS, **strict, **(headers or {})})


def wants_page(scope: Scope) -> bool:
    """Whether a browser asks for a page here, so that a refusal should be one too."""
    return not scope["path"].startswith("/v1/") and "text/html" in Headers(scope=scope).get("accept", "")


def problem_page(scope: Scope, problem: Mapping[str, Any], headers: Mapping[str, str]) -> HTMLResponse:
    """A refusal in plain words; where a login is what lacks, the form for it."""
    if problem["status"] != status.HTTP_401_UNAUTHORIZED:
        template, facts = "problem.html.j2", {"problem": problem}
    else:
        template, facts = "login.html.j2", login_facts(goes_to=_asked_for(scope))
    return render(Request(scope), template, status_code=problem["status"], headers=headers, **facts)


def _asked_for(scope: Scope) -> str:
    """Where to go on after a login."""
    if scope["method"] != "GET":
        return "/"
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    query = scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


def login_facts(
    *, goes_to: str = "/", link: str | None = None, rater: str | None = None, refusal: str | None = None
) -> dict[str, Any]:
    """What the template of the login form names: where to go then, the one-time link, whose it is, and what was wrong."""
    return {"goes_to": goes_to, "link": link, "rater": rater, "refusal": refusal}


@cache
def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(_WEB / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    found.filters |= FILTERS
    return found
