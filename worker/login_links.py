"""One-time links that log a person in to the pages."""

from __future__ import annotations

import getpass
from pathlib import Path
from urllib.parse import quote

from db.engine import session_scope
from db.queries import logins
from worker.up_lock import read_announcement

USUAL_ADDRESS = "http://127.0.0.1:8000"


def own_name() -> str:
    """Who runs this, by the system's name for them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in a container
        return "owner"


def server_address(data_dir: Path) -> str:
    """Where the `afterglow up` of a data directory listens; its usual address where none runs."""
    announcement = read_announcement(data_dir)
    return announcement.url if announcement is not None else USUAL_ADDRESS


def link_address(url: str, link: str) -> str:
    """The address that opens a login."""
    return f"{url.rstrip('/')}/login?link={quote(link, safe='')}"


def owners_link(url: str) -> str:
    """The address that logs whoever runs this in, with all rights; used once, within an hour."""
    with session_scope() as session:
        _, link = logins.make_link(session, rater=own_name(), scopes=["admin"])
    return link_address(url, link)
