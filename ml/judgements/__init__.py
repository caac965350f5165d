"""The registry of kinds: name -> "module:Class", imported only when asked for.

A kind of another distribution registers itself as an entry point of the group `afterglow.judgements`.
"""

from __future__ import annotations

import difflib
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from ml.judgements.base import Judgement

ENTRY_POINT_GROUP = "afterglow.judgements"

_KINDS = {
    "rating": "ml.judgements.rating:Rating",
}


class UnknownKind(LookupError):
    """No judgement of this name is registered; the message lists those that are."""


def _registered() -> dict[str, str]:
    installed = {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}
    return {**installed, **_KINDS}


def kinds() -> tuple[str, ...]:
    """The names of all kinds, in order, without importing them."""
    return tuple(sorted(_registered()))


@cache
def judgement(name: str) -> Judgement:
    """The judgement of this name.

    Raises:
        UnknownKind: No such kind; the message names the near and the known ones.
    """
    registered = _registered()
    if name not in registered:
        near = difflib.get_close_matches(name, registered, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UnknownKind(f"no kind of judgement is called {name!r}.{hint} Known: {', '.join(sorted(registered))}.")
    module, _, class_name = registered[name].partition(":")
    cls = getattr(import_module(module), class_name)
    instance: Judgement = cls()
    return instance
