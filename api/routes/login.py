"""Logging in and out: by a one-time link, or by pasting a key."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response, status
from fastapi.responses import RedirectResponse

from api.cookies import forget_login_cookie, is_from_us, login_cookie, set_login_cookie
from api.deps import SessionDep
from api.errors import ForeignRequest
from api.keyed_route import KeyedRoute
from api.security import Caller, KeyCache, require
from api.web.rendering import login_facts, render
from db.queries import access, logins
from db.tables import Login

LOGIN_PATH = "/login"
MAX_NAME = 200
USED_UP = "This link was used already, or it is older than an hour. `afterglow login` makes another."
WRONG_KEY = "This key is not valid: it is mistyped, expired or revoked. `afterglow keys list` shows which there are."
router = APIRouter(include_in_schema=False)
keyed = APIRouter(include_in_schema=False, route_class=KeyedRoute)


@router.get(LOGIN_PATH)
def show_login(request: Request, session: SessionDep, link: str | None = None) -> Response:
    """The form. A link is only looked at: what previews links in a chat asks like this, and must not use it up."""
    if link is None:
        return render(request, "login.html.j2", **login_facts())
    login = logins.find_link(session, link)
    if login is None:
        return _refuse(request, USED_UP)
    return render(request, "login.html.j2", **login_facts(link=link, rater=login.rater))


@router.post(LOGIN_PATH)
def log_in(
    request: Request,
    session: SessionDep,
    *,
    link: Annotated[str | None, Form()] = None,
    key: Annotated[str | None, Form()] = None,
    rater: Annotated[str, Form()] = "",
    goes_to: Annotated[str, Form()] = "/",
) -> Response:
    """Open the login of a link, which is used up thereby, or one for a key."""
    if not is_from_us(request):
        raise ForeignRequest(ForeignRequest.__doc__)
    if link is not None:
        opened = logins.open_link(session, link)
        if opened is None:
            return _refuse(request, USED_UP, goes_to)
    else:
        row = access.find_key(session, (key or "").strip())
        if row is None:
            return _refuse(request, WRONG_KEY, goes_to)
        name = rater.strip().replace("\0", "")[:MAX_NAME] or row.name
        opened = logins.open_with_key(session, row, rater=name)
    login, secret = opened
    response = RedirectResponse(_own_path(request, goes_to), status.HTTP_303_SEE_OTHER)
    set_login_cookie(request, response, secret, _seconds_left(login))
    return response


@keyed.post("/logout")
def log_out(request: Request, session: SessionDep, caller: Annotated[Caller, require()]) -> Response:
    """End the login: this server refuses its cookie at once, every other within 5 seconds."""
    response = RedirectResponse(_own_path(request, LOGIN_PATH), status.HTTP_303_SEE_OTHER)
    if caller.login_id is not None and login_cookie(request) is not None:
        logins.end_login(session, caller.login_id)
        logged_in: KeyCache = request.app.state.logins
        logged_in.forget(caller.key_id)
        forget_login_cookie(request, response)
    return response


def _refuse(request: Request, why: str, goes_to: str = "/") -> Response:
    facts = login_facts(goes_to=goes_to, refusal=why)
    return render(request, "login.html.j2", status_code=status.HTTP_401_UNAUTHORIZED, **facts)


def _own_path(request: Request, path: str) -> str:
    """A place on this server, whatever was sent: an address of somebody else begins with a scheme or two slashes."""
    is_own = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return f"{request.scope.get('root_path', '')}{path if is_own else '/'}"


def _seconds_left(login: Login) -> float:
    return (login.expires_at - datetime.now(UTC)).total_seconds() if login.expires_at is not None else 0.0
