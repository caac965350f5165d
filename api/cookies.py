"""The cookie of a login, and whether a request that carries it was sent by a page of ours."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def cookie_name(request: Request) -> str:
    """Over TLS one that no other host can set; else one for each port, since cookies do not know ports."""
    if request.url.scheme == "https":
        return "__Host-afterglow"
    return f"afterglow-{request.url.port or 80}"


def login_cookie(request: Request) -> str | None:
    """The secret of a login that a browser presents."""
    return request.cookies.get(cookie_name(request))


def set_login_cookie(request: Request, response: Response, secret: str, seconds: float) -> None:
    """Have the browser present `secret` from now on, for some seconds; no script can read it."""
    response.set_cookie(
        cookie_name(request), secret, max_age=int(seconds), path="/", httponly=True, samesite="lax",
        secure=request.url.scheme == "https",
    )  # fmt: skip


def forget_login_cookie(request: Request, response: Response) -> None:
    """Have the browser forget the secret."""
    response.delete_cookie(
        cookie_name(request), path="/", httponly=True, samesite="lax", secure=request.url.scheme == "https"
    )


def is_from_us(request: Request) -> bool:
    """Whether a request only reads, or was sent by a page of this very host (OWASP: standard headers against CSRF).

    Every browser says the origin of what changes something. Its host is compared, not its scheme, which a proxy with
    TLS in front may hide from us; where the browser itself compared everything (`Sec-Fetch-Site`), that counts too.
    """
    if request.method in SAFE_METHODS:
        return True
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        return False
    _, _, host = request.headers.get("Origin", "").partition("://")
    return bool(host) and host.lower() == request.headers.get("Host", "").lower()
