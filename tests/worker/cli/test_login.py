"""`afterglow login`: links, who is logged in, and ending a login."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from db.engine import session_scope
from db.queries import logins
from tests.worker.cli.conftest import Afterglow
from worker.cli.errors import Ending


def test_a_link_is_made_used_listed_and_ended(database: str, afterglow: Afterglow) -> None:
    said = afterglow("login", "--name", "ann", "--scopes", "rate,train", "--url", "https://afterglow.example/")
    address = urlsplit(said.out.strip())
    assert (said.code, address.scheme, address.netloc, address.path) == (0, "https", "afterglow.example", "/login")
    assert "logs ann in, once, until" in said.err
    with session_scope() as session:
        opened = logins.open_link(session, parse_qs(address.query)["link"][0])
    assert opened is not None
    assert (opened[0].rater, opened[0].scopes) == ("ann", ["rate", "train"])
    (listed,) = afterglow("login", "list", "--json").json
    assert listed["rater"] == "ann"
    assert "sha256" not in str(listed)
    assert "not yet" not in afterglow("login", "list").out
    assert afterglow("login", "end", str(listed["id"])).code == Ending.DONE
    assert "nobody is logged in" in afterglow("login", "list").out


def test_without_options_it_is_the_owners_own(database: str, afterglow: Afterglow) -> None:
    made = afterglow("login", "--json").json
    assert made["url"].startswith("http://127.0.0.1:8000/login?link=")
    assert made["scopes"] == ["admin"]
    assert made["rater"]
    assert "not yet" in afterglow("login", "list").out


@pytest.mark.parametrize(
    ("words", "ending", "says"),
    [
        (("--scopes", "fly"), Ending.WRONG_INPUT, "unknown scope fly"),
        (("--url", "afterglow.example"), Ending.WRONG_INPUT, "begins with http"),
        (("end", "999"), Ending.NOT_FOUND, "no login 999"),
    ],
)
def test_what_cannot_be_is_said(
    database: str, afterglow: Afterglow, words: tuple[str, ...], ending: Ending, says: str
) -> None:
    said = afterglow("login", *words)
    assert said.code == ending
    assert says in said.err
