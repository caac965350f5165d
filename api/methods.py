"""Which methods a path takes: a 405 must name all of them, and the framework names those of one route only."""

from __future__ import annotations

import re
from functools import cache

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import compile_path


def allowed_methods(app: FastAPI, path: str) -> str:
    """The value of the header `Allow` for a path: every method of every route of the template that it matches.

    A path without parameters goes before one with them, as OpenAPI has it.
    """
    found: dict[str, set[str]] = {}
    for template, pattern, methods in _routes(app):
        if pattern.match(path):
            found.setdefault(template, set()).update(methods)
    best = min(found, key=lambda template: template.count("{"))
    return ", ".join(sorted(found[best]))


@cache
def _routes(app: FastAPI) -> list[tuple[str, re.Pattern[str], set[str]]]:
    return [
        (each.path, compile_path(each.path)[0], set(each.methods))
        for each in iter_route_contexts(app.routes)
        if each.path is not None and each.methods
    ]
