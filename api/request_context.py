"""What surrounds every request: its id, the limit of its body, the access log, counters, and the last resort."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterable

import structlog
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import BodyTooLarge, printable, problem_response
from api.metrics import Metrics

log = structlog.get_logger("access")
REQUEST_ID_HEADER = "X-Request-ID"
CLIENT_CLOSED = 499
"""Logged, never sent: the caller went away before there was an answer."""
_SANE_ID = re.compile(r"(?!ag_)[A-Za-z0-9._-]{1,64}")
"""What a caller may name a request, which stands in the log and in the answer; never what looks like a key."""
_SAFE = ((b"x-content-type-options", b"nosniff"),)
_POLICIES = (
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_OURS = frozenset({b"x-request-id", *(name for name, _ in _SAFE)})
_ids = random.Random()
"""An id is no secret and needs to differ only. Asking the system for each would give the interpreter up to other threads
each time, in the one that everything waits for."""
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})


class RequestContext:
    """Pure ASGI, so that streamed answers and context variables pass through untouched.

    Args:
        app: What is surrounded.
        metrics: Where requests are counted.
        body_limit: Largest body in bytes.
        body_limits: Path -> its own limit in bytes.
        refusals: Filled by the start-up when it refuses; its text is logged in place of a stack trace.
    """

    def __init__(
        self, app: ASGIApp, *, metrics: Metrics, body_limit: int, body_limits: dict[str, int], refusals: list[str]
    ) -> None:
        self.app = app
        self.metrics = metrics
        self.body_limit = body_limit
        self.body_limits = body_limits
        self.refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's scope."""
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def plain(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed" and self.refusals:
                message = {**message, "message": "; ".join(self.refusals)}
            await send(message)

        await self.app(scope, receive, plain)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        given = headers.get(REQUEST_ID_HEADER, "")
        request_id = given if _SANE_ID.fullmatch(given) else f"{_ids.getrandbits(128):032x}"
        scope.setdefault("state", {})["request_id"] = request_id
        limit = self.body_limits.get(scope["path"], self.body_limit)
        began = time.perf_counter()
        status, num_bytes, has_started = CLIENT_CLOSED, 0, False

        async def limited() -> Message:
            nonlocal num_bytes
            message = await receive()
            if message["type"] == "http.request":
                num_bytes += len(message.get("body", b""))
                if num_bytes > limit:
                    raise BodyTooLarge(limit)
            return message

        async def tagged(message: Message) -> None:
            nonlocal status, has_started
            if message["type"] == "http.response.start":
                status, has_started = message["status"], True
                message["headers"] = _with_safe_headers(message.get("headers", ()), request_id)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                if _declared_bytes(headers) > limit:
                    await problem_response(scope, BodyTooLarge(limit))(scope, receive, tagged)
                else:
                    await self.app(scope, limited, tagged)
            except ClientDisconnect:
                pass
            except Exception as error:
                log.exception("unexpected error", path=printable(scope["path"]))
                if has_started:
                    raise
                await problem_response(scope, error)(scope, receive, tagged)
            finally:
                self._note(scope, status, time.perf_counter() - began)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None) or "unmatched"
        self.metrics.note_request(scope["method"] if route != "unmatched" else "any", route, status, seconds)
        # The path without its query, which may hold a secret; the key by its name only.
        write = log.debug if scope["path"] in _QUIET else log.info
        write(
            "request", method=scope["method"], path=printable(scope["path"]), status=status,
            ms=round(seconds * 1000, 1), key=scope["state"].get("key_name"),
        )  # fmt: skip


def _with_safe_headers(given: Iterable[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    """The headers of an answer with what every answer has; a policy of its own, as pages have, is kept."""
    headers = [each for each in given if each[0] not in _OURS]
    headers += [(b"x-request-id", request_id.encode("ascii")), *_SAFE]
    own = {name for name, _ in headers}
    headers += [policy for policy in _POLICIES if policy[0] not in own]
    return headers


def _declared_bytes(headers: Headers) -> int:
    text = headers.get("content-length", "")
    return int(text) if text.isdecimal() and len(text) < 19 else 0
