"""Reading JSON that means one thing only, written by somebody else: what parsers disagree about is refused."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NoReturn

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


def parse_json(data: bytes | str) -> Any:
    """The value of a JSON text (UTF-8).

    Raises:
        json.JSONDecodeError: It is no JSON, is not UTF-8, names a key twice, holds NaN, Infinity, a number that no
            float can hold or an integer of thousands of digits, or is nested hundreds of levels deep. The message
            says which.
    """
    text = data if isinstance(data, str) else _decoded(data)
    try:
        return json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite, parse_int=_short
        )
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise json.JSONDecodeError("it is nested too deeply", text[:100], 0) from None
    except ValueError as error:
        raise json.JSONDecodeError(str(error), text[:100], 0) from None


def read_object(data: bytes) -> dict[str, Any]:
    """Read one JSON object that a database's JSON can hold too.

    Raises:
        ValueError: `parse_json` refuses it, it is no object, or it holds NUL or half a character in a text. The message
            goes on from the file's name.
    """
    try:
        content = parse_json(data)
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


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise json.JSONDecodeError("it is not UTF-8", "", error.start) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"the key {ascii(twice)[:100]} is given twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text[:30]} is too large")
    return number


def _short(text: str) -> int:
    if len(text) > 400:
        raise ValueError("a number has more than 400 digits")
    return int(text)


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
