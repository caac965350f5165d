"""Reading JSON that somebody else wrote: only what JSON, and a database's JSON, have a word for."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


def read_object(data: bytes) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        ValueError: It is no JSON object; or it holds NaN, an infinity, a number beyond float64, a name twice in one
            object, NUL or half a character in a text, or is nested deeper than can be read. The message goes on from
            the file's name.
    """
    try:
        content = json.loads(data, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_each_once)
        broken = next((text for text in _texts(content) if "\0" in text or _HALF_CHARACTER.search(text)), None)
    except RecursionError as error:
        raise ValueError("is not JSON that can be read: it is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from error
    if broken is not None:
        raise ValueError(f"holds a text with NUL or half a character in it: {broken[:60]!r}")
    if not isinstance(content, dict):
        raise ValueError("must hold one JSON object")
    return content


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not a number there")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, names of fields too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
