"""The line protocol of the verbs: a fresh process that says what it does as one JSON object a line on stdout.

Events: `progress` (fraction 0..1, message); of a training also `epoch` (of the final model), `checkpoint` (file, epoch,
fit, finished: the file appeared whole in the directory of checkpoints), `resumed` (fit, epoch, and attempt, or the
reason why its checkpoint was of no use), `surroundings` (code, libraries, machine: once, at the start) and `downloaded`
(file, sha256: pretrained weights that came from elsewhere); of the demo's loop `world` (seed, fraction, message); then
exactly one of `done` (result) and `error` (code, message). The exit status is 0 after `done`, 2 after an error that the
user can mend, 1 after any other.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TextIO

from ml.bundle import BundleError
from ml.judgements import UnknownKind
from ml.judgements.base import JudgementError
from ml.manifest import ManifestError
from ml.splits import SplitError
from ml.training.recipe import RecipeError

MENDABLE, INTERNAL = 2, 1
# A page that redraws five times a second looks alive; more lines would only fill the job's log.
MIN_SECONDS_BETWEEN_PROGRESS = 0.2

_stream: TextIO | None = None


class VerbError(Exception):
    """A verb cannot go on, for a reason that the user can mend; `code` names it for programs."""

    code: ClassVar[str] = "internal"


_CODES: tuple[tuple[type[Exception], str], ...] = (
    (JudgementError, "bad_labels"),
    (RecipeError, "bad_recipe"),
    (UnknownKind, "bad_recipe"),
    (ManifestError, "bad_manifest"),
    (SplitError, "bad_manifest"),
    (BundleError, "bad_bundle"),
)


def finite(value: Any) -> Any:
    """Replace NaN and infinities by None, at any depth: JSON has no word for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return value


def emit(event: dict[str, Any]) -> None:
    """Write one event as one line and flush it."""
    stream = _stream or sys.stdout
    stream.write(json.dumps(finite(event), allow_nan=False) + "\n")
    stream.flush()


class Progress:
    """Progress of one part of a verb, written at most five times a second.

    A part covers `low`..`high` of the whole, so that nested parts need not know of each other.
    """

    def __init__(self, low: float = 0.0, high: float = 1.0, clock: list[float] | None = None) -> None:
        self.low, self.high = low, high
        self._last = clock if clock is not None else [-math.inf]

    def part(self, low: float, high: float) -> Progress:
        """The part from `low` to `high`, both in [0, 1] of this one; it shares the limit on lines."""
        span = self.high - self.low
        return Progress(self.low + span * low, self.low + span * high, self._last)

    def ready(self) -> bool:
        """Whether enough time has passed to write again."""
        return time.monotonic() - self._last[0] >= MIN_SECONDS_BETWEEN_PROGRESS

    def report(self, fraction: float, message: str, **epoch: Any) -> None:
        """Write a progress event, and an `epoch` event when its fields are given; silently skipped when too soon."""
        if not self.ready():
            return
        self._last[0] = time.monotonic()
        whole = self.low + (self.high - self.low) * min(max(fraction, 0.0), 1.0)
        emit({"event": "progress", "fraction": round(whole, 4), "message": message})
        if epoch:
            emit({"event": "epoch", **epoch})


@contextlib.contextmanager
def _protocol_on_stdout() -> Iterator[None]:
    """Keep the real stdout for events; whatever libraries print, from C too, goes to stderr meanwhile."""
    global _stream
    sys.stdout.flush()
    saved = os.dup(1)
    _stream = os.fdopen(os.dup(saved), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()
        _stream.close()
        _stream = None
        os.dup2(saved, 1)
        os.close(saved)


def _error(error: Exception) -> tuple[str, int]:
    if isinstance(error, VerbError):
        return error.code, MENDABLE
    code = next((code for kind, code in _CODES if isinstance(error, kind)), None)
    return ("internal", INTERNAL) if code is None else (code, MENDABLE)


def run_verb(main: Callable[[], dict[str, Any]]) -> int:
    """Run a verb and end its stream with `done` and its result, or with `error`; returns the exit status."""
    with _protocol_on_stdout():
        try:
            emit({"event": "done", "result": main()})
        except BrokenPipeError:
            return INTERNAL  # the supervisor is gone: nobody is left to tell
        except Exception as error:  # noqa: BLE001  every fault becomes the last line of the protocol
            code, status = _error(error)
            if status == INTERNAL:
                traceback.print_exc()
            message = str(error) if status == MENDABLE else f"{type(error).__name__}: {error}"
            emit({"event": "error", "code": code, "message": message})
            return status
    return 0
