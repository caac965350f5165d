"""Reading JSON that means one thing only: what parsers disagree about is refused here, before any field is looked at."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, NoReturn


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
        raise json.JSONDecodeError("it is nested too deep", text[:100], 0) from None
    except ValueError as error:
        raise json.JSONDecodeError(str(error), text[:100], 0) from None


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
